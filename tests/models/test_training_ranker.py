"""Teaching a ranker, on a tiny problem."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.students.ranker import Ranker
from journeyman.models.students.ranker_weights import read_facts
from journeyman.models.training.ranker import RankingGroup, TrainProgress, train_ranker
from journeyman.models.training.ranker import _Course as Course
from journeyman.models.training.ranker import _Lesson as Lesson
from journeyman.models.training.ranker import _sample as sample
from journeyman.models.training.ranker import _split as split
from tests.models.ranking import teach_tiny_ranker, tiny_groups


def test_teaching_beats_the_priors_on_held_out_groups(tmp_path: Path) -> None:
    report = teach_tiny_ranker(tmp_path / "ranker")
    assert report.held_out_mrr is not None
    assert report.prior_mrr is not None
    assert report.held_out_mrr > report.prior_mrr + 0.2
    assert report.held_out_mrr == max(report.held_out_mrrs)
    assert report.num_groups + report.num_held_out == 24
    assert report.losses[-1] < report.losses[0]
    assert report.fingerprint == Ranker(weights=tmp_path / "ranker", device="cpu").fingerprint()


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    prints = [
        teach_tiny_ranker(tmp_path / name, seed=seed, epochs=1).fingerprint
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_progress_counts_the_steps_and_may_stop_the_training(tmp_path: Path) -> None:
    seen: list[TrainProgress] = []

    def stop(progress: TrainProgress) -> None:
        seen.append(progress)
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_ranker(tiny_groups(), out=tmp_path / "r", progress=stop, device="cpu", batch_size=4)
    assert [p.step for p in seen] == [1, 2, 3]
    assert seen[0].num_steps == 3 * 6
    assert list(tmp_path.iterdir()) == []


def test_a_used_folder_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("something")

    def fail(progress: TrainProgress) -> None:
        raise AssertionError("trained in vain")

    with pytest.raises(WeightsError, match="not empty"):
        train_ranker(tiny_groups(), out=tmp_path, progress=fail, device="cpu")


@pytest.mark.parametrize(
    "change",
    [
        {"right": frozenset()},
        {"right": frozenset(range(6))},
        {"right": frozenset({6})},
        {"offsets": [0.0]},
        {"offsets": [math.inf] * 6},
    ],
)
def test_a_group_that_teaches_nothing_is_named(change: dict[str, object], tmp_path: Path) -> None:
    groups = tiny_groups(3)
    groups[1] = replace(groups[1], **change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Ranking group 1"):
        train_ranker(groups, out=tmp_path / "r", device="cpu")


def test_no_groups_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 groups"):
        train_ranker([], out=tmp_path / "r", device="cpu")


def test_groups_of_one_source_are_held_out_together() -> None:
    groups = tiny_groups(40)
    learned, held_out = split(groups, 0.25, seed=0)
    assert len(learned) + len(held_out) == 40
    assert held_out
    assert not {g.source for g in learned} & {g.source for g in held_out}


def test_few_groups_are_all_learned_from() -> None:
    learned, held_out = split(tiny_groups(19), 0.5, seed=0)
    assert (len(learned), len(held_out)) == (19, 0)


def lesson(num_wrong: int, spread: float) -> Lesson:
    offsets = np.concatenate([[0.0], np.linspace(-spread, 0, num_wrong)])
    return Lesson([1], [[i] for i in range(num_wrong + 1)], offsets, num_right=1)


def test_a_sample_stands_for_all_wrong_candidates() -> None:
    own = lesson(200, spread=6.0)
    everything = np.exp(own.offsets[1:]).sum()
    order = np.random.default_rng(0)
    estimates = []
    for _ in range(2000):
        drawn = sample(own, 12, order)
        weights = np.exp(drawn.offsets + drawn.log_weights)
        estimates.append(weights[drawn.num_right :].sum())
    assert np.mean(estimates) == pytest.approx(everything, rel=0.05)


def test_hard_wrong_candidates_are_sampled_more_often() -> None:
    own = lesson(100, spread=6.0)
    order = np.random.default_rng(0)
    drawn = [ids[0] for _ in range(300) for ids in sample(own, 6, order).candidates[1:]]
    assert np.mean(drawn) > 65  # of 1 to 100; 50.5 if all were alike


def test_all_candidates_are_taken_where_they_fit() -> None:
    own = sample(lesson(5, spread=1.0), 16, np.random.default_rng(0))
    assert sorted(ids[0] for ids in own.candidates) == list(range(6))
    assert not own.log_weights.any()


def test_many_right_candidates_leave_room_for_wrong_ones() -> None:
    own = Lesson([1], [[i] for i in range(40)], np.zeros(40), num_right=30)
    drawn = sample(own, 8, np.random.default_rng(0))
    assert drawn.num_right == 4
    assert len(drawn.candidates) > 4


def test_kinds_are_counted_with_offsets_taken_out(tmp_path: Path) -> None:
    groups = [RankingGroup("t", ["good: a", "bad: b", "bad: c"], frozenset({0})) for _ in range(60)]
    facts = Course("all-MiniLM-L6-v2", "cpu", groups).facts
    assert facts.prior("good: z") > facts.prior("new: z") > facts.prior("bad: z")
    doubted = [replace(g, offsets=[0.0, -9.0, -9.0]) for g in groups]
    spared = Course("all-MiniLM-L6-v2", "cpu", doubted).facts
    assert spared.prior("bad: z") > facts.prior("bad: z")


def test_before_it_is_taught_the_encoder_says_nothing(tmp_path: Path) -> None:
    groups = tiny_groups(4)
    train_ranker(groups, out=tmp_path / "r", epochs=1, learning_rate=0.0, device="cpu")
    facts = read_facts(tmp_path / "r")
    ranker = Ranker(weights=tmp_path / "r", device="cpu")
    items = [(groups[0].task, candidate) for candidate in groups[0].candidates]
    assert ranker.predict(items) == pytest.approx([facts.prior(c) for _, c in items], abs=1e-5)
