"""A verdict is never luck: what is equal is kept, a gain is promoted, and a loss is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from journeyman.graph.arms import Judged, judge
from journeyman.graph.decision import Bars, Contender, Decision, decide
from journeyman.graph.outcomes import Outcome, Outcomes
from journeyman.models.errors import ConfigError
from journeyman.models.types import Risk

NUM_ROUNDS = 200


def contender(release: str, num_right: int, num_accepted: int | None = None, n: int = 400) -> Any:
    """The first tasks right, the first accepted."""
    right = np.arange(n) < num_right
    accepted = np.arange(n) < (num_right if num_accepted is None else num_accepted)
    return Contender(release, right, accepted)


def outcome_of(decision: Decision, name: str) -> str:
    (found,) = [test.outcome for test in decision.tests if test.name.startswith(name)]
    return found


# Every branch


def test_without_an_incumbent_whatever_is_certified_is_promoted() -> None:
    decision = decide(contender("new", 300), None)
    assert decision.verdict == "promote"
    assert "75.0%" in decision.reason


@pytest.mark.parametrize("incumbent", [None, contender("old", 300)])
def test_what_is_not_certified_is_kept_back_and_says_what_it_would_take(incumbent: Any) -> None:
    short = Contender("new", [True] * 400, [False] * 400, shortfall="About 7 more labels.")
    decision = decide(short, incumbent)
    assert (decision.verdict, decision.reason) == ("keep", "About 7 more labels.")


def test_no_tasks_at_all_promote_nothing() -> None:
    assert decide(contender("new", 0, n=0), None).verdict == "keep"


def test_an_improvement_is_promoted() -> None:
    decision = decide(contender("new", 380), contender("old", 320))
    assert decision.verdict == "promote"
    assert "certified coverage is higher: 0.9500 against 0.8000" in decision.reason
    assert {test.outcome for test in decision.tests} == {"passed"}


def test_a_gain_of_quality_at_the_same_coverage_and_risk_is_promoted() -> None:
    """Fewer wrong answers, but surer ones: as many would be let out, in the mean."""
    accepted, confidence, rank = np.arange(400) < 200, np.linspace(1, 0, 400), np.arange(400)
    old = Contender("old", rank < 320, accepted, confidence=confidence)
    new = Contender("new", (rank < 230) | (rank >= 250), accepted, confidence=confidence)
    decision = decide(new, old)
    assert decision.verdict == "promote"
    assert "quality is higher" in decision.reason


def test_knowing_better_which_answers_are_wrong_is_a_gain() -> None:
    """As often right and as much let out, but the wrong ones stand last: less can go wrong."""
    right = np.arange(400) % 10 != 0
    accepted = np.arange(400) < 200
    spread, last = np.linspace(1, 0, 400), right.astype(float)
    old = Contender("old", right, accepted, confidence=spread)
    new = Contender("new", right, accepted, confidence=last)
    decision = decide(new, old)
    assert decision.verdict == "promote"
    assert "risk at all thresholds is lower" in decision.reason
    assert decision.augrc is not None
    assert decision.augrc.candidate < decision.augrc.incumbent / 5
    assert decide(old, new).verdict == "keep"


def test_a_real_loss_is_rejected() -> None:
    decision = decide(contender("new", 320), contender("old", 380))
    assert decision.verdict == "reject"
    assert outcome_of(decision, "quality no worse") == "failed"


def test_a_loss_of_coverage_is_rejected_whatever_the_quality() -> None:
    decision = decide(contender("new", 380, 100), contender("old", 370, 300))
    assert decision.verdict == "reject"
    assert outcome_of(decision, "certified coverage") == "failed"


def test_a_loss_that_may_be_luck_is_kept() -> None:
    decision = decide(contender("new", 379, 300), contender("old", 380, 300))
    assert (decision.verdict, outcome_of(decision, "quality")) == ("keep", "passed")
    little = decide(contender("new", 37, 30, n=40), contender("old", 38, 30, n=40))
    assert (little.verdict, outcome_of(little, "quality")) == ("keep", "open")
    assert "Too little is known" in little.reason


def test_a_slightly_lower_coverage_is_kept() -> None:
    decision = decide(contender("new", 380, 299), contender("old", 380, 300))
    assert (decision.verdict, outcome_of(decision, "certified coverage")) == ("keep", "open")


def test_a_new_failure_on_a_reviewed_task_is_rejected() -> None:
    golden = np.arange(400) == 399
    new = Contender("new", ~golden, np.ones(400, dtype=bool))
    decision = decide(new, contender("old", 400, 300), golden=golden)
    assert decision.verdict == "reject"
    assert "1 of 1 reviewed tasks" in decision.reason
    assert decide(new, contender("old", 400, 300)).verdict == "promote"


@pytest.mark.parametrize(
    ("latency", "verdict"), [(None, "promote"), (80.0, "promote"), (80.1, "reject")]
)
def test_a_slow_student_is_rejected(latency: float | None, verdict: str) -> None:
    old = Contender("old", np.arange(400) < 320, np.arange(400) < 320, latency_ms=20.0)
    new = Contender("new", np.arange(400) < 380, np.arange(400) < 380, latency_ms=latency)
    assert decide(new, old).verdict == verdict


def test_a_slice_that_is_lost_rejects_what_is_better_overall() -> None:
    slices = ["rare"] * 60 + ["common"] * 340
    old = Contender("old", np.arange(400) < 300, np.arange(400) < 300)
    new = Contender("new", np.arange(400) >= 30, np.arange(400) < 380)
    decision = decide(new, old, slices=slices)
    assert decision.verdict == "reject"
    assert "'rare'" in decision.reason
    assert set(decision.slices) == {"rare", "common"}


def test_many_slices_share_the_level() -> None:
    """Six of sixty lost is more than luck for one slice, and not for the worst of eight."""
    old = Contender("old", [True] * 480, [True] * 480)
    new = Contender("new", np.arange(480) >= 6, [True] * 480)
    one = decide(new, old, slices=["a"] * 60 + [str(i) for i in range(420)])
    many = decide(new, old, slices=[f"slice {i // 60}" for i in range(480)])
    assert outcome_of(one, "quality of 'a'") == "failed"
    assert outcome_of(many, "quality of 'slice 0'") == "open"


def test_only_what_was_kept_for_want_of_proof_is_gone_on_from() -> None:
    old, nothing = contender("old", 380, 300), Contender("new", [True] * 400, [False] * 400)
    assert decide(contender("new", 379, 300), old).goes_on
    assert decide(nothing, None).goes_on
    assert not decide(nothing, old).goes_on  # a broken student certifies nothing either
    assert not decide(contender("new", 320), old).goes_on
    assert not decide(contender("new", 380, 300), contender("old", 320, 300)).goes_on
    assert not decide(contender("old", 380, 300), old).goes_on


def test_contenders_of_other_tasks_cannot_be_compared() -> None:
    with pytest.raises(ConfigError):
        decide(contender("new", 10, n=20), contender("old", 10, n=30))
    with pytest.raises(ConfigError, match="one of each"):
        Contender("new", [True], [True, False])


def test_looks_spend_the_level() -> None:
    spent = [Bars(level=0.05, looks=looks).spent_level for looks in range(1, 2001)]
    assert spent == sorted(spent, reverse=True)
    assert 0.0499 < sum(spent) < 0.05
    old, new = contender("old", 380, 300), Contender("new", *_shuffled(376, 300))
    verdicts = [
        outcome_of(decide(new, old, bars=Bars(looks=looks)), "quality") for looks in (1, 40)
    ]
    assert verdicts == ["passed", "open"]


def _shuffled(num_right: int, num_accepted: int) -> tuple[Any, Any]:
    right = np.arange(400) < num_right
    return np.roll(right, 14), np.arange(400) < num_accepted


# Students of known quality, with real heads and real certificates


def judged(rng: np.random.Generator, hardness: Any, skill: float, risk: Risk) -> Judged:
    """A student on shared tasks: it is right by chance of its skill, and half knows when."""
    own = skill + hardness + rng.normal(0, 1.5, len(hardness))
    right = rng.random(len(own)) < 1 / (1 + np.exp(-own))
    seen = own + rng.normal(0, 0.7, len(own))
    items = tuple(
        Outcome(
            task_key=str(i),
            part="head" if i % 3 == 0 else "calibration",
            group=str(i),
            label_source="frontier",
            evidence={"seen": float(seen[i])},
            right=bool(right[i]),
            allowed=True,
        )
        for i in range(len(own))
    )
    found = judge(Outcomes(items), risk)
    assert found is not None
    return found


def contender_of(release: str, side: Judged) -> Contender:
    return Contender(
        release,
        side.right,
        side.accepted,
        coverage_on=side.coverage_on,
        confidence=side.confidence,
    )


def simulated(seed: int, skills: tuple[float, float], num_tasks: int) -> Decision:
    """One round: an incumbent and a challenger of these skills on the same tasks."""
    rng = np.random.default_rng(seed)
    hardness = rng.normal(0, 2, num_tasks)
    sides = []
    for name, skill in zip(("old", "new"), skills, strict=True):
        side = judged(rng, hardness, skill, Risk())
        sides.append(contender_of(name, side))
    return decide(sides[1], sides[0], groups=range(len(sides[0].right)))


def test_the_same_release_is_always_kept() -> None:
    rng = np.random.default_rng(7)
    for _ in range(NUM_ROUNDS):
        right = rng.random(300) < rng.uniform(0.3, 1)
        accepted = right & (rng.random(300) < rng.uniform(0, 1))
        sides = [Contender("same", right, accepted) for _ in range(2)]
        assert decide(*sides, golden=right).verdict == "keep"


def test_the_same_answers_under_another_id_are_kept() -> None:
    rng = np.random.default_rng(8)
    for _ in range(5):
        side = judged(rng, rng.normal(0, 2, 300), 3.0, Risk())
        sides = [contender_of(name, side) for name in ("new", "old")]
        assert decide(*sides, golden=side.right).verdict == "keep"


@pytest.mark.slow
def test_equal_students_are_seldom_promoted_and_seldom_rejected() -> None:
    """Each at most in the level's share of rounds, give or take the luck of 200 of them."""
    verdicts = Counter(simulated(seed, (2.5, 2.5), 300).verdict for seed in range(NUM_ROUNDS))
    most = 0.05 + 2 * (0.05 * 0.95 / NUM_ROUNDS) ** 0.5
    assert verdicts["promote"] <= most * NUM_ROUNDS, verdicts
    assert verdicts["reject"] <= most * NUM_ROUNDS, verdicts


