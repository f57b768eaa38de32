"""The confidence head: what it learns, what counts as what, and that nothing about it drifts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.models.confidence import ConfidenceHead, out_of_fold
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.scoring import auroc, brier, calibration_error

Rows = list[dict[str, float]]


def attempts(n: int, *, seed: int = 0) -> tuple[Rows, list[bool]]:
    """Attempts whose evidence says something: two probabilities, a count, and a constant."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(1.5, 2.0, size=n)
    right = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    rows = [
        {
            "probability": float(1 / (1 + np.exp(-z - rng.normal(0, 0.5)))),
            "margin": float(z + rng.normal(0, 2)),
            "num_spans": float(rng.poisson(3)),
            "always": 1.0,
        }
        for z in log_odds
    ]
    return rows, right.tolist()


def test_it_tells_right_from_wrong_and_means_what_it_says() -> None:
    head = ConfidenceHead.fit(*attempts(800), seed=0)
    rows, right = attempts(4000, seed=1)
    confidence = head.probabilities(rows)
    ranking = auroc(confidence, right)
    assert ranking is not None
    assert ranking > 0.82
    assert calibration_error(confidence, right) < 0.04
    assert brier(confidence, right) < brier(np.full(4000, np.mean(right)), right) - 0.05
    assert head.note is None


def test_log_odds_of_a_probability_are_evidence_too() -> None:
    """Students are sure of most answers; .99 and .9999 must not look the same."""
    rng = np.random.default_rng(0)
    sureness = rng.normal(6, 3, size=3000)
    right = rng.random(3000) < 1 / (1 + np.exp(-(sureness - 4)))
    rows = [{"probability": float(1 / (1 + np.exp(-z)))} for z in sureness]
    head = ConfidenceHead.fit(rows[:600], right[:600].tolist(), seed=0)
    top = [row for row in rows[600:] if row["probability"] > 0.99]
    confidence = head.probabilities(top)
    assert confidence.max() - confidence.min() > 0.2
    assert calibration_error(head.probabilities(rows[600:]), right[600:]) < 0.04


def test_one_row_gets_the_same_bits_as_a_batch() -> None:
    rows, right = attempts(300)
    rows[3]["margin"] = math.nan
    head = ConfidenceHead.fit(rows, right, seed=0)
    for size in (1, 2, 7, 300):
        batch = head.probabilities(rows[:size])
        assert batch.tolist() == [head.probability(row) for row in rows[:size]]


def test_labels_of_one_kind_give_a_constant_and_say_so() -> None:
    rows, _ = attempts(40)
    for right, expected, word in (
        (True, 41 / 42, "all are right"),
        (False, 1 / 42, "all are wrong"),
    ):
        head = ConfidenceHead.fit(rows, [right] * 40, seed=0)
        assert head.is_constant
        assert word in str(head.note)
        assert head.probabilities(rows) == pytest.approx(expected)


def test_evidence_that_never_varies_gives_a_constant_and_says_so() -> None:
    head = ConfidenceHead.fit([{"a": 3.0}] * 10, [True] * 6 + [False] * 4, seed=0)
    assert head.probability({"a": 3.0}) == pytest.approx(7 / 12)
    assert "no evidence varies" in str(head.note)
    nothing = ConfidenceHead.fit([{}] * 3, [True, False, True], seed=0)
    assert nothing.probability({}) == pytest.approx(3 / 5)


def test_what_never_varied_is_asked_for_and_has_no_weight() -> None:
    rows, right = attempts(200)
    head = ConfidenceHead.fit(rows, right, seed=0)
    assert "always" in head.names
    assert "always" not in {column.name for column in head.columns}
    assert head.probability(rows[0]) == head.probability(rows[0] | {"always": -5.0})
    with pytest.raises(ConfigError, match=r"absent: \['always'\]"):
        head.probability({k: v for k, v in rows[0].items() if k != "always"})


@pytest.mark.parametrize(
    ("change", "message"),
    [({"new": 1.0}, r"unknown: \['new'\]"), ({"margin": None}, r"absent: \['margin'\]")],
)
def test_other_names_than_at_the_fit_are_an_error(change: dict[str, Any], message: str) -> None:
    rows, right = attempts(100)
    head = ConfidenceHead.fit(rows, right, seed=0)
    row = {k: v for k, v in (rows[0] | change).items() if v is not None}
    with pytest.raises(ConfigError, match=message):
        head.probability(row)
    with pytest.raises(ConfigError, match=message):
        head.probabilities([rows[0], row])


@pytest.mark.parametrize("gap", ["absent", None, math.nan])
def test_missing_numbers_are_evidence_where_they_were_missing_at_the_fit(gap: Any) -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"a": float(rng.normal()), "b": float(rng.normal())} for _ in range(200)
    ]
    right = [bool(i % 2) for i in range(200)]
    for row, is_right in zip(rows, right, strict=True):
        if not is_right:  # what is missing tells all here
            row.pop("a") if gap == "absent" else row.update(a=gap)
    head = ConfidenceHead.fit(rows, right, seed=0)
    assert head.optional == {"a"}
    assert all(
        (head.probability(row) > 0.5) == is_right for row, is_right in zip(rows, right, strict=True)
    )
    assert head.probability({"b": 0.0}) == head.probability({"a": math.nan, "b": 0.0})


@pytest.mark.parametrize("broken", [math.nan, None])
def test_a_number_that_was_never_missing_and_now_is_gets_no_confidence(broken: Any) -> None:
    rows, right = attempts(200)
    head = ConfidenceHead.fit(rows, right, seed=0)
    assert head.probability(rows[0] | {"margin": broken}) == 0
    assert head.probability(rows[0] | {"always": broken}) == 0
    assert head.probabilities([rows[0], rows[1] | {"margin": broken}])[0] == head.probability(
        rows[0]
    )


