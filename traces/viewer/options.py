"""What `journeyman view` tells its plugin, as Datasette's plugin configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

PLUGIN = "journeyman"


def digest_of(token: str) -> str:
    """What is compared in place of a token."""
    return sha256(token.encode("utf-8", "backslashreplace")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Choices of whoever started the viewer; the defaults are the safe ones.

    Attributes:
        write: Reviews and stars may be kept.
        hosts: Names under which the viewer may be reached, besides loopback's.
        any_address: It may also be reached by any IP address, since it listens beyond loopback.
        token_sha256: Digest of what a visitor must show, since Datasette shows its configuration;
            None on loopback, or where going without was asked for.
        note: Shown on every page, e.g. that this is a copy and of when.
        time_limit_ms: After so long a page's query is given up.
        replay_limit_ms: After so long reading all that a "what if" rests on is given up.
    """

    write: bool = False
    hosts: tuple[str, ...] = ()
    any_address: bool = False
    token_sha256: str | None = None
    note: str = ""
    time_limit_ms: int = 5_000
    replay_limit_ms: int = 30_000

    @classmethod
    def of(cls, datasette: Any) -> Options:
        """As configured; unknown keys are refused by the constructor."""
        given: Mapping[str, Any] = datasette.plugin_config(PLUGIN) or {}
        return cls(**{**given, "hosts": tuple(given.get("hosts", ()))})

    def as_config(self) -> dict[str, Any]:
        """What `of` reads back."""
        return {**asdict(self), "hosts": list(self.hosts)}