def test_a_better_student_is_mostly_promoted_and_a_worse_one_mostly_rejected() -> None:
    better = Counter(simulated(seed, (1.5, 4.0), 600).verdict for seed in range(10))
    worse = Counter(simulated(seed, (4.0, 1.5), 600).verdict for seed in range(10))
    assert better["promote"] >= 9, better
    assert worse["reject"] >= 9, worse


@pytest.mark.parametrize("kind", ["joint", "selective"])
def test_improvement_lowers_escalation_at_the_same_risk(kind: Any) -> None:
    """The trap: steering by a rate of acceptance undoes what a round has gained."""
    risk = Risk(max_error=0.1, delta=0.1, kind=kind)
    escalated, errors = [], []
    for skill in (0.5, 1.5, 2.5, 3.5, 5.0):
        found = [
            judged(
                np.random.default_rng(seed),
                np.random.default_rng(seed).normal(0, 2, 1500),
                skill,
                risk,
            )
            for seed in range(5)
        ]
        escalated.append(float(np.mean([1 - side.accepted.mean() for side in found])))
        errors.append(float(np.mean([(side.accepted & ~side.right).mean() for side in found])))
    assert escalated == sorted(escalated, reverse=True)
    assert escalated[0] - escalated[-1] > 0.3
    assert max(errors) <= risk.max_error


def test_what_would_answer_less_than_what_is_in_traffic_does_not_replace_it() -> None:
    """An earlier proof had more of delta to spend, so that equal terms are not what users get."""
    old_right, new_right = np.arange(400) < 300, np.arange(400) < 380
    old = Contender("old", old_right, old_right, in_force=0.96)
    new = Contender("new", new_right, new_right)
    found = decide(new, old)
    assert found.verdict == "keep"
    assert "earlier one" in found.reason
    old = Contender("old", old_right, old_right, in_force=0.95)
    assert decide(new, old).verdict == "promote"
