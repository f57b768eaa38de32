"""What stands in suites and must therefore neither teach nor certify.

Knows suites; what counts as the same text is curation's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from journeyman.scenarios.datasets import default_parts, iter_scenarios
from journeyman.scenarios.suite import Suite
from journeyman.traces.decontaminate import Decontaminator


def decontaminator(suites: Iterable[Suite]) -> Decontaminator:
    """Everything that the suites test by: what a run takes by default, not their streams.

    Raises:
        ConfigError: The data of a suite cannot be read.
    """
    return Decontaminator(_texts(suites))


def _texts(suites: Iterable[Suite]) -> Iterator[str]:
    for suite in suites:
        for scenario in iter_scenarios(suite, parts=default_parts(suite)):
            yield scenario.text
