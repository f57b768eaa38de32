"""Run as a program: promotes releases by turns as fast as it can, then rolls each of them back.

`python promoting.py STORE DATA AGENT ROUNDS RELEASE...`
"""

from __future__ import annotations

import sys
from pathlib import Path

from journeyman.models.errors import ConfigError
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store


def main(path: str, data: str, agent: str, rounds: str, *releases: str) -> None:
    """Promote in turn; a rollback too many is somebody else's rollback, which is all right."""
    with Store.open(path) as store:
        registry = Registry(store, Path(data))
        for turn in range(int(rounds)):
            registry.promote(agent, releases[turn % len(releases)], reason=f"turn {turn}")
            if turn % 3 == 2:
                try:
                    registry.rollback(agent)
                except ConfigError:
                    continue


if __name__ == "__main__":
    main(*sys.argv[1:])
