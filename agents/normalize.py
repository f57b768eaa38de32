"""Turns a stretch of text into a typed value, by libraries that know the world's notations.

Dates are read by dateparser, numbers and currencies by the locale's rules in babel and by
price-parser where those do not fit, number words by text2num, enums by rapidfuzz. Every reading
depends only on the text and on the settings given here, never on today's date or the machine's
locale. Values come out JSON-compatible. A text that has no single reading raises ValueError; what
that means for an answer is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import threading
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.numbers import (
    NumberFormatError,
    get_currency_name,
    get_territory_currencies,
    list_currencies,
    parse_decimal,
)
from dateparser.date import DateDataParser
from price_parser.parser import Price, parse_number
from pydantic import TypeAdapter, ValidationError
from rapidfuzz import fuzz, process
from text_to_num import alpha2digit

from journeyman.agents.fields import FieldSpec
from journeyman.models.errors import ConfigError

DatePreference = Literal["current_period", "past", "future"]

_MAX_CHARS = 120
"""Longer texts are no number and no date; the cap keeps parsers off hostile input."""

_FUZZY_CUTOFF = 90.0

_NUMBER = re.compile(
    r"""(?P<open>\()?\s*(?P<sign>[-+])?\s*
        (?P<digits>\d(?:[\d]|[.,'٫٬](?=\d)|[ ](?=\d{3}(?!\d)))*)
        (?P<end>[.,]-)?\s*(?P<close>\))?""",
    re.VERBOSE,
)
_GROUPING = str.maketrans({"'": None, " ": None, "٬": None, "٫": "."})
"""Separators that part thousands, or decimals, in every locale that has them."""

_BOOLEAN: TypeAdapter[bool] = TypeAdapter(bool)
# dateparser keeps caches of its own that are not made for several threads at once.
_DATEPARSER = threading.Lock()


def fold_whitespace(text: str) -> str:
    """The text with every run of white space made one space, ends stripped."""
    return " ".join(text.split())


class Normalizer:
    """Reads values the way one locale writes them.

    Args:
        locale: Locale of the texts, e.g. `en`, `en_GB`, `de`.
        reference_date: The day that `tomorrow` and `5 March` are told from. Without one, a date
            must name its day, month and year.
        day_first: Is 03/04/2024 the third of April? None follows the locale.
        prefer_dates_from: With a reference date, which `5 March` or `Friday` is meant.

    Raises:
        ConfigError: The locale is unknown.
    """

    def __init__(
        self,
        *,
        locale: str = "en",
        reference_date: dt.date | None = None,
        day_first: bool | None = None,
        prefer_dates_from: DatePreference = "current_period",
    ) -> None:
        try:
            self._locale = Locale.parse(locale.replace("-", "_"))
        except (UnknownLocaleError, ValueError) as error:
            raise ConfigError(
                f"Locale {locale!r} is unknown; name one such as 'en', 'en_GB' or 'de'.",
                key="locale",
            ) from error
        self.locale = str(self._locale)
        self.reference_date = reference_date
        self.day_first = _writes_day_first(self._locale) if day_first is None else day_first
        self.prefer_dates_from = prefer_dates_from
        self._currencies = _Currencies(self._locale)
        self._scales = _scale_words(self._locale)
        self._dates = self._date_parser(weekday=False)
        self._weekdays = self._date_parser(weekday=True)

    def settings(self) -> dict[str, Any]:
        """Everything that shapes a reading, JSON-compatible."""
        return {
            "locale": self.locale,
            "reference_date": self.reference_date.isoformat() if self.reference_date else None,
            "day_first": self.day_first,
            "prefer_dates_from": self.prefer_dates_from,
        }

    def value(self, spec: FieldSpec, text: str) -> Any:
        """The field's value as JSON-compatible data: dates in ISO form, Decimals as strings.

        Raises:
            ValueError: The text has no single reading as this kind of value.
        """
        folded = fold_whitespace(text)
        if not folded:
            raise ValueError("empty")
        match spec.kind:
            case "text":
                return folded
            case "integer":
                return self.integer(folded)
            case "number":
                number = self.number(folded)
                return format(number, "f") if spec.exact else _finite(number)
            case "money":
                return self.money(folded)
            case "date":
                return self.date(folded).isoformat()
            case "datetime":
                return self.datetime(folded).isoformat()
            case "boolean":
                return self.boolean(folded)
            case "enum":
                return self.choice(folded, spec.choices)

    def integer(self, text: str) -> int:
        """A whole number, in digits or words.

        Raises:
            ValueError: Not one number, or not a whole one.
        """
        number = self.number(text)
        if number != number.to_integral_value():
            raise ValueError(f"not a whole number: {text!r}")
        return int(number)

    def number(self, text: str) -> Decimal:
        """The one number in the text, in digits or words: `1,204.50`, `five`, `1.5 million`.

        Words around it are ignored; so is a percent sign (`5 %` is 5).

        Raises:
            ValueError: No number, or more than one.
        """
        match = self._only_number(text)
        return self._signed(match, self._plain(match["digits"])) * self._scale(match)

    def money(self, text: str) -> dict[str, str | None]:
        """The one amount in the text as `{"amount": "1204.50", "currency": "EUR"}`.

        A single separator before exactly three digits (`1.204 EUR`) parts thousands, whatever the
        locale: hardly any currency has three decimals. An ambiguous sign such as `$` means the
        locale's currency; a currency that is not recognised is None.

        Raises:
            ValueError: No amount, or more than one.
        """
        match = self._only_number(text)
        digits = match["digits"]
        if re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", digits):
            amount = Decimal(re.sub(r"[.,]", "", digits))
        else:
            amount = self._plain(digits)
        amount = self._signed(match, amount) * self._scale(match)
        return {"amount": format(amount, "f"), "currency": self._currencies.find(match.string)}

    def date(self, text: str) -> dt.date:
        """A day.

        Raises:
            ValueError: Not a date, or one that lacks a part and there is no reference date.
        """
        return self.datetime(text).date()

    def datetime(self, text: str) -> dt.datetime:
        """A day and time; midnight where the text names no time. Aware only if the text is.

        Raises:
            ValueError: Not a date, or one that lacks a part and there is no reference date.
        """
        folded = _short(text, "date")
        try:
            return dt.datetime.fromisoformat(folded)
        except ValueError:
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}.*", folded):
                raise ValueError(f"no such date: {text!r}") from None
        found, _ = _read_date(self._dates, folded)
        if found is None and self.reference_date and not any(c.isdigit() for c in folded):
            # `Friday` names no day and month, yet is one day; `May` and `next week` are longer.
            weekday, period = _read_date(self._weekdays, folded)
            found = weekday if period in {"day", "time"} else None
        if found is None:
            raise ValueError(f"not a full date: {text!r}")
        return found

    def boolean(self, text: str) -> bool:
        """Yes or no, true or false, on or off, 1 or 0.

        Raises:
            ValueError: None of these.
        """
        try:
            return _BOOLEAN.validate_python(fold_whitespace(text).casefold().strip(".!"))
        except ValidationError:
            raise ValueError(f"neither yes nor no: {text[:_MAX_CHARS]!r}") from None

    def choice(self, text: str, choices: Sequence[str | int]) -> str | int:
        """The choice that the text names: equal but for case and punctuation, or nearly equal.

        Raises:
            ValueError: None is near enough (rapidfuzz ratio of 90), or several are equally near.
        """
        wanted = _fold_choice(text)
        folded = {position: _fold_choice(str(choice)) for position, choice in enumerate(choices)}
        equal = [position for position, name in folded.items() if name == wanted]
        if len(equal) == 1:
            return choices[equal[0]]
        # Numbers one digit apart are near in spelling, not in meaning.
        if not equal and wanted and not any(c.isdigit() for c in wanted):
            near = process.extract(
                wanted[:_MAX_CHARS], folded, scorer=fuzz.ratio, score_cutoff=_FUZZY_CUTOFF, limit=2
            )
            if len(near) == 1 or (near and near[0][1] > near[1][1]):
                return choices[near[0][2]]
        raise ValueError(f"none of the choices: {text[:_MAX_CHARS]!r}")

    def _only_number(self, text: str) -> re.Match[str]:
        folded = unicodedata.normalize("NFKC", _short(text, "number"))
        folded = folded.replace("\N{MINUS SIGN}", "-").replace(
            "\N{RIGHT SINGLE QUOTATION MARK}", "'"
        )
        if not any(c.isdigit() for c in folded):
            with contextlib.suppress(ValueError):  # text2num does not know the language
                folded = alpha2digit(folded, self._locale.language, threshold=0.0)
        found = list(_NUMBER.finditer(folded))
        if len(found) != 1:
            raise ValueError(f"{'no' if not found else 'more than one'} number: {text!r}")
        return found[0]

    def _plain(self, digits: str) -> Decimal:
        """Digits with separators as an unsigned number: the locale's reading, else the likely."""
        digits = digits.translate(_GROUPING)
        try:
            number = parse_decimal(digits, locale=self._locale, strict=True)
        except NumberFormatError:
            number = parse_number(digits)
        if number is None:
            raise ValueError(f"not a number: {digits!r}")
        return Decimal(number)

    def _signed(self, match: re.Match[str], number: Decimal) -> Decimal:
        before = match.string[: match.start()]
        # A hyphen after a letter or digit joins words (`item-5`); it is no sign.
        minus = match["sign"] == "-" and not before[-1:].isalnum()
        booked = bool(match["open"] and match["close"])  # accountants write (5.00) for -5.00
        minus = minus or bool(re.search(r"(?:^|\s)-\s*\W?\s*$", before))
        return -number if minus or booked else number

    def _scale(self, match: re.Match[str]) -> int:
        after = re.match(r"\s*([^\W\d_]+)\.?", match.string[match.end() :])
        if after is None:
            return 1
        word = "K" if after[0] == "k" else after[1]
        return self._scales.get(word) or self._scales.get(word.casefold()) or 1

    def _date_parser(self, *, weekday: bool) -> DateDataParser:
        settings: dict[str, Any] = {
            "DATE_ORDER": "DMY" if self.day_first else "MDY",
            "PREFER_LOCALE_DATE_ORDER": False,
            "PREFER_DATES_FROM": self.prefer_dates_from,
            "RELATIVE_BASE": dt.datetime.combine(
                self.reference_date or dt.date(2000, 1, 1), dt.time.min
            ),
            "TIMEZONE": "UTC",
            "PARSERS": ["absolute-time"],
        }
        if self.reference_date is None:
            settings["STRICT_PARSING"] = True
        else:
            settings["PARSERS"] = ["absolute-time", "relative-time"]
            settings["REQUIRE_PARTS"] = [] if weekday else ["day", "month"]
        return DateDataParser(
            languages=[self._locale.language], settings=settings, try_previous_locales=False
        )


class _Currencies:
    """Codes, symbols and names of currencies as one locale writes them."""

    def __init__(self, locale: Locale) -> None:
        codes: list[str] = sorted(list_currencies())
        self._symbols: dict[str, str] = {code: code for code in codes}
        self._symbols |= {symbol: code for code, symbol in locale.currency_symbols.items()}
        self._names: dict[str, str] = {}
        home = _home_currency(locale)
        for code in codes:
            for count in (1, 2):
                name = get_currency_name(code, count=count, locale=locale).casefold()
                self._names[name] = code
                if code == home:  # plain `dollars` are the locale's own
                    self._names[name.split()[-1]] = code
        by_length = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, by_length))})(?!\w)")

    def find(self, text: str) -> str | None:
        """The ISO code of the currency that the text names; None where none is recognised."""
        for sign in re.findall(r"[^\d\s.,()+'-]+", text):
            if sign in self._symbols:
                return self._symbols[sign]
            if abroad := re.fullmatch(r"([A-Z]{2})\W", sign):  # US$, CA$
                local = get_territory_currencies(abroad[1])
                return str(local[0]) if local else None
        if named := self._pattern.search(text.casefold()):
            return self._names[named[0]]
        found: str | None = Price.fromstring(text).currency
        return self._symbols.get(found) if found else None


