"""Promote, keep or reject: a challenger against what answers now, on the same held-out tasks.

Pure: numbers in, a verdict with its tests out. Three outcomes, since "not shown to be better" is
not "worse": only a loss that luck does not explain rejects, and only a gain that luck does not
explain promotes. Knows no release, no file and no student.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from journeyman.models.bounds import delta_at_look
from journeyman.models.comparison import (
    Measure,
    MeasureComparison,
    PairedComparison,
    compare_measures,
    compare_paired,
    compare_slices,
)
from journeyman.models.deferral import augrc
from journeyman.models.errors import ConfigError

Verdict = Literal["promote", "keep", "reject"]


_COVERAGE = "certified coverage not lower"


class Bars(BaseModel):
    """What a challenger has to pass.

    Attributes:
        margin: Loss of quality in (0, 1) that is still called no loss.
        level: Probability in (0, 1) with which a test may be wrong.
        looks: How many rounds have been judged on these held-out tasks, this one included. The
            tests that must not miss a loss spend their level over them: level * 6 / (pi k)^2.
        max_slowdown: Latency at most this many times the incumbent's ...
        slack_ms: ... plus this.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(default=0.05, gt=0, lt=1)
    level: float = Field(default=0.05, gt=0, lt=1)
    looks: int = Field(default=1, ge=1)
    max_slowdown: float = Field(default=3.0, ge=1)
    slack_ms: float = Field(default=20.0, ge=0)

    @property
    def spent_level(self) -> float:
        """The level of this look."""
        return delta_at_look(self.level, self.looks)


class Test(BaseModel):
    """One thing that was asked of the challenger.

    Attributes:
        name: What was asked.
        outcome: `passed`, `failed` where it is worse, `open` where too little is known.
        detail: One line with the figures.
    """

    __test__ = False  # not pytest's

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    outcome: Literal["passed", "failed", "open"]
    detail: str


