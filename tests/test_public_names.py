"""The public face: what `from journeyman import ...` offers, and the tree of errors."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import journeyman
from journeyman.models import errors

ROOT = Path(__file__).parent.parent


def test_all_is_sorted_and_every_name_resolves() -> None:
    assert journeyman.__all__ == sorted(journeyman.__all__)
    for name in journeyman.__all__:
        thing = getattr(journeyman, name)
        assert inspect.getdoc(thing), f"{name} has no docstring"


def test_every_error_stands_in_the_one_tree_and_in_its_drawing() -> None:
    classes = [
        thing
        for _, thing in inspect.getmembers(errors, inspect.isclass)
        if thing.__module__ == errors.__name__
    ]
    assert len(classes) > 10
    for thing in classes:
        assert issubclass(thing, errors.JourneymanError)
        assert thing.__name__ in (errors.__doc__ or ""), f"{thing.__name__} is not in the drawing"


def test_no_other_module_defines_an_error_of_ours() -> None:
    strays = []
    for folder in ("agents", "graph", "models", "traces", "scenarios"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" in path.parts or path.name == "errors.py":
                continue
            name = ".".join(("journeyman", *path.relative_to(ROOT).with_suffix("").parts))
            module = import_module(name.removesuffix(".__init__"))
            strays += [
                f"{name}.{thing.__name__}"
                for _, thing in inspect.getmembers(module, inspect.isclass)
                if issubclass(thing, errors.JourneymanError)
                and thing.__module__ == module.__name__
                and not thing.__name__.startswith("_")
            ]
    assert strays == []
