"""Schemas as fields: what is supported, what is refused, how labels and identifiers map."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel

from journeyman.agents.fields import FieldSpec, Money, fields_of, schema_from_labels
from journeyman.models.errors import ConfigError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1


class Vendor(BaseModel):
    name: str
    vat: str | None = None


class Line(BaseModel):
    product: str
    quantity: int | None = None


class Everything(BaseModel):
    text: str
    whole: int
    real: float
    exact: Decimal
    day: date
    moment: datetime
    price: Money
    colour: Colour
    size: Size
    word: Literal["a", "b"]
    flag: bool
    many: list[str]
    maybe: Optional[date]  # noqa: UP045  # both spellings are read
    union: date | None = None
    several: list[Money] = []
    vendor: Vendor
    lines: list[Line] = []
    noted: Annotated[int, Field(ge=0, description="How many.")]


def by_path(schema: type[BaseModel]) -> dict[str, FieldSpec]:
    return {spec.path: spec for spec in fields_of(schema)}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("text", "text"),
        ("whole", "integer"),
        ("real", "number"),
        ("exact", "number"),
        ("day", "date"),
        ("moment", "datetime"),
        ("price", "money"),
        ("colour", "enum"),
        ("size", "enum"),
        ("word", "enum"),
        ("flag", "boolean"),
        ("many", "text"),
        ("maybe", "date"),
        ("union", "date"),
        ("several", "money"),
        ("vendor.name", "text"),
        ("lines.quantity", "integer"),
        ("noted", "integer"),
    ],
)
def test_every_supported_type_has_its_kind(path: str, kind: str) -> None:
    assert by_path(Everything)[path].kind == kind


def test_a_field_is_optional_if_it_may_be_missing_or_empty() -> None:
    required = {path for path, spec in by_path(Everything).items() if not spec.optional}
    assert required == {
        "text", "whole", "real", "exact", "day", "moment", "price", "colour", "size", "word",
        "flag", "vendor.name", "noted",
    }  # fmt: skip


def test_children_of_an_optional_parent_are_optional() -> None:
    class Outer(BaseModel):
        vendor: Vendor | None = None

    assert by_path(Outer)["vendor.name"].optional


def test_only_children_of_a_list_of_models_are_in_a_list() -> None:
    specs = by_path(Everything)
    assert {path for path, spec in specs.items() if spec.in_list} == {
        "lines.product",
        "lines.quantity",
    }
    assert {path for path, spec in specs.items() if spec.repeated} == {"many", "several"}


def test_choices_are_the_values_as_they_stand_in_json() -> None:
    specs = by_path(Everything)
    assert specs["colour"].choices == ("red", "blue")
    assert specs["size"].choices == (1,)
    assert specs["word"].choices == ("a", "b")


def test_a_decimal_is_exact_and_a_float_is_not() -> None:
    specs = by_path(Everything)
    assert specs["exact"].exact
    assert not specs["real"].exact


def test_the_description_of_an_annotated_field_is_kept() -> None:
    assert by_path(Everything)["noted"].description == "How many."


def test_fields_keep_the_order_of_the_schema() -> None:
    assert [s.path for s in fields_of(Everything)][-4:] == [
        "vendor.vat",
        "lines.product",
        "lines.quantity",
        "noted",
    ]


class Deep(BaseModel):
    vendor: list[Vendor]


class Mixed(Enum):
    A = 1.5


@pytest.mark.parametrize(
    "annotation",
    [
        dict[str, str],
        Any,
        bytes,
        int | str,
        tuple[str, ...],
        set[str],
        list[list[str]],
        RootModel[str],
        Mixed,
        Literal[True],
        Deep,
        object,
    ],
)
def test_an_unsupported_type_is_refused_by_the_name_of_its_field(annotation: Any) -> None:
    schema = type(
        "Bad", (BaseModel,), {"__annotations__": {"odd_field": annotation}, "__module__": __name__}
    )
    with pytest.raises(ConfigError, match="odd_field"):
        fields_of(schema)


def test_a_schema_without_fields_is_refused() -> None:
    class Empty(BaseModel):
        pass

    with pytest.raises(ConfigError, match="Empty"):
        fields_of(Empty)


def test_two_fields_may_not_share_a_label() -> None:
    class Clash(BaseModel):
        a: str = Field(json_schema_extra={"label": "x"})
        b: str = Field(json_schema_extra={"label": "x"})

    with pytest.raises(ConfigError, match="share the label 'x'"):
        fields_of(Clash)


def test_labels_of_a_data_set_come_back_from_its_schema() -> None:
    labels = ["playlist_owner", "creative-work", "object_location_type", "class", "schema", "2nd"]
    specs = fields_of(schema_from_labels("Slots", labels))
    assert [spec.label for spec in specs] == labels
    assert [spec.path for spec in specs] == [
        "playlist_owner",
        "creative_work",
        "object_location_type",
        "class_",
        "schema_",
        "field_2nd",
    ]
    assert all(spec.repeated and spec.optional for spec in specs)


def test_labels_may_make_single_valued_fields() -> None:
    schema = schema_from_labels("Slots", ["a"], repeated=False)
    assert schema().model_dump() == {"a": None}
    assert not fields_of(schema)[0].repeated


@pytest.mark.parametrize("labels", [[], ["a", " "]])
def test_empty_labels_are_refused(labels: list[str]) -> None:
    with pytest.raises(ConfigError):
        schema_from_labels("Slots", labels)


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, unique=True))
def test_any_labels_make_a_schema_that_gives_them_back(labels: list[str]) -> None:
    specs = fields_of(schema_from_labels("Slots", labels))
    assert [spec.label for spec in specs] == labels
    assert len({spec.path for spec in specs}) == len(labels)
