"""Which scenarios of a suite run: by expression, tag, id, number and shard.

An expression is as in pytest's `-k`: words joined by `and`, `or`, `not` and brackets; a word holds
where a scenario's id or one of its tags contains it, whatever the case. Words with blanks or
brackets in them stand in quotes. Knows nothing of suites or files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from journeyman.models.errors import ConfigError
from journeyman.scenarios.datasets import sample
from journeyman.scenarios.scenario import Scenario

Holds = Callable[[Sequence[str]], bool]
"""Whether an expression holds of a scenario, given its names in lower case."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[()])|"(?P<quoted>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s()"']+))"""
)
_MAX_DEPTH = 100


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a suite, which are disjoint and together complete.

    A scenario's part hangs on its id alone: adding scenarios moves no other.
    """

    number: int
    count: int

    def has(self, scenario_id: str) -> bool:
        """Is the scenario in this part?"""
        digest = hashlib.sha256(f"shard:{scenario_id}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.number - 1


@dataclass(frozen=True)
class Selection:
    """What was asked for; empty selects everything.

    Attributes:
        keyword: An expression over ids and tags.
        tags: At least one of these tags.
        ids: Just these ids.
        limit: At most so many, spread over the data.
        shard: One part of what is left, as `2/4`.
        seed: Of the limit's choice.
    """

    keyword: str | None = None
    tags: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    limit: int | None = None
    shard: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an expression or a shard that cannot be read."""
        if self.keyword is not None:
            parse_keyword(self.keyword)
        if self.shard is not None:
            parse_shard(self.shard)

    def choose(self, scenarios: Iterable[Scenario]) -> Iterator[Scenario]:
        """The scenarios that were asked for, in their order.

        The limit draws from those that match, and the shard is a part of that draw.
        """
        chosen = sample(filter(self.matches, scenarios), self.limit, self.seed)
        if self.shard is None:
            return chosen
        part = parse_shard(self.shard)
        return (scenario for scenario in chosen if part.has(scenario.id))

    def matches(self, scenario: Scenario) -> bool:
        """Is it asked for, limit and shard aside?"""
        return self._matches(scenario.id, scenario.tags)

    def has(self, scenario_id: str, tags: Sequence[str]) -> bool:
        """Is a scenario with this id and these tags asked for, limit aside?"""
        if self.shard is not None and not parse_shard(self.shard).has(scenario_id):
            return False
        return self._matches(scenario_id, tags)

    def _matches(self, scenario_id: str, tags: Sequence[str]) -> bool:
        if self.ids and scenario_id not in self.ids:
            return False
        if self.tags and not set(self.tags) & set(tags):
            return False
        if self.keyword is None:
            return True
        return parse_keyword(self.keyword)([scenario_id.lower(), *map(str.lower, tags)])

    def to_json(self) -> dict[str, Any]:
        """As JSON-compatible data, for the record."""
        return {
            "keyword": self.keyword,
            "tags": list(self.tags),
            "ids": list(self.ids),
            "limit": self.limit,
            "shard": self.shard,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Selection:
        """What `to_json` made."""
        return cls(**{**data, "tags": tuple(data["tags"]), "ids": tuple(data["ids"])})


def parse_shard(written: str) -> Shard:
    """A shard such as `2/4`: the second of four.

    Raises:
        ConfigError: It is not two numbers, or the first is not among 1 to the second.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", written)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(f"--shard {written!r} is no part of a whole; write it as 2/4.")
    return Shard(int(found[1]), int(found[2]))


@lru_cache(maxsize=32)
def parse_keyword(written: str) -> Holds:
    """An expression as a function of a scenario's names.

    Raises:
        ConfigError: The expression is empty, or a word or bracket is missing or too many.
    """
    return _Parser(written).parse()


class _Parser:
    """Recursive descent over `or`, `and`, `not` and brackets, loosest first."""

    def __init__(self, written: str) -> None:
        self._written = written
        self._tokens = _tokens(written)
        self._next = 0
        self._depth = 0

    def parse(self) -> Holds:
        if not self._tokens:
            raise self._error("is empty; give a part of an id or tag")
        holds = self._or()
        if self._next < len(self._tokens):
            raise self._error(f"goes on after its end, at {self._tokens[self._next][1]!r}")
        return holds

    def _or(self) -> Holds:
        arms = [self._and()]
        while self._take("or"):
            arms.append(self._and())
        return arms[0] if len(arms) == 1 else lambda names: any(arm(names) for arm in arms)

    def _and(self) -> Holds:
        arms = [self._not()]
        while self._take("and"):
            arms.append(self._not())
        return arms[0] if len(arms) == 1 else lambda names: all(arm(names) for arm in arms)

    def _not(self) -> Holds:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error("is nested too deeply")
        try:
            if self._take("not"):
                inner = self._not()
                return lambda names: not inner(names)
            if self._take("("):
                inside = self._or()
                if not self._take(")"):
                    raise self._error("lacks a closing bracket")
                return inside
            return self._word()
        finally:
            self._depth -= 1

    def _word(self) -> Holds:
        if self._next == len(self._tokens):
            raise self._error("ends where a word is needed")
        is_plain, text = self._tokens[self._next]
        if is_plain and text in ("and", "or", ")"):
            raise self._error(f"needs a word where {text!r} stands")
        self._next += 1
        wanted = text.lower()
        return lambda names: any(wanted in name for name in names)

    def _take(self, mark: str) -> bool:
        if self._tokens[self._next : self._next + 1] != [(True, mark)]:
            return False
        self._next += 1
        return True

    def _error(self, what: str) -> ConfigError:
        return ConfigError(
            f"The expression -k {self._written!r} {what}; for example: 'a and not b'."
        )


def _tokens(written: str) -> list[tuple[bool, str]]:
    """Words and marks; the flag is off for quoted words, which are never operators."""
    tokens: list[tuple[bool, str]] = []
    at = 0
    end = len(written.rstrip())
    while at < end:
        found = _TOKEN.match(written, at)
        if found is None:
            raise ConfigError(f"The expression -k {written!r} lacks a closing quote.")
        at = found.end()
        quoted = found["quoted"] if found["quoted"] is not None else found["single"]
        tokens.append((True, found["mark"] or found["word"]) if quoted is None else (False, quoted))
    return tokens
