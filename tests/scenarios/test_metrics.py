"""Metrics against independent code: the conlleval algorithm, scikit-learn and ranx."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from journeyman.models.types import Span
from journeyman.scenarios.datasets import bio_spans
from journeyman.scenarios.estimates import Estimate, bootstrap, mean, share
from journeyman.scenarios.metrics import (
    GivenRecord,
    evaluate,
    exact,
    f1_by_label,
    ndcg_at,
    recall_at,
    reciprocal_rank,
    reward,
)
from journeyman.scenarios.scenario import (
    ExpectedRanking,
    ExpectedRecord,
    ExpectedRoutes,
    ExpectedTests,
)

TAGS = st.sampled_from(["O", "O", "B-a", "I-a", "B-b", "I-b", "B-c", "I-c"])
SENTENCES = st.lists(
    st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=9), min_size=1, max_size=8
)


def conlleval(sentences: list[list[tuple[str, str]]]) -> dict[str, list[int]]:
    """Right, given and expected chunks by label, as the CoNLL-2000 script counts them.

    A port of conlleval's loop (start_of_chunk, end_of_chunk), which looks at neighbouring tags and
    knows no spans, so that it shares nothing with the code under test.
    """

    def starts(before: str, tag: str) -> bool:
        return tag != "O" and (tag[0] == "B" or before == "O" or before[2:] != tag[2:])

    def ends(before: str, tag: str) -> bool:
        return before != "O" and (tag == "O" or tag[0] == "B" or before[2:] != tag[2:])

    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for sentence in sentences:
        inside, last_want, last_got = False, "O", "O"
        for want, got in [*sentence, ("O", "O")]:
            ends_want, ends_got = ends(last_want, want), ends(last_got, got)
            if inside and ends_want and ends_got and last_want[2:] == last_got[2:]:
                counts[last_want[2:]][0] += 1
                inside = False
            elif inside and (ends_want != ends_got or last_want[2:] != last_got[2:]):
                inside = False
            starts_want, starts_got = starts(last_want, want), starts(last_got, got)
            if starts_want and starts_got and want[2:] == got[2:]:
                inside = True
            elif starts_want != starts_got:
                inside = False
            counts[got[2:]][1] += starts_got
            counts[want[2:]][2] += starts_want
            last_want, last_got = want, got
    return {label: numbers for label, numbers in counts.items() if label and any(numbers)}


def f1(right: int, given_: int, expected: int) -> float:
    return 2 * right / (given_ + expected) if given_ + expected else 0.0


def span_pairs(
    sentences: list[list[tuple[str, str]]],
) -> list[tuple[ExpectedRecord, GivenRecord]]:
    pairs = []
    for sentence in sentences:
        tokens = [f"w{i}" for i in range(len(sentence))]
        want = bio_spans(tokens, [tag for tag, _ in sentence])
        got = bio_spans(tokens, [tag for _, tag in sentence])
        pairs.append((ExpectedRecord({}, want, by_span=True), GivenRecord({}, got)))
    return pairs


@given(SENTENCES)
@settings(deadline=None, max_examples=60)
def test_slot_f1_is_that_of_conlleval(sentences: list[list[tuple[str, str]]]) -> None:
    counts = conlleval(sentences)
    right, given_, expected = (sum(n[i] for n in counts.values()) for i in range(3))
    found = evaluate("slot_f1", span_pairs(sentences))
    assert next(iter(found)) == "slot_f1"
    assert found["slot_f1"].value == pytest.approx(f1(right, given_, expected))
    assert found["slot_precision"].value == pytest.approx(right / given_ if given_ else 0)
    assert found["slot_recall"].value == pytest.approx(right / expected if expected else 0)
    same = [conlleval([[(w, w) for w, _ in s]]) == conlleval([s]) for s in sentences]
    assert found["exact_match"].value <= sum(same) / len(same)


@given(SENTENCES)
@settings(deadline=None, max_examples=60)
def test_macro_slot_f1_averages_conllevals_f1_of_each_label(
    sentences: list[list[tuple[str, str]]],
) -> None:
    by_label = {label: f1(*numbers) for label, numbers in conlleval(sentences).items()}
    pairs = span_pairs(sentences)
    found = evaluate("macro_slot_f1", pairs)
    assert next(iter(found)) == "macro_slot_f1"
    average = sum(by_label.values()) / len(by_label) if by_label else 0.0
    assert found["macro_slot_f1"].value == pytest.approx(average)
    assert {k: v.value for k, v in f1_by_label(pairs).items()} == pytest.approx(by_label)


FIELDS = st.dictionaries(
    st.sampled_from(["company", "date", "total"]), st.sampled_from(["x", "y", "1.0"]), max_size=3
)


@given(st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=10))
@settings(deadline=None, max_examples=60)
def test_field_f1_is_scikit_learns_over_pairs_of_field_and_value(
    rows: list[tuple[dict[str, str], dict[str, str]]],
) -> None:
    pairs = [(ExpectedRecord(want), GivenRecord(got)) for want, got in rows]
    cells = sorted({item for row in rows for record in row for item in record.items()})
    found = evaluate("field_f1", pairs)
    assert found["exact_match"].value == pytest.approx(sum(a == b for a, b in rows) / len(rows))
    if cells:
        cells.append(("never", ""))  # one column alone would be a binary problem to scikit-learn
        want = np.array([[cell in row[0].items() for cell in cells] for row in rows])
        got = np.array([[cell in row[1].items() for cell in cells] for row in rows])
        expected = sk.precision_recall_fscore_support(want, got, average="micro", zero_division=0)
        names = ("field_precision", "field_recall", "field_f1")
        assert [found[name].value for name in names] == pytest.approx(expected[:3])


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        ("A  B", "A\nB", True),
        ("A", "a", False),
        (7, 7, True),
        (7, "7", False),
        (None, None, True),
        ("", None, True),
        (["a", "b"], ["b", "a"], True),
        (["a", "a"], ["a"], False),
        (("a",), "a", True),
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}, True),
    ],
)
def test_values_are_equal_but_for_white_space_and_the_order_of_lists(
    want: Any, got: Any, same: bool
) -> None:
    assert exact(ExpectedRecord({"f": want}), GivenRecord({"f": got})) is same


QUERIES = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3), min_size=1, max_size=4),
        st.lists(st.sampled_from("abcdefghijklmnop"), unique=True, max_size=14),
    ),
    min_size=1,
    max_size=6,
)


@given(QUERIES)
@settings(deadline=None, max_examples=60)
def test_rankings_score_as_by_definition(rows: list[tuple[dict[str, int], list[str]]]) -> None:
    for grades, ranking in rows:
        hits = [i + 1 for i, name in enumerate(ranking) if name in grades]
        assert reciprocal_rank(grades, ranking) == (1 / hits[0] if hits else 0)
        for k in (1, 3, 10):
            assert recall_at(grades, ranking, k) == sum(h <= k for h in hits) / len(grades)
        # scikit-learn scores the same list from its positions; passages left out come last.
        names = sorted({*grades, *ranking}, key=lambda n: (n not in ranking, n))
        score = [len(ranking) - ranking.index(n) if n in ranking else -1e9 for n in names]
        if len(names) > 1 and len(ranking) >= min(10, len(names)):
            want = sk.ndcg_score([[grades.get(n, 0) for n in names]], [score], k=10)
            assert ndcg_at(grades, ranking, 10) == pytest.approx(want)


@pytest.mark.slow
def test_rankings_score_as_in_ranx() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba compiles on first use and warns of its own past
        import ranx

        generator = np.random.default_rng(0)
        names = [f"p{i}" for i in range(40)]
        qrels, run, pairs = {}, {}, []
        for query in range(200):
            relevant = generator.choice(names, size=generator.integers(1, 5), replace=False)
            grades = {str(name): int(generator.integers(1, 4)) for name in relevant}
            size = generator.integers(1, 30)
            ranking = [str(name) for name in generator.choice(names, size=size, replace=False)]
            qrels[f"q{query}"] = grades
            run[f"q{query}"] = {name: float(-rank) for rank, name in enumerate(ranking)}
            pairs.append((ExpectedRanking(grades), ranking))
        theirs = ranx.evaluate(
            ranx.Qrels(qrels), ranx.Run(run), ["mrr", "recall@1", "recall@10", "ndcg@10"]
        )
    ours = evaluate("mrr", pairs)
    assert ours["mrr"].value == pytest.approx(theirs["mrr"])
    assert ours["r@1"].value == pytest.approx(theirs["recall@1"])
    assert ours["r@10"].value == pytest.approx(theirs["recall@10"])
    assert ours["ndcg@10"].value == pytest.approx(theirs["ndcg@10"])


def test_a_passage_named_twice_gains_once() -> None:
    assert ndcg_at({"a": 1, "b": 1}, ["a", "a", "b"], 10) == 1
    assert recall_at({"a": 1, "b": 1}, ["a", "a"], 10) == 0.5


LABELS = st.sampled_from(["x", "y", "oos"])


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=30))
def test_routing_metrics_are_scikit_learns(rows: list[tuple[str, str]]) -> None:
    def routes(label: str) -> frozenset[str]:
        return frozenset() if label == "oos" else frozenset({label})

    found = evaluate("out_of_scope", [(ExpectedRoutes(routes(a)), routes(b)) for a, b in rows])
    want, got = [a for a, _ in rows], [b for _, b in rows]
    assert found["accuracy"].value == pytest.approx(sk.accuracy_score(want, got))
    inside = [(a, b) for a, b in rows if a != "oos"]
    assert ("in_scope_accuracy" in found) is bool(inside)
    assert ("out_of_scope_recall" in found) is (len(inside) < len(rows))
    if inside:
        expected = sk.accuracy_score([a for a, _ in inside], [b for _, b in inside])
        assert found["in_scope_accuracy"].value == pytest.approx(expected)
        assert found["in_scope_accuracy"].n == len(inside)
    if len(inside) < len(rows):
        expected = sk.recall_score(want, got, labels=["oos"], average=None)[0]
        assert found["out_of_scope_recall"].value == pytest.approx(expected)


def test_repairs_pass_or_do_not() -> None:
    pairs = [(ExpectedTests("t"), verdict) for verdict in (True, False, None, True)]
    assert evaluate("tests_passed", pairs)["tests_passed"] == share(2, 4)


SPAN = Span("a", 0, 1, "x")
CASES: list[tuple[Any, Any, Any]] = [
    ("slot_f1", ExpectedRecord({}, (SPAN,), by_span=True), GivenRecord({}, (SPAN,))),
    ("field_f1", ExpectedRecord({"a": 1}), GivenRecord({"a": 1})),
    ("mrr", ExpectedRanking({"p": 1}), ["p"]),
    ("ndcg@10", ExpectedRanking({"p": 2}), ["p", "q"]),
    ("accuracy", ExpectedRoutes(frozenset({"r"})), {"r"}),
    ("accuracy", ExpectedRoutes(frozenset()), frozenset()),
    ("tests_passed", ExpectedTests("t"), True),
]


@pytest.mark.parametrize(("metric", "expected", "given_"), CASES)
def test_a_right_answer_is_worth_one_and_no_answer_nothing(
    metric: Any, expected: Any, given_: Any
) -> None:
    assert exact(expected, given_) is True
    assert reward(metric, expected, given_) == 1
    assert exact(expected, None) is False
    assert reward(metric, expected, None) == 0


@given(SENTENCES)
@settings(deadline=None, max_examples=40)
def test_a_reward_lies_in_the_unit_interval_and_is_one_just_for_exact_records(
    sentences: list[list[tuple[str, str]]],
) -> None:
    for expected, given_ in span_pairs(sentences):
        worth = reward("slot_f1", expected, given_)
        assert 0 <= worth <= 1
        assert (worth == 1) is exact(expected, given_)


def test_nothing_expected_and_nothing_given_is_right_but_no_answer_is_not() -> None:
    nothing = ExpectedRecord({}, (), by_span=True)
    assert exact(nothing, GivenRecord({}))
    assert reward("slot_f1", nothing, GivenRecord({})) == 1
    assert not exact(nothing, None)


def test_an_answer_of_the_wrong_kind_is_an_error_not_a_zero() -> None:
    with pytest.raises(TypeError, match="ranking"):
        reward("mrr", ExpectedRanking({"p": 1}), "p")
    with pytest.raises(TypeError, match="routes"):
        exact(ExpectedRoutes(frozenset()), "r")
    with pytest.raises(TypeError, match="record"):
        exact(ExpectedRecord({}), ["a"])


def test_without_scenarios_nothing_is_measured() -> None:
    assert evaluate("slot_f1", []) == {}
    assert evaluate("mrr", []) == {}
    with pytest.raises(ValueError, match=r"greater than or equal to 1|must be"):
        share(0, 0)
    with pytest.raises(ValueError, match="at least one"):
        mean([])


# Intervals.


@given(st.integers(1, 500), st.data())
def test_wilsons_interval_is_the_formula(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    z = float(stats.norm.ppf(0.975))
    middle = (k / n + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(k / n * (1 - k / n) / n + z * z / (4 * n * n))
    found = share(k, n)
    assert (found.value, found.n) == (k / n, n)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_a_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        values = generator.beta(2, 1, size=60)  # mean 2/3
        found = mean(list(values))
        covered += found.low <= 2 / 3 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


def test_a_bootstrap_of_a_ratio_agrees_with_scipys() -> None:
    generator = np.random.default_rng(2)
    right = generator.integers(0, 4, size=80)
    total = right + generator.integers(0, 3, size=80)
    rows = np.stack([right, total], axis=1).astype(float)
    found = bootstrap(rows, lambda sums: sums[:, 0] / sums[:, 1])
    theirs = stats.bootstrap(
        (right, total),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_bootstrap_gives_the_same_interval_twice_however_many_rows() -> None:
    rows = np.random.default_rng(4).random((5000, 1))
    one = mean(list(rows[:, 0]))
    assert one == mean(list(rows[:, 0]))
    assert one.low < one.value < one.high


def test_perfect_scenarios_do_not_prove_perfection() -> None:
    found = evaluate("mrr", [(ExpectedRanking({"p": 1}), ["p"])] * 20)["mrr"]
    assert found == Estimate(1.0, share(20, 20).low, 1.0, 20)
    assert 0.8 < found.low < 0.9
