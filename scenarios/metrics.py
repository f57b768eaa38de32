"""The data sets' own metrics, computed from expected and given answers alone.

Knows no sub-agent: an answer is a record, a ranking, a set of routes or a verdict. A scenario
without an answer counts as answered wrongly, never as absent.

How each metric is counted:

- `slot_f1`, `entity_f1`: micro F1 over (label, start, end), as conlleval.
- `macro_slot_f1`: that F1 for each label, averaged over labels that occur in either.
- `field_f1`: micro F1 over (field, value); text is compared with runs of white space as one space.
- `mrr`: 1 / rank of the first relevant passage in the ranking that was given, 0 without one.
- `r@k`: share of the relevant passages among the first k. `ndcg@10`: gain = grade, discount
  log2(rank + 1), against the best order of the relevant passages.
- `accuracy`: the set of routes is just the expected one. `out_of_scope`: accuracy where routes are
  expected, and the share of scenarios without routes that were given none.
- `tests_passed`: share of repairs that pass the judging tests.
- `agreement`: share of answers that a sub-agent of a user's own calls the same as the expected one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np

from journeyman.models.types import Span, canonical_json
from journeyman.scenarios.estimates import Estimate, Floats, bootstrap, mean, share
from journeyman.scenarios.scenario import (
    Expected,
    ExpectedOutput,
    ExpectedRanking,
    ExpectedRecord,
    ExpectedRoutes,
    ExpectedTests,
)
from journeyman.scenarios.spec import MetricName


@dataclass(frozen=True, slots=True)
class GivenRecord:
    """What extraction answered: field or label -> value, and where it stands."""

    values: Mapping[str, Any]
    spans: tuple[Span, ...] = ()


Given = GivenRecord | Sequence[str] | AbstractSet[str] | bool | None
"""An answer to judge: a record, ids of passages best first, routes, or whether the tests pass.

None is no answer.
"""

Pair = tuple[Expected, Given]

Judgement = Mapping[str, Any]
"""One judged answer as JSON-compatible numbers, from which every figure is made: no content.