def _home_currency(locale: Locale) -> str | None:
    territory = locale.territory
    if territory is None:
        likely = get_global("likely_subtags").get(locale.language, "")
        territory = likely.rpartition("_")[2]
    local = get_territory_currencies(territory) if territory else []
    return str(local[0]) if local else None


def _read_date(parser: DateDataParser, text: str) -> tuple[dt.datetime | None, str]:
    with _DATEPARSER:
        data = parser.get_date_data(text)
    return data.date_obj, data.period


def _short(text: str, kind: str) -> str:
    folded = fold_whitespace(text)
    if len(folded) > _MAX_CHARS:
        raise ValueError(f"too long for a {kind}: {len(folded)} characters")
    return folded


def _finite(number: Decimal) -> float:
    result = float(number)
    if result in {float("inf"), float("-inf")}:
        raise ValueError(f"too large a number: {number}")
    return result


def _fold_choice(text: str) -> str:
    words = unicodedata.normalize("NFKC", text).casefold()
    return fold_whitespace(re.sub(r"[\W_]+", " ", words))


def _writes_day_first(locale: Locale) -> bool:
    pattern = locale.date_formats["short"].pattern
    return bool(pattern.index("d") < pattern.index("M"))


def _scale_words(locale: Locale) -> dict[str, int]:
    """`million`, `K`, `Mio` and their like in this locale, each to what it multiplies by."""
    scales: dict[str, int] = {}
    for style in ("short", "long"):
        for patterns in locale.compact_decimal_formats[style].values():
            for power, pattern in patterns.items():
                word = re.sub(r"[0¤\s'.]", "", pattern.pattern)
                zeros = pattern.pattern.count("0")
                if word and not word.isdigit():
                    scales[word] = int(power) // 10 ** (zeros - 1)
    return scales
