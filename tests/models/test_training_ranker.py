"""Teaching a ranker, on a tiny problem."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.students.ranker import Ranker
from journeyman.models.training.ranker import RankingGroup, reciprocal_rank, train_ranker
from tests.models.ranking import FRUITS, teach_tiny_ranker, tiny_groups


def test_what_is_right_gets_weight_and_what_says_nothing_gets_little(tmp_path: Path) -> None:
    report = teach_tiny_ranker(tmp_path / "r")
    weights = Ranker.load(tmp_path / "r").weights
    assert weights["ripe"] > 0.5
    assert weights["green"] < -0.5
    assert all(abs(weights.get(fruit, 0.0)) < 0.1 for fruit in FRUITS)
    assert report.num_groups == 24
    assert report.num_words == len(weights)
    assert report.loss < math.log(len(FRUITS))
    assert report.fingerprint == Ranker.load(tmp_path / "r").fingerprint()


def test_held_out_groups_are_ranked_better_than_by_offsets_alone(tmp_path: Path) -> None:
    report = teach_tiny_ranker(tmp_path / "r")
    assert report.held_out_mrr == 1.0
    assert report.offset_mrr == pytest.approx(1 / len(FRUITS)), "equals: the right one comes last"


def test_the_same_groups_give_the_same_weights_in_any_order(tmp_path: Path) -> None:
    train_ranker(tiny_groups(), out=tmp_path / "a")
    train_ranker(tiny_groups(), out=tmp_path / "b")
    train_ranker(tiny_groups()[::-1], out=tmp_path / "c")
    a, b, c = (Ranker.load(tmp_path / name) for name in "abc")
    assert a.fingerprint() == b.fingerprint()
    assert c.weights == pytest.approx(a.weights, abs=2e-3)


def test_what_offsets_explain_is_not_learned_again(tmp_path: Path) -> None:
    known = [
        replace(group, offsets=[9.0 if i in group.right else 0.0 for i in range(len(FRUITS))])
        for group in tiny_groups()
    ]
    train_ranker(known, out=tmp_path / "r")
    assert Ranker.load(tmp_path / "r").weights.get("ripe", 0.0) < 0.1


def test_a_heavier_group_counts_for_more(tmp_path: Path) -> None:
    groups = [
        RankingGroup(["ripe", "green", "sour"], frozenset({0}), weight=3.0),
        RankingGroup(["ripe", "green", "sour"], frozenset({1})),
        RankingGroup(["ripe", "green", "sour"], frozenset({2})),
    ]
    train_ranker(groups, out=tmp_path / "r")
    scores = Ranker.load(tmp_path / "r").predict(["ripe", "green", "sour"])
    assert scores[0] > scores[1] == pytest.approx(scores[2], abs=1e-3)


def test_a_ranker_to_start_from_is_kept_where_nothing_speaks_against_it(tmp_path: Path) -> None:
    start = Ranker({"exotic": 1.5, "ripe": 4.0})
    train_ranker(tiny_groups(), out=tmp_path / "r", start=start)
    weights = Ranker.load(tmp_path / "r").weights
    assert weights["exotic"] == 1.5
    assert weights["ripe"] > 3.9


def test_rare_words_get_no_weight(tmp_path: Path) -> None:
    groups = tiny_groups()
    groups[0] = replace(groups[0], candidates=[f"{c} once" for c in groups[0].candidates])
    train_ranker(groups, out=tmp_path / "r", fewest=7)
    assert "once" not in Ranker.load(tmp_path / "r").weights


def test_progress_ends_at_its_end_and_may_stop_the_training(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    train_ranker(tiny_groups(), out=tmp_path / "r", progress=lambda *at: seen.append(at))
    assert seen
    assert all(0 < done <= total for done, total in seen)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_ranker(tiny_groups(), out=tmp_path / "s", progress=stop)
    assert not (tmp_path / "s").exists()


def test_a_used_folder_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("something")
    with pytest.raises(WeightsError, match="not empty"):
        train_ranker(tiny_groups(), out=tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"right": frozenset()},
        {"right": frozenset(range(len(FRUITS)))},
        {"right": frozenset({99})},
        {"offsets": [1.0]},
        {"offsets": [math.inf] * len(FRUITS)},
        {"weight": 0.0},
    ],
)
def test_a_group_that_teaches_nothing_is_named(change: dict[str, object], tmp_path: Path) -> None:
    groups = [*tiny_groups(3), replace(tiny_groups(1)[0], **change)]  # type: ignore[arg-type]  # fields by name
    with pytest.raises(ConfigError, match="Ranking group 3"):
        train_ranker(groups, out=tmp_path / "r")


def test_no_groups_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without groups"):
        train_ranker([], out=tmp_path / "r")


def test_too_few_sources_leave_nothing_to_hold_out(tmp_path: Path) -> None:
    one = [replace(group, source="one shop") for group in tiny_groups()]
    report = train_ranker(one, out=tmp_path / "r")
    assert report.held_out_mrr is None
    assert report.offset_mrr is None


def test_among_equals_the_right_one_comes_last() -> None:
    group = RankingGroup(["a", "b", "c"], frozenset({1}), offsets=[0.0, 0.0, -1.0])
    assert reciprocal_rank(group, Ranker()) == 1 / 2
    assert reciprocal_rank(group, Ranker({"b": 1.0})) == 1.0
