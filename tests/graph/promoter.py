"""Run as a program: `python promoter.py STORE DATA ACTION AGENT [RELEASE]`, once."""

from __future__ import annotations

import sys
from pathlib import Path

from journeyman.traces.registry import Registry
from journeyman.traces.store import Store


def main(path: str, data: str, action: str, agent: str, release: str = "") -> None:
    """Change what is in traffic, from another process than the one that answers."""
    with Store.open(path) as store:
        registry = Registry(store, Path(data))
        if action == "promote":
            registry.promote(agent, release)
        elif action == "rollback":
            registry.rollback(agent)
        else:
            registry.suspend(agent, release, "said another process")


if __name__ == "__main__":
    main(*sys.argv[1:])
