"""Facts to HTML: the templates, their filters, and what is done to hostile text.

Everything that a template says is escaped, and nothing is ever marked as safe but what `charts`
builds. Characters that turn the direction of text, control characters and lone surrogates are shown
as what they are, so that an answer cannot pretend to be something else.

A text is cut at `visible.MAX_CHARS`, since any column may hold a megabyte; where more is wanted, a
template says `|whole` and bounds it itself. What a form hands back must be whole.
"""

from __future__ import annotations

import json
import re
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from journeyman.traces.viewer import charts
from journeyman.traces.viewer.visible import cut, plain

HERE = Path(__file__).parent
STATIC = HERE / "static"

MAX_URL_CHARS = 4_000
"""A longer address is not offered: servers refuse it."""


def whole(value: Any) -> Markup:
    """The filter for texts that are not to be cut; they are escaped like all others."""
    return escape(plain(value))


def address(url: str) -> Markup:
    """An address for an attribute, which is never cut; one that is too long leads nowhere."""
    return escape(url) if len(url) <= MAX_URL_CHARS else Markup("#")


def money(microusd: float | None) -> str:
    """Micro-USD as dollars; an unknown price is no price."""
    if microusd is None:
        return "unknown"
    usd = microusd / 1e6
    return f"${usd:,.2f}" if abs(usd) >= 1 or usd == 0 else f"${usd:,.4f}"


def duration(milliseconds: float | None) -> str:
    """Milliseconds in the unit that suits."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def number(value: float | None) -> str:
    """A count with its thousands apart."""
    return "" if value is None else f"{value:,.0f}"


def share(value: float | None, digits: int = 1) -> str:
    """A number in [0, 1] as per cent."""
    return "" if value is None else f"{value:.{digits}%}"


def figure(value: float | None, digits: int = 3) -> str:
    """A number such as a confidence."""
    return "" if value is None else f"{value:.{digits}f}"


def when(time: str | None) -> str:
    """A stored time to the second, in UTC."""
    return "" if not time else time[:19].replace("T", " ")


def short(identifier: str | None) -> str:
    """The start of an id, as the command line shows it; releases and names stay whole."""
    if not identifier:
        return ""
    is_hex = len(identifier) >= 32 and not re.search("[^0-9a-f-]", identifier)
    return identifier[:8] if is_hex else identifier


def pretty(value: Any) -> str:
    """JSON-compatible data, indented; text stays text."""
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)


FILTERS = {
    "money": money,
    "duration": duration,
    "number": number,
    "share": share,
    "figure": figure,
    "when": when,
    "short": short,
    "pretty": pretty,
    "whole": whole,
}


@cache
def environment() -> Environment:
    """The templates, which escape what they are given and know no undefined name."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=cut,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals["charts"] = charts
    return made


@cache
def static_version(name: str) -> str:
    """A mark of a static file's content, for its address."""
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def render(template: str, facts: dict[str, Any]) -> str:
    """The HTML of a page."""
    return environment().get_template(template).render(facts)
