"""Text to value: each kind's notations, what is refused, and independence of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.agents.fields import FieldSpec
from journeyman.agents.normalize import Normalizer
from journeyman.models.errors import ConfigError

EN = Normalizer()
GB = Normalizer(locale="en_GB", reference_date=date(2024, 5, 10))
DE = Normalizer(locale="de")
FR = Normalizer(locale="fr")
BY_LOCALE = {"en": EN, "de": DE, "fr": FR, "de_CH": Normalizer(locale="de_CH")}


def spec(kind: Any, **rest: Any) -> FieldSpec:
    return FieldSpec(path="f", label="f", kind=kind, **rest)


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("1.204,50 EUR", "1204.50", "EUR"),
        ("1,204.50 EUR", "1204.50", "EUR"),
        ("1.204 EUR", "1204", "EUR"),
        ("0.999 EUR", "0.999", "EUR"),
        ("1.234.567 €", "1234567", "EUR"),
        ("12 500,00 €", "12500.00", "EUR"),
        ("CHF 1'204.50", "1204.50", "CHF"),
        ("CHF 1’204.50", "1204.50", "CHF"),
        ("$1,204", "1204", "USD"),
        ("US$ 7", "7", "USD"),
        ("CA$7", "7", "CAD"),
        ("A$ 5", "5", "AUD"),
        ("£3.20", "3.20", "GBP"),
        ("-5.00 €", "-5.00", "EUR"),
        ("−5.00 €", "-5.00", "EUR"),
        ("-$5", "-5", "USD"),
        ("(5.00) USD", "-5.00", "USD"),
        ("€ 3,-", "3", "EUR"),
        ("ten euros", "10", "EUR"),
        ("20 dollars", "20", "USD"),
        ("$1.5 million", "1500000.0", "USD"),
        ("5k", "5000", None),
        ("9.00", "9.00", None),
        ("total: 9.00", "9.00", None),
    ],
)
def test_money(text: str, amount: str, currency: str | None) -> None:
    assert EN.money(text) == {"amount": amount, "currency": currency}


def test_a_currency_sign_means_the_currency_of_the_locale() -> None:
    assert Normalizer(locale="en_CA").money("$5")["currency"] == "CAD"
    assert Normalizer(locale="en_MY").money("RM 9.00")["currency"] == "MYR"


@pytest.mark.parametrize(
    "text", ["", "free", "5 or 6 EUR", "5–6 EUR", "nan", "12.34.56", "1" * 500]
)
def test_no_single_amount_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|money"):
        EN.money(text)


@pytest.mark.parametrize(
    ("normalizer", "text", "number"),
    [
        (EN, "1,204.50", "1204.50"),
        (EN, "1.204", "1.204"),
        (DE, "1.204", "1204"),
        (DE, "1.204,50", "1204.50"),
        (EN, "1,20", "1.20"),
        (FR, "1 204,5", "1204.5"),
        (FR, "1\u202f204,5", "1204.5"),
        (EN, "five", "5"),
        (EN, "Twenty-Five", "25"),
        (EN, "five people", "5"),
        (EN, "9 people", "9"),
        (DE, "zwölf", "12"),
        (FR, "vingt et un", "21"),
        (EN, "5 %", "5"),
        (EN, "item-5", "5"),
        (EN, "-3", "-3"),
        (EN, "１２", "12"),
        (EN, "٣", "3"),
        (DE, "3 Mio. Stück", "3000000"),
    ],
)
def test_number(normalizer: Normalizer, text: str, number: str) -> None:
    assert normalizer.number(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["1.5", "half", "5 adults and 1 child", "1e5", "inf", "\x00", "🙂"]
)
def test_what_is_not_one_whole_number_is_no_integer(text: str) -> None:
    with pytest.raises(ValueError, match=r"number"):
        EN.integer(text)


def test_number_words_of_an_unknown_language_are_no_number() -> None:
    with pytest.raises(ValueError, match="no number"):
        Normalizer(locale="pl").number("pięć")


def test_a_float_too_large_for_json_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"long|large"):
        EN.value(spec("number"), "9" * 400)


def test_a_decimal_keeps_its_digits_as_a_string() -> None:
    assert EN.value(spec("number", exact=True), "0.10") == "0.10"
    assert EN.value(spec("number"), "0.10") == pytest.approx(0.1)


def test_an_ambiguous_date_follows_the_locale_unless_told() -> None:
    assert EN.date("03/04/2024") == date(2024, 3, 4)
    assert GB.date("03/04/2024") == date(2024, 4, 3)
    assert DE.date("03.04.2024") == date(2024, 4, 3)
    assert Normalizer(day_first=True).date("03/04/2024") == date(2024, 4, 3)
    assert Normalizer(locale="en_GB", day_first=False).date("03/04/2024") == date(2024, 3, 4)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-05-03", date(2024, 5, 3)),
        ("3 May 2024", date(2024, 5, 3)),
        ("May 3rd, 2024 at 10:30", date(2024, 5, 3)),
        ("25/12/2018 8:13:39 PM", date(2018, 12, 25)),
        ("25/12/2018", date(2018, 12, 25)),
    ],
)
def test_a_full_date_needs_no_reference(text: str, day: date) -> None:
    assert EN.date(text) == day


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("tomorrow", date(2024, 5, 11)),
        ("5 March", date(2024, 3, 5)),
        ("friday", date(2024, 5, 10)),
        ("2 days ago", date(2024, 5, 8)),
    ],
)
def test_a_partial_date_is_told_from_the_reference_date(text: str, day: date) -> None:
    assert GB.date(text) == day
    with pytest.raises(ValueError, match="not a full date"):
        EN.date(text)


def test_a_weekday_may_be_meant_as_the_next() -> None:
    future = Normalizer(reference_date=date(2024, 5, 10), prefer_dates_from="future")
    assert future.date("monday") == date(2024, 5, 13)
    assert GB.date("monday") == date(2024, 5, 6)


@pytest.mark.parametrize(
    "text",
    ["May", "2024", "5", "10:30", "2024-13-01", "30/02/2024", "March 2024", "1.5 km", "\x00"],
)
def test_what_is_no_day_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match="date"):
        GB.date(text)


def test_a_time_with_an_offset_stays_aware() -> None:
    found = EN.datetime("2024-05-03T10:00:00+02:00")
    assert found == datetime(2024, 5, 3, 8, tzinfo=UTC)
    assert EN.value(spec("datetime"), "3 May 2024 10:30") == "2024-05-03T10:30:00"


@pytest.mark.parametrize(
    ("text", "value"), [("Yes", True), ("no.", False), ("ON", True), ("0", False)]
)
def test_boolean(text: str, value: bool) -> None:
    assert EN.boolean(text) is value


def test_a_maybe_is_no_boolean() -> None:
    with pytest.raises(ValueError, match="neither"):
        EN.boolean("maybe")


@pytest.mark.parametrize(
    ("text", "choice"),
    [("new york", "New York"), ("NEW-YORK", "New York"), ("New Yorc City", "New York City")],
)
def test_a_choice_is_found_despite_case_and_spelling(text: str, choice: str) -> None:
    assert EN.choice(text, ("New York", "New York City", "Boston")) == choice


def test_a_number_among_choices_is_never_guessed() -> None:
    assert EN.choice("2", (1, 2)) == 2
    with pytest.raises(ValueError, match="none of the choices"):
        EN.choice("terminal 11111111111", ("terminal 11111111112",))


def test_two_equally_near_choices_are_an_error() -> None:
    with pytest.raises(ValueError, match="none of the choices"):
        EN.choice("abcdefghijklx", ("abcdefghijkly", "abcdefghijklz"))


def test_text_has_its_white_space_folded_and_may_not_be_empty() -> None:
    assert EN.value(spec("text"), " a \n\t b ") == "a b"
    with pytest.raises(ValueError, match="empty"):
        EN.value(spec("text"), " \n")


def test_an_unknown_locale_is_refused() -> None:
    with pytest.raises(ConfigError, match="xx_YY"):
        Normalizer(locale="xx_YY")


def test_settings_name_everything_that_shapes_a_reading() -> None:
    assert GB.settings() == {
        "locale": "en_GB",
        "reference_date": "2024-05-10",
        "day_first": True,
        "prefer_dates_from": "current_period",
    }


amounts = st.decimals(min_value=0, max_value=10**9, places=2)


@given(amounts, st.sampled_from(sorted(BY_LOCALE)))
def test_money_reads_what_the_locale_writes(amount: Decimal, locale: str) -> None:
    written = format_currency(amount, "EUR", locale=locale)
    found = BY_LOCALE[locale].money(written)
    assert Decimal(found["amount"] or "") == amount
    assert found["currency"] == "EUR"


@given(st.decimals(-(10**6), 10**6, places=3), st.sampled_from(sorted(BY_LOCALE)))
def test_numbers_read_what_the_locale_writes(number: Decimal, locale: str) -> None:
    assert BY_LOCALE[locale].number(format_decimal(number, "#,##0.###", locale=locale)) == number


@settings(max_examples=60, deadline=None)
@given(st.dates(date(1950, 1, 1), date(2090, 1, 1)), st.sampled_from(["en", "de", "fr"]))
def test_dates_read_what_the_locale_writes(day: date, locale: str) -> None:
    assert BY_LOCALE[locale].date(format_date(day, "long", locale=locale)) == day


KINDS = ["text", "integer", "number", "date", "datetime", "money", "enum", "boolean"]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.sampled_from(KINDS))
def test_any_text_reads_as_a_value_or_raises_value_error(text: str, kind: Any) -> None:
    try:
        value = GB.value(spec(kind, choices=("red", "blue") if kind == "enum" else ()), text)
    except ValueError:
        return
    assert value is not None
    assert value == value  # no NaN
