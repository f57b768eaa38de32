"""JSON columns as the shapes that pages expect, whatever else may be in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def json_of(text: Any, otherwise: Any = None) -> Any:
    """What a JSON text says; `otherwise` where it says nothing."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return otherwise


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any, **defaults: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, each with what it lacks."""
    items = value if isinstance(value, list) else []
    return [{**defaults, **item} for item in items if isinstance(item, Mapping)]


def numbers(value: Any) -> dict[str, float]:
    """The numbers of an object by name; flags are none."""
    return {
        name: float(item)
        for name, item in mapping(value).items()
        if isinstance(item, int | float) and not isinstance(item, bool)
    }


def number(value: Any) -> float | None:
    """A number, or None in place of anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
