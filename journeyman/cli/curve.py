"""`journeyman curve`: how much the student is trusted with, round after round."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from journeyman.cli import completion
from journeyman.cli.console import say, table, talk
from journeyman.cli.progress import Progress

if TYPE_CHECKING:
    from journeyman.graph.round_report import RoundReport
    from journeyman.scenarios.curve import Curve, CurveOptions, Point
    from journeyman.scenarios.suite import Suite


def curve(
    suite: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.suites, help="Suite file, or name of a shipped suite."
        ),
    ],
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 5,
    tasks_per_round: Annotated[
        int, typer.Option(min=1, help="Tasks of the stream before each; at most what there is.")
    ] = 2000,
    error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of wrong answers of the reference frontier.")
    ] = 0.0,
    seed: Annotated[
        list[int] | None, typer.Option(help="Of order and training; repeat it for several curves.")
    ] = None,
    max_error: Annotated[float, typer.Option(help="Target of the certificates.")] = 0.05,
    delta: Annotated[float, typer.Option(help="Chance that a proof may fail.")] = 0.05,
    kind: Annotated[
        Literal["joint", "selective"],
        typer.Option(help="joint: of all tasks; selective: of those accepted."),
    ] = "joint",
    audit_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share audited under a certificate.")
    ] = 0.05,
    early_audit_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share audited while labels are few; default: five times it, at most .25.",
        ),
    ] = None,
    limit_test: Annotated[
        int | None, typer.Option(min=1, help="At most so many test tasks; default: all.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the curve as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.svg", help="Write the picture.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Keep traces, releases and data sets here; one seed only."
        ),
    ] = None,
) -> None:
    """Stream a suite through the graph, run a round after each part, and measure on its test set.

    Examples:

      journeyman curve banking77 --rounds 5 --tasks-per-round 1600 --plot curve.svg

      journeyman curve snips --seed 0 --seed 1 --seed 2 --json curve.jsonl

    The frontier is the reference frontier, a stand-in that answers from the suite's references.
    With several seeds `--json` writes one curve for each line.
    """
    from journeyman.models.bounds import check_share
    from journeyman.models.errors import ConfigError
    from journeyman.models.types import Risk
    from journeyman.scenarios.curve import CurveOptions
    from journeyman.scenarios.paths import find_suite
    from journeyman.scenarios.suite import load_suite

    for name, value in (("--max-error", max_error), ("--delta", delta)):
        check_share(name, value)
    seeds = seed or [0]
    if data is not None and len(seeds) > 1:
        raise ConfigError("--data keeps one curve's files: give one --seed with it.")
    for path in (json, plot):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"There is no folder {str(path.parent)!r}: make it first.", path=path)
    loaded = load_suite(find_suite(suite))
    talk(f"{loaded.name}: {loaded.spec.description.strip()}")
    talk("The frontier is a stand-in that answers from the suite's references.")
    curves = []
    for number in seeds:
        options = CurveOptions(
            rounds=rounds,
            tasks_per_round=tasks_per_round,
            error_rate=error_rate,
            seed=number,
            risk=Risk(max_error=max_error, delta=delta, kind=kind),
            audit_rate=audit_rate,
            early_audit_rate=early_audit_rate,
            limit_test=limit_test,
        )
        drawn = _draw(loaded, options, data)
        curves.append(drawn)
        say(render(drawn))
        _write(curves, json, plot)  # after each, so that an interruption costs one curve


def _draw(loaded: Suite, options: CurveOptions, data: Path | None) -> Curve:
    from journeyman.scenarios.curve import draw_curve

    with Progress(f"curve, seed {options.seed}") as bar:

        def on_step(stage: str, word: str, done: int, total: int) -> None:
            bar.update(done, total or None, f"{stage} {word}".rstrip())

        def on_point(point: Point, report: RoundReport | None) -> None:
            verdict = "cold" if report is None else report.decision.verdict
            talk(
                f"round {point.round}: {verdict}, student answers "
                f"{point.certified_coverage:.1%}, wrongly {point.joint_error:.2%}, system right "
                f"{point.system_quality:.1%}"
            )

        return draw_curve(loaded, options, data=data, on_step=on_step, on_point=on_point)


def _write(curves: list[Curve], json: Path | None, plot: Path | None) -> None:
    if json is not None:
        text = "".join(curve.model_dump_json() + "\n" for curve in curves)
        json.write_text(text, "utf-8")
    if plot is not None:
        from journeyman.scenarios.curve_plot import plot_curves

        plot_curves(curves, plot)


def render(drawn: Curve) -> str:
    """A curve as a table."""
    headers = [
        "round",
        "seen",
        "decision",
        "student",
        "frontier",
        "system",
        "certified",
        "joint err",
        "AUROC",
        "Brier",
        "ECE",
        "cost",
        "p50 ms",
        "p95 ms",
        "train s",
        "labels",
    ]
    rows = [_row(point) for point in drawn.rounds]
    target = drawn.target
    return (
        f"{drawn.suite}, seed {drawn.seed}, {drawn.num_test} test tasks, {target.kind} error "
        f"within {target.max_error:g} at delta {target.delta:g}; frontier: reference, error rate "
        f"{drawn.error_rate:g}\n" + table(headers, rows, right=frozenset(range(3, 16)) | {0, 1})
    )


def _row(point: Point) -> list[str]:
    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return [
        str(point.round),
        str(point.tasks_seen),
        point.decision or "",
        number(point.student_quality, ".3f"),
        number(point.frontier_quality, ".3f"),
        number(point.system_quality, ".3f"),
        number(point.certified_coverage, ".1%"),
        number(point.joint_error, ".2%"),
        number(point.auroc, ".3f"),
        number(point.brier, ".3f"),
        number(point.ece, ".3f"),
        number(point.cost_ratio, ".3f"),
        number(point.p50_ms, ".0f"),
        number(point.p95_ms, ".0f"),
        number(point.train_seconds, ".0f"),
        str(point.labels or ""),
    ]