class Decision(BaseModel):
    """The verdict and what it rests on.

    Attributes:
        verdict: `promote`, `keep` (what answers now stays, nothing is held against the challenger)
            or `reject` (it is worse).
        reason: One sentence.
        goes_on: It was kept out for want of proof alone: the next student may go on from it.
        tests: Everything that was asked.
        quality: Challenger against incumbent on the same tasks; None where nothing answers yet.
        coverage: The same for the share that its certificate lets out.
        augrc: The same for the mean joint risk over all thresholds; lower is better.
        slices: The same for each slice that is large enough.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Verdict
    reason: str
    goes_on: bool = False
    tests: tuple[Test, ...] = ()
    quality: PairedComparison | None = None
    coverage: MeasureComparison | None = None
    augrc: MeasureComparison | None = None
    slices: dict[str, PairedComparison] = {}


class Contender:
    """What one release did on the held-out tasks.

    Args:
        release: Its id.
        right: Whether its answer is right, for each task (n,).
        accepted: Whether its certificate lets the answer out, for each task (n,).
        coverage_on: Share that its certificate would let out, had it been made for these tasks;
            with None the threshold is taken as given.
        confidence: In each answer (n,), on any scale; with None accepted ones before the others.
        shortfall: Why nothing is certified, and what it would take; empty where something is.
        latency_ms: Median of an attempt alone; None where it was not measured.
        in_force: Share that it lets out as it stands, under the proof that it is in traffic by;
            None where that is what it is compared by.
    """

    def __init__(
        self,
        release: str,
        right: ArrayLike,
        accepted: ArrayLike,
        *,
        coverage_on: Measure | None = None,
        confidence: ArrayLike | None = None,
        shortfall: str = "",
        latency_ms: float | None = None,
        in_force: float | None = None,
    ) -> None:
        self.release = release
        self.right: NDArray[np.bool_] = np.asarray(right, dtype=bool)
        self.accepted: NDArray[np.bool_] = np.asarray(accepted, dtype=bool)
        self.coverage_on = coverage_on or (lambda rows: float(self.accepted[rows].mean()))
        self.confidence: NDArray[np.float64] = np.asarray(
            self.accepted if confidence is None else confidence, dtype=np.float64
        )
        self.shortfall = shortfall
        self.latency_ms = latency_ms
        self.in_force = in_force
        shapes = {self.right.shape, self.accepted.shape, self.confidence.shape}
        if len(shapes) > 1 or self.right.ndim != 1:
            raise ConfigError(
                f"Release {release!r} has {self.right.shape} judged and {self.accepted.shape} "
                f"accepted answers, and {self.confidence.shape} confidences: give one of each for "
                f"every task."
            )

    def augrc_on(self, rows: NDArray[np.intp]) -> float:
        """Mean joint risk over all thresholds, on these tasks alone, by position (m,)."""
        return augrc(self.confidence[rows], self.right[rows])


def decide(
    challenger: Contender,
    incumbent: Contender | None,
    *,
    bars: Bars | None = None,
    groups: Sequence[Hashable] | None = None,
    slices: Sequence[str] | None = None,
    golden: ArrayLike | None = None,
) -> Decision:
    """Judge a challenger.

    Args:
        challenger: What a round made.
        incumbent: What answers now; None where nothing is trusted yet.
        bars: What has to be passed.
        groups: What belongs together, for each task (n,).
        slices: The slice of each task (n,); those with too few tasks say nothing.
        golden: Tasks (n,) whose labels are beyond doubt: what the incumbent has right there, the
            challenger must have right too.

    Raises:
        ConfigError: The contenders answered different numbers of tasks.
    """
    bars = bars or Bars()
    coverage = float(challenger.accepted.mean()) if len(challenger.accepted) else 0.0
    if incumbent is not None and incumbent.release == challenger.release:
        return Decision(verdict="keep", reason="It is the release that answers already.")
    if coverage == 0:
        return Decision(
            verdict="keep",
            reason=challenger.shortfall
            or "Nothing can be certified for it yet, so it would answer nothing.",
            goes_on=incumbent is None,  # beside one that is certified it may be a broken one
        )
    if incumbent is None:
        return Decision(
            verdict="promote",
            reason=f"Nothing is trusted yet, and it is certified to answer {coverage:.1%}.",
        )
    found = _compare(challenger, incumbent, bars, groups)
    parts = _slices(challenger, incumbent, bars, groups, slices)
    tests = [
        _golden_test(challenger, incumbent, golden),
        _loss_test("quality", found.quality, bars),
        *(
            _loss_test(f"quality of {name!r}", part, bars, len(parts))
            for name, part in parts.items()
        ),
        _coverage_test(found.coverage, bars),
        _latency_test(challenger, incumbent, bars),
    ]
    verdict, reason = _verdict(tests, found, bars)
    if verdict == "promote":
        verdict, reason = _unless_it_answers_less(reason, coverage, incumbent.in_force)
    return Decision(
        verdict=verdict,
        reason=reason,
        goes_on=verdict == "keep",  # no test failed: it would be rejected
        tests=tuple(tests),
        quality=found.quality,
        coverage=found.coverage,
        augrc=found.augrc,
        slices=parts,
    )


class _Compared(NamedTuple):
    quality: PairedComparison
    coverage: MeasureComparison
    augrc: MeasureComparison


def _compare(
    challenger: Contender,
    incumbent: Contender,
    bars: Bars,
    groups: Sequence[Hashable] | None,
) -> _Compared:
    n = len(challenger.right)
    return _Compared(
        compare_paired(
            incumbent.right,
            challenger.right,
            margin=bars.margin,
            level=bars.spent_level,
            groups=groups,
        ),
        compare_measures(incumbent.coverage_on, challenger.coverage_on, n, groups=groups),
        compare_measures(incumbent.augrc_on, challenger.augrc_on, n, groups=groups),
    )


def _slices(
    challenger: Contender,
    incumbent: Contender,
    bars: Bars,
    groups: Sequence[Hashable] | None,
    slices: Sequence[str] | None,
) -> dict[str, PairedComparison]:
    if slices is None:
        return {}
    return compare_slices(
        incumbent.right,
        challenger.right,
        slices,
        margin=bars.margin,
        level=bars.spent_level,
        groups=groups,
    )


def _golden_test(challenger: Contender, incumbent: Contender, golden: ArrayLike | None) -> Test:
    chosen = (
        np.zeros(len(challenger.right), dtype=bool)
        if golden is None
        else np.asarray(golden, dtype=bool)
    )
    lost = int((chosen & incumbent.right & ~challenger.right).sum())
    return Test(
        name="no new failure on reviewed tasks",
        outcome="failed" if lost else "passed",
        detail=f"{lost} of {int(chosen.sum())} reviewed tasks were right and are not any more",
    )


def _is_worse(found: PairedComparison, level: float) -> bool:
    """More losses than wins, and luck does not explain it."""
    return found.losses > found.wins and found.mcnemar_p <= level


def _loss_test(name: str, found: PairedComparison, bars: Bars, num_tests: int = 1) -> Test:
    # Of many slices one will look worse by luck alone, unless they share the level.
    if _is_worse(found, bars.level / num_tests):
        outcome: Literal["passed", "failed", "open"] = "failed"
    else:
        outcome = "passed" if found.is_non_inferior else "open"
    return Test(
        name=f"{name} no worse by more than {bars.margin:.3g}",
        outcome=outcome,
        detail=(
            f"{found.candidate:.3f} against {found.incumbent:.3f} on {found.n}: at least "
            f"{found.lower:+.3f} at level {found.level:.2g}; {found.wins} won, {found.losses} "
            f"lost, McNemar p {found.mcnemar_p:.2g}"
        ),
    )


def _coverage_test(covered: MeasureComparison, bars: Bars) -> Test:
    if covered.difference >= 0:
        outcome: Literal["passed", "failed", "open"] = "passed"
    else:
        outcome = "failed" if covered.p_value <= bars.level else "open"
    return Test(
        name=_COVERAGE,
        outcome=outcome,
        detail=(
            f"{covered.candidate:.1%} against {covered.incumbent:.1%}, give or take "
            f"{covered.standard_error:.1%}; p {covered.p_value:.2g}"
        ),
    )


def _latency_test(challenger: Contender, incumbent: Contender, bars: Bars) -> Test:
    name = "latency within budget"
    if challenger.latency_ms is None or incumbent.latency_ms is None:
        return Test(name=name, outcome="passed", detail="not measured")
    budget = incumbent.latency_ms * bars.max_slowdown + bars.slack_ms
    return Test(
        name=name,
        outcome="passed" if challenger.latency_ms <= budget else "failed",
        detail=f"{challenger.latency_ms:.1f} ms at the median, budget {budget:.1f} ms",
    )


def _verdict(tests: Sequence[Test], found: _Compared, bars: Bars) -> tuple[Verdict, str]:
    failed = [test for test in tests if test.outcome == "failed"]
    # Coverage that looks lower by no more than luck is no objection to a student that errs less at
    # all thresholds: what answers now was chosen for its coverage on these very labels.
    unsure = [test for test in tests if test.outcome == "open" and test.name != _COVERAGE]
    if failed:
        return "reject", f"It failed {failed[0].name!r}: {failed[0].detail}."
    if unsure:
        return "keep", f"Too little is known for {unsure[0].name!r}: {unsure[0].detail}."
    gain = _gain(found, bars)
    if gain is not None:
        return "promote", gain
    coverage, risk, quality = found.coverage, found.augrc, found.quality
    return "keep", (
        f"No gain is shown: certified coverage {coverage.candidate:.3f} against "
        f"{coverage.incumbent:.3f}, risk at all thresholds (AUGRC) {risk.candidate:.4f} against "
        f"{risk.incumbent:.4f}, quality {quality.candidate:.3f} against {quality.incumbent:.3f}."
    )


def _unless_it_answers_less(
    reason: str, coverage: float, in_force: float | None
) -> tuple[Verdict, str]:
    """Promote, but for what users would get less of: its proof has less of delta to spend."""
    if in_force is None or coverage >= in_force:
        return "promote", reason
    return "keep", (
        f"It would answer {coverage:.1%} by its own proof, and what is in traffic answers "
        f"{in_force:.1%} by an earlier one, which had more of delta to spend."
    )


def _gain(found: _Compared, bars: Bars) -> str | None:
    """The first gain that luck does not explain; None where there is none."""
    gains = (
        ("certified coverage is higher", found.coverage, 1, found.coverage.p_value),
        # Fewer wrong answers at whatever threshold: told by far more labels than the few at which a
        # proof ends.
        ("risk at all thresholds is lower", found.augrc, -1, found.augrc.p_value),
        ("quality is higher", found.quality, 1, found.quality.mcnemar_p),
    )
    for what, figures, sign, p_value in gains:
        # Half of a two-sided p is the loss's side. Since the three tell of the same answers, luck
        # passes one or another in about the level's share of rounds: docs/lab.md.
        if sign * figures.difference > 0 and p_value <= bars.level:
            return (
                f"Its {what}: {figures.candidate:.4f} against {figures.incumbent:.4f} "
                f"(p {p_value:.2g}), and no test of a loss has failed."
            )
    return None
