"""Suite runs as JUnit XML, for whatever shows test results.

One test case for each scenario, over its epochs, one for each gate, and one for the run itself
where it came to no verdict: it was stopped or broken off, or tasks stayed open. A row that is
measured only is never a failure: whether it was right stands in its output.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from journeyman.scenarios.comparing import Line
from journeyman.scenarios.gates import GateResult
from journeyman.scenarios.report_files import RunReport

# What XML 1.0 cannot hold in any form.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MOST = 20


def to_junit(runs: Sequence[RunReport]) -> str:
    """The XML of all runs, one test suite each."""
    document = JUnitXml("journeyman")
    for run in runs:
        document.add_testsuite(_suite(run))
    document.update_statistics()  # type: ignore[no-untyped-call]  # the library's
    written: bytes = document.tostring()  # type: ignore[no-untyped-call]  # the library's
    return written.decode("utf-8")


def legal(text: str) -> str:
    r"""Text that XML can hold: other characters are spelled out, as `\x00`."""
    return _ILLEGAL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _suite(run: RunReport) -> TestSuite:
    suite = TestSuite(legal(run.name))
    for name, value in _properties(run).items():
        suite.add_property(name, legal(str(value)))
    for line in run.lines.values():
        suite.add_testcase(_case(run, line))
    for gate in run.verdict.gates:
        suite.add_testcase(_gate(run, gate))
    if run.status in ("error", "interrupted", "stopped"):
        case = TestCase("run", legal(run.name), 0)
        case.result = [
            Error(legal("; ".join(run.verdict.reasons[:_MOST]) or run.status), run.status)
        ]
        suite.add_testcase(case)
    return suite


def _properties(run: RunReport) -> dict[str, object]:
    cost = run.report.cost_microusd
    rate = run.report.escalation_rate
    return {
        "run": run.id,
        "label": run.label or "",
        "arm": run.report.arm,
        "status": run.status,
        "frontier": run.frontier,
        "cost_usd": "unknown" if cost is None else f"{cost / 1e6:.6f}",
        "escalation_rate": "" if rate is None else f"{rate.value:.4f}",
    }


def _case(run: RunReport, line: Line) -> TestCase:
    case = TestCase(legal(line.id), legal(run.name), round(line.duration_ms / 1000, 3))
    reason = legal(line.reason or line.outcome)
    if line.num_epochs > 1:
        reason += f" ({line.num_passed} of {line.num_epochs} epochs passed)"
    match line.outcome:
        case "error":
            case.result = [Error(reason, "error")]
        case "failed" if line.is_test:
            case.result = [Failure(reason, "failed")]
        case "failed":
            case.system_out = f"measured, not right: {reason}"
        case "skipped":
            case.result = [Skipped(reason)]
        case "xfailed":
            case.result = [Skipped(f"expected to fail: {reason}")]
        case "xpassed":
            case.system_out = "passed, though it was expected to fail"
    return case


def _gate(run: RunReport, gate: GateResult) -> TestCase:
    case = TestCase(legal(gate.name), legal(f"{run.name}.gates"), 0)
    if not gate.passed:
        case.result = [Failure(legal(gate.detail), "gate")]
    return case