def test_values_beyond_those_seen_count_as_the_furthest_seen() -> None:
    rows, right = attempts(200)
    head = ConfidenceHead.fit(rows, right, seed=0)
    margins = [row["margin"] for row in rows]
    for values, furthest in (
        ([math.inf, 1e300, max(margins) + 1], max(margins)),
        ([-math.inf, -1e300, min(margins) - 1], min(margins)),
    ):
        expected = head.probability(rows[0] | {"margin": furthest})
        assert {head.probability(rows[0] | {"margin": value}) for value in values} == {expected}


def test_infinite_and_enormous_numbers_at_the_fit_do_no_harm() -> None:
    rows, right = attempts(200)
    rows[0]["margin"], rows[1]["margin"], rows[2]["margin"] = math.inf, -math.inf, 1e300
    head = ConfidenceHead.fit(rows, right, seed=0)
    assert head.optional == frozenset()
    finite = [row["margin"] for row in rows[3:]]
    column = next(c for c in head.columns if c.name == "margin")
    assert (column.low, column.high) == (min(finite), max(finite))
    assert np.isfinite(head.probabilities(rows)).all()


numbers = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 1.0, 0.5]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from("abc"), numbers), st.booleans()),
        min_size=1,
        max_size=20,
    )
)
def test_whatever_the_evidence_the_answer_is_a_probability(
    labelled: list[tuple[dict[str, float | None], bool]],
) -> None:
    rows = [row for row, _ in labelled]
    head = ConfidenceHead.fit(rows, [right for _, right in labelled], seed=0)
    confidence = head.probabilities(rows)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert ConfidenceHead.model_validate_json(head.model_dump_json()) == head


def test_a_saved_head_is_the_same_head(tmp_path: Path) -> None:
    rows, right = attempts(300)
    del rows[5]["margin"]
    head = ConfidenceHead.fit(rows, right, seed=0)
    head.save(tmp_path / "release")
    loaded = ConfidenceHead.load(tmp_path / "release")
    assert loaded == head
    assert loaded.fingerprint() == head.fingerprint()
    assert loaded.probabilities(rows).tolist() == head.probabilities(rows).tolist()
    assert [p.suffix for p in (tmp_path / "release").iterdir()] == [".json"]


def test_the_fingerprint_tells_heads_apart_and_not_runs() -> None:
    rows, right = attempts(300)
    head = ConfidenceHead.fit(rows, right, seed=0)
    assert head.fingerprint() == ConfidenceHead.fit(rows, right, seed=0).fingerprint()
    assert head.fingerprint() != ConfidenceHead.fit(rows[1:], right[1:], seed=0).fingerprint()


@pytest.mark.parametrize("content", [None, "{", '{"names": ["a"]}', "other"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str | None) -> None:
    head = ConfidenceHead.fit(*attempts(100), seed=0)
    head.save(tmp_path)
    file = next(tmp_path.iterdir())
    if content is None:
        file.unlink()
    elif content == "other":
        file.write_text(json.dumps(json.loads(file.read_text()) | {"names": ["a"]}))
    else:
        file.write_text(content)
    with pytest.raises(WeightsError, match="fit it again, or restore"):
        ConfidenceHead.load(tmp_path)


def test_out_of_fold_probabilities_know_nothing_of_their_own_group() -> None:
    """Evidence that names the group would give labels away to a head that saw the group."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 4)
    right = np.repeat(rng.random(60) < 0.5, 4).tolist()
    rows = [{f"group_{i}": float(g == i) for i in range(60)} for g in group]
    seen = auroc(ConfidenceHead.fit(rows, right, seed=0).probabilities(rows), right)
    unseen = auroc(out_of_fold(rows, right, group.tolist(), seed=0), right)
    alone = auroc(out_of_fold(rows, right, list(range(240)), seed=0), right)
    assert seen is not None
    assert unseen is not None
    assert alone is not None
    assert seen > 0.99
    assert alone > 0.9
    assert unseen < 0.7


def test_out_of_fold_probabilities_are_honest_where_fitted_ones_flatter() -> None:
    rng = np.random.default_rng(1)
    rows = [{f"noise_{i}": float(rng.normal()) for i in range(25)} for _ in range(100)]
    right = (rng.random(100) < 0.7).tolist()
    fitted = auroc(ConfidenceHead.fit(rows, right, seed=0).probabilities(rows), right)
    honest = auroc(out_of_fold(rows, right, list(range(100)), seed=0), right)
    assert fitted is not None
    assert honest is not None
    assert fitted > 0.75
    assert abs(honest - 0.5) < 0.2


def test_out_of_fold_copes_with_folds_that_lack_a_class_or_a_gap() -> None:
    rows, right = attempts(30)
    right = [True] * 29 + [False]
    del rows[0]["margin"]
    confidence = out_of_fold(rows, right, list(range(30)), seed=0)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert confidence[0] > 0
    np.testing.assert_array_equal(confidence, out_of_fold(rows, right, list(range(30)), seed=0))


def test_labels_that_do_not_fit_the_evidence_are_refused() -> None:
    rows, right = attempts(10)
    for wrong_rows, wrong_labels in (([], []), (rows, right[1:]), (rows, [2] * 10)):
        with pytest.raises(ConfigError, match="right or wrong for each"):
            ConfidenceHead.fit(wrong_rows, wrong_labels, seed=0)
    with pytest.raises(ConfigError, match="two groups"):
        out_of_fold(rows, right, ["one"] * 10, seed=0)
    with pytest.raises(ConfigError, match="a group for each"):
        out_of_fold(rows, right, ["one", "two"], seed=0)
