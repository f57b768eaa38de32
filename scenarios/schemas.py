"""The pydantic schema that a suite's extraction fills, and references in its form.

A schema comes from a module, from a Python file beside the suite, or from the labels of the data.
Naming a class in a suite runs the code of its module, as importing it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from journeyman.agents.fields import fields_of, schema_from_labels
from journeyman.models.errors import ConfigError
from journeyman.scenarios.datasets import labels_in_use
from journeyman.scenarios.imports import load_name
from journeyman.scenarios.suite import Suite

_AT = ("agents", "extraction", "schema")


def extraction_schema(suite: Suite) -> type[BaseModel]:
    """The schema of the suite: the class it names, else one text field for each label.

    Fields made from labels are lists where any text carries a label twice, else optional text.

    Raises:
        ConfigError: The class cannot be imported or is no pydantic model, or there are no labels.
    """
    settings = suite.spec.agents.extraction
    if settings is not None and settings.schema_path is not None:
        return _load(suite, settings.schema_path)
    labels = labels_in_use(suite)
    if not labels.names:
        raise suite.error(_AT[:2], "No labels occur in the data; name them under `labels`.")
    return schema_from_labels("Record", labels.names, repeated=labels.repeated)


def reference_record(schema: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Expected values (by label or field) in the form that the schema gives its answers.

    Every field of the schema is there: lists hold all values, others the first one or None. Values
    for which the schema has no field are left out.
    """
    record: dict[str, Any] = {}
    for spec in fields_of(schema):
        if spec.child:  # a nested model is given whole, under its own name
            if spec.name in values:
                record[spec.name] = values[spec.name]
            continue
        value = values.get(spec.label, values.get(spec.name))
        several = list(value) if isinstance(value, list | tuple) else [value]
        several = [item for item in several if item is not None]
        record[spec.name] = several if spec.repeated else (several[0] if several else None)
    return record


def _load(suite: Suite, written: str) -> type[BaseModel]:
    try:
        found = load_name(written, suite.path.parent)
    except ConfigError as error:
        raise suite.error(_AT, str(error)) from error
    if not isinstance(found, type) or not issubclass(found, BaseModel):
        source, _, name = written.rpartition(":")
        raise suite.error(
            _AT, f"{source!r} has no pydantic model {name!r}; define it, or name another class."
        )
    return found
