"""Suite runs as one HTML file that needs nothing else: no script, no request, light and dark.

Every text comes from outside and is escaped; the template has no way around that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from journeyman.scenarios.comparing import interval
from journeyman.scenarios.estimates import Estimate
from journeyman.scenarios.report_files import RunReport
from journeyman.scenarios.results import ARMS

_FOLDER = Path(__file__).parent / "templates"
_MOST_LINES = 5000


def to_html(runs: Sequence[RunReport]) -> str:
    """The page: verdicts, figures with their intervals, scenarios, comparison."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["interval"] = interval
    environment.filters["usd"] = _usd
    environment.filters["bar"] = _bar
    page = environment.get_template("suite_report.html")
    return page.render(
        runs=[_run(run) for run in runs], made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )


def _run(run: RunReport) -> dict[str, Any]:
    report = run.report
    lines = list(run.lines.values())
    return {
        "run": run,
        "report": report,
        "summary": report.summary(),
        "quality": [
            {
                "agent": agent,
                "metric": name,
                "arms": [report.quality(agent, arm).get(name) for arm in ARMS],
            }
            for agent in report.agents
            for name in report.quality(agent, "system")
        ],
        "lines": lines[:_MOST_LINES],
        "num_left_out": max(0, len(lines) - _MOST_LINES),
    }


def _usd(microusd: int | None) -> str:
    return "unknown" if microusd is None else f"${microusd / 1e6:.4f}"


def _bar(found: Estimate | None) -> dict[str, float]:
    """An estimate as percentages of a bar: its value, and where its interval lies."""
    if found is None:
        return {"value": 0, "low": 0, "width": 0}
    low, high = 100 * found.low, 100 * found.high
    return {
        "value": round(100 * found.value, 2),
        "low": round(low, 2),
        "width": round(high - low, 2),
    }
