"""A suite's repairs without a frontier, beside two baselines, as a table for people."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from journeyman.cli.console import table
from journeyman.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journeyman.scenarios.estimates import Estimate
    from journeyman.scenarios.options import ExecutionOptions
    from journeyman.scenarios.repairs import Figures, Repairs
    from journeyman.scenarios.suite import Suite


def compare_repairs(suite: Suite, options: ExecutionOptions, *, quiet: bool) -> Repairs | None:
    """Repair the suite's bugs in each way; None where the suite asks for no baselines.

    Raises:
        ConfigError: The suite or its data cannot be used.
        SandboxUnavailable: Nothing here can run programs safely.
    """
    from journeyman.scenarios.assembly import repairer
    from journeyman.scenarios.datasets import default_parts, iter_scenarios
    from journeyman.scenarios.repairs import Repairs

    settings = suite.spec.agents.debugging
    if settings is None or not settings.baselines:
        return None
    parts = options.parts if options.parts is not None else default_parts(suite)
    chosen = options.selection.choose(iter_scenarios(suite, parts=parts))
    scenarios = [scenario for scenario in chosen if "debugging" in scenario.expected]
    if not scenarios:
        return None
    repairs = Repairs(repairer(suite), scenarios, settings)

    async def run() -> None:
        with Progress("repairs compared", repairs.num_steps, quiet=quiet) as progress:
            async with aclosing(repairs.run()) as made:
                async for _ in made:
                    progress.advance()

    asyncio.run(run())
    return repairs


def render_repairs(rows: Sequence[Figures]) -> str:
    """The table, and what its words mean."""
    headers = [
        "students alone", "bugs", "visible tests pass", "hidden tests pass", "candidates to a pass",
        "candidates in all", "seconds",
    ]  # fmt: skip
    lines = [
        [
            row.name,
            str(row.n),
            _share(row.visible),
            _share(row.hidden),
            "-" if row.needed is None else "{:.0f} / {:.0f} / {:.1f}".format(*row.needed),
            "-" if row.tried is None else "{:.0f} / {:.0f}".format(*row.tried),
            "{:.1f} / {:.1f}".format(*row.seconds),
        ]
        for row in rows
    ]
    return (
        f"{table(headers, lines, right=frozenset({1}))}\n"
        "(candidates to the first that passes the visible tests: median / p90 / mean over the bugs "
        "in which\n"
        "both this way and the generic order find one; in all, with looking past it: median / "
        "p90; seconds: median /\n"
        "mean; in brackets: 95 % interval; the generator alone gets some of the bugs)"
    )


def _share(found: Estimate) -> str:
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"
