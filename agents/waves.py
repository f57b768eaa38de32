"""In which order sub-agents run: those whose answers others consume go first.

Knows names only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from journeyman.models.errors import ConfigError


def waves(names: Iterable[str], consumes: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Group names into waves; all that a name consumes (and is present) stands in earlier waves.

    Args:
        names: The sub-agents that take part, in order of preference.
        consumes: For each name, whose answers it uses; absent ones are ignored.

    Raises:
        ConfigError: Sub-agents consume each other's answers in a circle.
    """
    present = list(dict.fromkeys(names))
    sorter = TopologicalSorter(
        {
            name: [n for n in consumes.get(name, ()) if n in present and n != name]
            for name in present
        }
    )
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise ConfigError(
            f"Sub-agents consume each other's answers in a circle ({circle}); "
            f"remove one of them from `consumes`."
        ) from error
    order: list[list[str]] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=present.index)
        order.append(ready)
        sorter.done(*ready)
    return order
