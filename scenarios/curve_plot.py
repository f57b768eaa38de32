"""A learning curve as a picture: what the student answers, how good the system is, what it costs.

matplotlib draws it. Knows nothing of how the curve came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journeyman.models.errors import ConfigError

if TYPE_CHECKING:
    from journeyman.scenarios.curve import Curve

_INK = "#374151"
_STUDENT, _SYSTEM, _FRONTIER, _COST, _ERROR = (
    "#2563eb",
    "#059669",
    "#9ca3af",
    "#d97706",
    "#dc2626",
)
_ERRORS = {
    "joint": ("joint_error", "student answers, wrongly"),
    "selective": ("selective_error", "wrong among the student's answers"),
}
"""Field and label of the error that each kind of certificate bounds."""


def plot_curves(curves: Sequence[Curve], path: Path) -> None:
    """Write curves of one suite, one for each seed, as SVG: lines are means, bands the range.

    Args:
        curves: At least one, all with the same number of rounds.
        path: Where to; its folder exists.

    Raises:
        ConfigError: matplotlib is missing, or the curves do not fit together.
    """
    lengths = {len(curve.rounds) for curve in curves}
    if len(lengths) != 1:
        raise ConfigError("Curves of different numbers of rounds make no picture: draw each alone.")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "A picture needs matplotlib: run `pip install 'journeyman[plot]'`."
        ) from error
    with mpl.rc_context({"svg.hashsalt": "journeyman", "font.size": 10}):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        _shares(left, curves)
        _errors(right, curves)
        figure.suptitle(_title(curves), color=_INK)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _title(curves: Sequence[Curve]) -> str:
    first = curves[0]
    seeds = f", {len(curves)} seeds" if len(curves) > 1 else ""
    return (
        f"{first.suite}: {first.target.kind} error within {first.target.max_error:g} at delta "
        f"{first.target.delta:g}{seeds}"
    )


def _shares(axes: Any, curves: Sequence[Curve]) -> None:
    for field, label, colour, style in (
        ("certified_coverage", "answered by the student, certified", _STUDENT, "-"),
        ("system_quality", "system right", _SYSTEM, "-"),
        ("student_quality", "student alone right", _STUDENT, ":"),
        ("frontier_quality", "frontier right", _FRONTIER, "--"),
        ("cost_ratio", "cost against frontier only", _COST, "-"),
    ):
        _line(axes, curves, field, label, colour, style)
    costs = [p.cost_ratio for curve in curves for p in curve.rounds if p.cost_ratio is not None]
    axes.set_ylim(0, 1.03 * max([1.0, *costs]))  # teaching may cost more than it saves
    axes.set_ylabel("share of test tasks")
    _dress(axes)
    axes.legend(fontsize=8, frameon=False, loc="center right")


def _errors(axes: Any, curves: Sequence[Curve]) -> None:
    """The error that the certificates are about, against their target."""
    target = curves[0].target
    field, label = _ERRORS[target.kind]
    _line(axes, curves, field, label, _ERROR, "-")
    axes.axhline(target.max_error, color=_INK, linestyle="--", linewidth=1)
    axes.annotate(
        "target", (0, target.max_error), textcoords="offset points", xytext=(2, 3), color=_INK
    )
    seen = [getattr(point, field) or 0.0 for curve in curves for point in curve.rounds]
    axes.set_ylim(0, max(1.5 * target.max_error, 1.1 * max(seen)))  # a missed target shows
    axes.set_ylabel(f"{target.kind} error on the test tasks")
    _dress(axes)
    if axes.lines[1:]:  # without one answer of the student there is no error to name
        axes.legend(fontsize=8, frameon=False, loc="lower right")


def _line(
    axes: Any, curves: Sequence[Curve], field: str, label: str, colour: str, style: str
) -> None:
    seen = [point.tasks_seen for point in curves[0].rounds]
    rows = [[getattr(point, field) for point in curve.rounds] for curve in curves]
    columns = [[v for v in column if v is not None] for column in zip(*rows, strict=True)]
    known = [(x, column) for x, column in zip(seen, columns, strict=True) if column]
    if not known:
        return
    x = [each for each, _ in known]
    axes.plot(
        x,
        [sum(column) / len(column) for _, column in known],
        style,
        color=colour,
        label=label,
        marker="o",
        markersize=3,
        linewidth=1.6,
    )
    if len(curves) > 1:
        axes.fill_between(
            x, [min(c) for _, c in known], [max(c) for _, c in known], color=colour, alpha=0.15
        )


def _dress(axes: Any) -> None:
    axes.set_xlabel("tasks seen")
    axes.grid(alpha=0.25, linewidth=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