`exact`, and by kind: `counts` (label -> found rightly, found wrongly, missed), the ranking metrics
by name, or `in_scope`.
"""

_RANKING_METRICS: tuple[MetricName, ...] = ("mrr", "r@1", "r@10", "ndcg@10")


def evaluate(metric: MetricName, pairs: Sequence[Pair]) -> dict[str, Estimate]:
    """A metric over scenarios: the headline number first, then the numbers that belong to it.

    The headline has the metric's name; `out_of_scope` gives `in_scope_accuracy` and
    `out_of_scope_recall`. What cannot be measured is left out: everything where there are no
    scenarios, and shares of scenarios of a kind that does not occur.
    """
    return evaluate_judged(metric, [judge(*pair) for pair in pairs])


def judge(expected: Expected, given: Given) -> Judgement:
    """What the figures need of one answer."""
    found: dict[str, Any] = {"exact": exact(expected, given)}
    match expected:
        case ExpectedRecord():
            found["counts"] = {name: list(one) for name, one in _counts(expected, given).items()}
        case ExpectedRanking():
            ranking = _ranking(given)
            for name in _RANKING_METRICS:
                found[name] = _ranking_score(name, expected.grades, ranking)
        case ExpectedRoutes():
            found["in_scope"] = bool(expected.routes)
    return found


def evaluate_judged(metric: MetricName, judged: Sequence[Judgement]) -> dict[str, Estimate]:
    """As `evaluate`, of answers that were judged before."""
    if not judged:
        return {}
    match metric:
        case "slot_f1" | "entity_f1" | "macro_slot_f1" | "field_f1":
            return _extraction(metric, judged)
        case "mrr" | "r@1" | "r@10" | "ndcg@10":
            return _retrieval(metric, judged)
        case "accuracy" | "out_of_scope":
            return _routing(metric, judged)
        case "tests_passed" | "agreement":
            return {metric: _share_exact(judged)}


def exact(expected: Expected, given: Given) -> bool:
    """Is the answer wholly right? For a ranking: is the first passage relevant?"""
    match expected:
        case ExpectedRecord():
            missed = _counts(expected, given)
            return given is not None and all(tp[1] == tp[2] == 0 for tp in missed.values())
        case ExpectedRanking():
            return recall_at(expected.grades, _ranking(given), 1) > 0
        case ExpectedRoutes():
            return given is not None and _routes(given) == expected.routes
        case ExpectedTests() | ExpectedOutput():
            return given is True


def reward(metric: MetricName, expected: Expected, given: Given) -> float:
    """How right one answer is, in [0, 1]: what paired comparisons of arms compare.

    Records: F1 of this one record (1 where nothing was expected and nothing was given). Rankings:
    the metric of this one query. Else 1 or 0.
    """
    if isinstance(expected, ExpectedRecord):
        if given is None:
            return 0.0
        counts = _counts(expected, given).values()
        sums = [sum(column) for column in zip(*counts, strict=True)] or [0, 0, 0]
        return 2 * sums[0] / (2 * sums[0] + sums[1] + sums[2]) if any(sums) else 1.0
    if isinstance(expected, ExpectedRanking):
        return _ranking_score(metric, expected.grades, _ranking(given))
    return float(exact(expected, given))


def quality_of(expected: Expected | None, given: Given) -> float:
    """How good one answer is, in [0, 1]: the reciprocal rank of a ranking, else 1 if wholly right.

    Where nothing is known of the task, nothing is wrong with it.
    """
    if expected is None:
        return 1.0
    if isinstance(expected, ExpectedRanking):
        return reciprocal_rank(expected.grades, _ranking(given))
    return float(exact(expected, given))


def f1_by_label(pairs: Sequence[Pair]) -> dict[str, Estimate]:
    """F1 of each label or field that occurs in expected or given records, sorted by name."""
    labels, rows = _table([_counts(*pair) for pair in pairs])
    return {label: bootstrap(rows[:, column, :], _f1) for column, label in enumerate(labels)}


def reciprocal_rank(relevant: Collection[str], ranking: Sequence[str]) -> float:
    """1 / rank of the first relevant passage; 0 where none is in the ranking."""
    ranks = (rank for rank, name in enumerate(ranking, start=1) if name in relevant)
    first = next(ranks, None)
    return 0.0 if first is None else 1 / first


def recall_at(relevant: Collection[str], ranking: Sequence[str], k: int) -> float:
    """Share of the relevant passages among the first k."""
    return len(set(ranking[:k]) & set(relevant)) / len(relevant)


def ndcg_at(grades: Mapping[str, int], ranking: Sequence[str], k: int) -> float:
    """Normalised discounted cumulative gain of the first k; a passage named twice counts once."""
    gains = [grades.get(name, 0) for name in dict.fromkeys(ranking)]
    best = _dcg(sorted(grades.values(), reverse=True)[:k])
    return _dcg(gains[:k]) / best


def _dcg(gains: Iterable[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def _extraction(metric: MetricName, judged: Sequence[Judgement]) -> dict[str, Estimate]:
    _, rows = _table([one["counts"] for one in judged])
    totals = rows.sum(axis=1)
    prefix = metric.removesuffix("_f1").removeprefix("macro_")
    micro = {
        f"{prefix}_f1": bootstrap(totals, _f1),
        f"{prefix}_precision": bootstrap(totals, _precision),
        f"{prefix}_recall": bootstrap(totals, _recall),
        "exact_match": _share_exact(judged),
    }
    if metric != "macro_slot_f1":
        return micro
    shape = rows.shape
    flat = rows.reshape(shape[0], -1)
    return {metric: bootstrap(flat, lambda sums: _macro_f1(sums, shape[1])), **micro}


def _retrieval(metric: MetricName, judged: Sequence[Judgement]) -> dict[str, Estimate]:
    ordered = (metric, *(name for name in _RANKING_METRICS if name != metric))
    return {name: mean([one[name] for one in judged]) for name in ordered}


def _routing(metric: MetricName, judged: Sequence[Judgement]) -> dict[str, Estimate]:
    overall = {"accuracy": _share_exact(judged)}
    if metric == "accuracy":
        return overall
    found: dict[str, Estimate] = {}
    for name, wanted in (("in_scope_accuracy", True), ("out_of_scope_recall", False)):
        chosen = [one for one in judged if one.get("in_scope", False) is wanted]
        if chosen:
            found[name] = _share_exact(chosen)
    return {**found, **overall}


def _share_exact(judged: Sequence[Judgement]) -> Estimate:
    return share(sum(one["exact"] for one in judged), len(judged))


def _ranking_score(metric: MetricName, grades: Mapping[str, int], ranking: Sequence[str]) -> float:
    match metric:
        case "r@1":
            return recall_at(grades, ranking, 1)
        case "r@10":
            return recall_at(grades, ranking, 10)
        case "ndcg@10":
            return ndcg_at(grades, ranking, 10)
    return reciprocal_rank(grades, ranking)


def _ranking(given: Given) -> Sequence[str]:
    if given is None:
        return ()
    if isinstance(given, Sequence) and not isinstance(given, str):
        return given
    raise TypeError(f"a ranking is a sequence of passage ids, not {type(given).__name__}")


def _routes(given: Given) -> frozenset[str]:
    if isinstance(given, Collection) and not isinstance(given, str):
        return frozenset(given)
    raise TypeError(f"routes are a set of names, not {type(given).__name__}")


Counts = Mapping[str, tuple[int, int, int]]
"""Label -> how many were found rightly, found wrongly, and missed."""


def _counts(expected: Expected, given: Given) -> Counts:
    if not isinstance(expected, ExpectedRecord):
        raise TypeError(f"a record is expected here, not {type(expected).__name__}")
    if given is not None and not isinstance(given, GivenRecord):
        raise TypeError(f"a record is judged by a record, not {type(given).__name__}")
    wanted = _items(expected.values, expected.spans, expected.by_span)
    found = _items(given.values, given.spans, expected.by_span) if given else Counter()
    labels = dict.fromkeys(label for label, _ in (*wanted, *found))
    right, extra, missed = wanted & found, found - wanted, wanted - found
    return {label: (_of(right, label), _of(extra, label), _of(missed, label)) for label in labels}


def _of(items: Counter[tuple[str, str]], label: str) -> int:
    return sum(count for (name, _), count in items.items() if name == label)


def _items(
    values: Mapping[str, Any], spans: Iterable[Span], by_span: bool
) -> Counter[tuple[str, str]]:
    """What is compared: (label, place) once each, or (field, value) as often as it is given."""
    if by_span:
        return Counter({(span.label, f"{span.start}:{span.end}") for span in spans})
    several = (
        (name, item)
        for name, value in values.items()
        for item in (value if isinstance(value, list | tuple) else [value])
    )
    return Counter((name, _normal(item)) for name, item in several if item not in (None, ""))


def _normal(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else "json:" + canonical_json(value)


def _table(
    counted: Sequence[Mapping[str, Sequence[int]]],
) -> tuple[list[str], Floats]:
    """Counts of every scenario: labels, and an array of shape (scenarios, labels, 3)."""
    labels = sorted({label for counts in counted for label in counts})
    columns = {label: column for column, label in enumerate(labels)}
    rows = np.zeros((len(counted), max(1, len(labels)), 3))
    for row, counts in enumerate(counted):
        for label, numbers in counts.items():
            rows[row, columns[label]] = numbers
    return labels, rows


def _f1(sums: Floats) -> Floats:
    return _ratio(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def _precision(sums: Floats) -> Floats:
    return _ratio(sums[..., 0], sums[..., 0] + sums[..., 1])


def _recall(sums: Floats) -> Floats:
    return _ratio(sums[..., 0], sums[..., 0] + sums[..., 2])


def _macro_f1(sums: Floats, num_labels: int) -> Floats:
    """Mean F1 of the labels that occur; sums has shape (b, labels * 3)."""
    by_label = sums.reshape(len(sums), num_labels, 3)
    occurs = by_label.any(axis=2)
    return _ratio((_f1(by_label) * occurs).sum(axis=1), occurs.sum(axis=1).astype(np.float64))


def _ratio(above: Floats, below: Floats) -> Floats:
    """A ratio that is 0 where nothing was expected and nothing was given, as in conlleval."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
