"""What a tagger says of a text, as mentions of fields, as evidence, and for the record.

The tagger itself lives among the students; here is only what extraction needs of its predictions.
Nothing here reads a value or judges an answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from journeyman.agents.fields import FieldSpec
from journeyman.agents.record import Mention, Record
from journeyman.models.types import Span


class Tagging(Protocol):
    """What a tagger predicts for one text."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """Marked stretches, labelled with field labels."""
        ...

    @property
    def taught(self) -> bool:
        """False until the tagger has been trained."""
        ...

    @property
    def num_windows(self) -> int:
        """Into how many windows the text was cut."""
        ...

    @property
    def missed(self) -> Mapping[str, float]:
        """By label, the largest probability of a word that is in no span of that label."""
        ...

    def evidence(self) -> Mapping[str, float]:
        """The tagger's own named numbers, the same names for every text."""
        ...


def mentions_of(specs: Sequence[FieldSpec], tagging: Tagging) -> list[Mention]:
    """The spans as mentions of fields; spans of labels that no field has are left out."""
    by_label = {spec.label: spec for spec in specs}
    return [
        Mention(
            spec=by_label[span.label],
            text=span.text,
            start=span.start,
            end=span.end,
            probability=_probability(span.probability),
        )
        for span in tagging.spans
        if span.label in by_label
    ]


def tagging_evidence(
    text: str,
    specs: Sequence[FieldSpec],
    tagging: Tagging,
    kept: Sequence[Mention],
    output: Record | None,
) -> dict[str, float]:
    """Named numbers of one attempt; the names depend on the tagger alone, and all are finite.

    Without a span the probabilities are 1 and their log 0: nothing was claimed. What speaks against
    the fields that were not found is in `missed_probability_max`.

    Args:
        text: The task's text.
        specs: The schema's fields.
        tagging: What the tagger predicted.
        kept: The mentions that count; the others are rivals that were dropped.
        output: The record made of them; None from an untaught tagger.
    """
    mentions = mentions_of(specs, tagging)
    places = {(m.spec.path, m.start, m.end) for m in kept}
    rivals = [m.probability for m in mentions if (m.spec.path, m.start, m.end) not in places]
    chances = [mention.probability for mention in kept]
    found = {span.field for span in output.spans} if output else set()
    required = [spec for spec in specs if not spec.optional]
    missed = [_number(tagging.missed.get(s.label, 0.0)) for s in specs if s.path not in found]
    unreadable = sum(p.kind == "unreadable" for p in output.problems) if output else 0
    numbers = {
        "span_probability_min": min(chances, default=1.0),
        "span_probability_mean": sum(chances) / len(chances) if chances else 1.0,
        "span_log_probability_sum": sum(math.log(max(chance, 1e-9)) for chance in chances),
        "num_spans": float(len(kept)),
        "num_dropped": float(len(mentions) - len(kept)),
        "dropped_probability_max": max(rivals, default=0.0),
        "num_unreadable": float(unreadable),
        "required_found": (
            sum(spec.path in found for spec in required) / len(required) if required else 1.0
        ),
        "missed_probability_max": max(missed, default=0.0),
        "text_length_log": math.log1p(len(text)),
        "num_windows": float(tagging.num_windows),
    }
    own = {f"student_{name}": _number(value) for name, value in tagging.evidence().items()}
    return numbers | own


def tagging_record(specs: Sequence[FieldSpec], tagging: Tagging) -> dict[str, Any]:
    """The tagging as JSON-compatible data.

    Returns:
        `spans` as marked, `fields` (by path, the highest probability of a span, None without one),
        `missed` (by path, see `Tagging.missed`), `taught`, `num_windows` and `evidence`.
    """
    best: dict[str, float | None] = {spec.path: None for spec in specs}
    for mention in mentions_of(specs, tagging):
        best[mention.spec.path] = max(best[mention.spec.path] or 0.0, mention.probability)
    return {
        "spans": [_span_record(span) for span in tagging.spans],
        "fields": best,
        "missed": {
            spec.path: _number(tagging.missed[spec.label])
            for spec in specs
            if spec.label in tagging.missed
        },
        "taught": tagging.taught,
        "num_windows": tagging.num_windows,
        "evidence": {name: _number(value) for name, value in tagging.evidence().items()},
    }


def _span_record(span: Span) -> dict[str, Any]:
    return asdict(span) | {
        "probability": _probability(span.probability),
        "mean_probability": _probability(span.mean_probability),
    }


def _probability(value: float) -> float:
    return min(max(_number(value), 0.0), 1.0)


def _number(value: float) -> float:
    """The value, or 0 where it is none that evidence may hold."""
    return float(value) if math.isfinite(value) else 0.0
