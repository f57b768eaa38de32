"""Assertions hold, fail or are errors, each with its reason, and the run goes on after any."""

from __future__ import annotations

from pathlib import Path

import pytest

from journeyman.scenarios.runner import RunOptions
from journeyman.scenarios.verdicts import AssertionResult
from tests.scenarios.shop import HEAD, ScriptedFrontier, results_of, suite_of, write

BILL = "scenarios:\n  - id: one\n    input: Total due is 42.50 EUR\n"
ACCEPT = RunOptions(concurrency=1, trust_uncertified=True)


async def asserted(
    folder: Path,
    assertion: str,
    *,
    more: str = "",
    frontier: ScriptedFrontier | None = None,
    options: RunOptions | None = None,
) -> AssertionResult:
    """The result of one assertion about a bill of 42.50 EUR, which escalates."""
    suite = suite_of(folder, f"{BILL}{more}    assert:\n      - {assertion}\n")
    (result,) = await results_of(suite, frontier=frontier, options=options)
    assert result.error is None
    (told,) = result.assertions
    return told


@pytest.mark.parametrize(
    ("assertion", "passed", "reason"),
    [
        ("NoErrors", True, "every task was answered"),
        ("Contains: '42.50'", True, ""),
        ("Contains: [EUR, '42']", True, ""),
        ("Contains: USD", False, "'USD' is not in"),
        ("Contains: eur", False, "'eur' is not in"),
        ("Contains: {value: eur, case_sensitive: false}", True, ""),
        ("not: {Contains: EUR}", False, "should not hold"),
        ("not: {Contains: USD}", True, ""),
        ("Matches: '4[0-9]\\.50'", True, ""),
        ("Matches: '^EUR'", False, "looked in"),
        ("JsonMatch: {expected: {total: 42.5}}", True, "all values match"),
        ("JsonMatch: {expected: {total: 42.4}}", False, "total is '42.50', not 42.4"),
        ("JsonMatch: {expected: {total: 42.4}, numeric_tolerance: 0.2}", True, ""),
        ("JsonMatch: {expected: {total: 42.5}, exact: true}", False, "currency is 'EUR'"),
        ("JsonMatch: {expected: {vat: 1}}", False, "vat is nothing, not 1"),
        ("RoutedTo: extraction", True, "routed to extraction"),
        ("Escalated", True, "escalated: extraction (uncertified)"),
        ("Escalated: false", False, "uncertified"),
        ("Escalated: {reason: uncertified}", True, ""),
        ("Escalated: {reason: audit}", False, "uncertified"),
        ("AnsweredBy: frontier", True, ""),
        ("AnsweredBy: student", False, "extraction was answered by frontier"),
        ("Certified", False, "extraction is not certified"),
        ("Certified: false", True, ""),
        ("Confidence: {agent: extraction, min: 0.6}", False, "no confidence"),
        ("MaxCost: 0.000007", True, "$0.000007"),
        ("MaxCost: 0.000006", False, "$0.000007"),
        ("MaxSteps: 1", True, "1 tasks"),
        ("MaxSteps: 0", False, "1 tasks"),
        ("MaxLatency: 60000", True, "ms"),
        ("MaxLatency: 0", False, "ms"),
        ("MaxDuration: 60", True, ""),
        ("Equals: {value: {total: '42.50', currency: EUR}}", True, ""),
    ],
)
async def test_an_assertion_says_whether_it_holds_and_why(
    tmp_path: Path, assertion: str, passed: bool, reason: str
) -> None:
    told = await asserted(tmp_path, assertion)
    assert (told.passed, reason in told.reason) == (passed, True), told


async def test_a_student_that_is_trusted_answers_and_costs_nothing(tmp_path: Path) -> None:
    for assertion in ("AnsweredBy: student", "Escalated: false", "MaxCost: 0"):
        assert (await asserted(tmp_path, assertion, options=ACCEPT)).passed is True


async def test_an_unknown_cost_is_too_much_and_says_why(tmp_path: Path) -> None:
    told = await asserted(tmp_path, "MaxCost: 5", frontier=ScriptedFrontier(cost=None))
    assert told.passed is False
    assert "the cost is unknown" in told.reason


async def test_a_task_that_nobody_answers_is_an_error_to_no_errors_and_holds_nothing_else(
    tmp_path: Path,
) -> None:
    down = ScriptedFrontier(down=True)
    told = await asserted(tmp_path, "NoErrors", frontier=down)
    assert (told.passed, "The scripted frontier is down" in told.reason) == (False, True)
    assert (await asserted(tmp_path, "AnsweredBy: none", frontier=down)).passed is True
    assert (await asserted(tmp_path, "Contains: EUR", frontier=down)).passed is False


async def test_json_match_takes_the_scenarios_expected_and_then_expected_counts_through_it_alone(
    tmp_path: Path,
) -> None:
    near = "    expected: {total: '42.49', currency: EUR}\n"
    told = await asserted(tmp_path, "JsonMatch: {numeric_tolerance: 0.02}", more=near)
    assert told.passed is True
    suite = suite_of(
        tmp_path, f"{BILL}{near}    assert: [JsonMatch: {{numeric_tolerance: 0.02}}]\n"
    )
    (result,) = await results_of(suite)
    assert (result.is_right, result.status) == (False, "passed")


async def test_expected_counts_beside_assertions_that_do_not_judge_it(tmp_path: Path) -> None:
    wrong = "    expected: {total: '1', currency: EUR}\n    assert: [NoErrors]\n"
    (result,) = await results_of(suite_of(tmp_path, BILL + wrong))
    assert result.assertions[0].passed is True
    assert result.status == "failed"


async def test_a_judge_asks_the_frontier_and_its_cost_is_counted_apart(tmp_path: Path) -> None:
    frontier = ScriptedFrontier()
    told = await asserted(tmp_path, "LLMJudge: names a currency", frontier=frontier)
    assert (told.passed, told.score, told.reason) == (True, 0.75, "as asked")
    assert told.cost_microusd == 7
    asked, run_id = frontier.requests[-1]
    assert asked.agent == "judge"
    assert run_id.endswith(":judge")
    assert "names a currency" in str(asked.messages[1]["content"])
    assert "Total due is 42.50 EUR" in str(asked.messages[1]["content"])
    spent = (await asserted(tmp_path, "MaxCost: 0.000007", frontier=ScriptedFrontier())).passed
    assert spent is True


async def test_a_judge_that_cannot_be_reached_makes_an_error_and_not_a_failure(
    tmp_path: Path,
) -> None:
    suite = suite_of(tmp_path, f"{BILL}    assert: [LLMJudge: is kind, NoErrors]\n")
    (result,) = await results_of(suite, frontier=ScriptedFrontier(down=True), options=ACCEPT)
    assert [one.passed for one in result.assertions] == [None, True]
    assert "The scripted frontier is down" in result.assertions[0].reason
    assert result.status == "error"


OWN = """
from dataclasses import dataclass
from pydantic_evals.evaluators import EvaluationReason, Evaluator, EvaluatorContext

@dataclass
class Shouts(Evaluator):
    loud: int = 1
    def evaluate(self, ctx: EvaluatorContext):
        if self.loud == 7:
            raise KeyError("nothing there")
        if self.loud == 8:
            return 0.5
        if self.loud == 9:
            return {"yes": True, "how": 0.25}
        text = ctx.metadata.answer_text()
        return EvaluationReason(text.isupper(), f"{ctx.metadata.text} gave {ctx.output}")
"""


@pytest.mark.parametrize(
    ("assertion", "passed", "score", "reason"),
    [
        ("Shouts", False, None, "Total due is 42.50 EUR gave"),
        ("Shouts: 7", None, None, "KeyError: 'nothing there'"),
        ("Shouts: 8", None, None, "neither true nor false"),
        ("Shouts: {loud: 9}", True, 0.25, ""),
        ("not: Shouts", True, None, ""),
    ],
)
async def test_an_evaluator_of_ones_own_is_used_by_its_file(
    tmp_path: Path, assertion: str, passed: bool | None, score: float | None, reason: str
) -> None:
    write(tmp_path, OWN, "checks.py")
    head = f"{HEAD}evaluators: ['checks.py:Shouts']\n"
    suite = suite_of(tmp_path, f"{BILL}    assert: [{{{assertion}}}]\n", head)
    (result,) = await results_of(suite)
    (told,) = result.assertions
    assert (told.passed, told.score, reason in told.reason) == (passed, score, True), told


async def test_defaults_come_first_and_weights_are_kept(tmp_path: Path) -> None:
    suite = suite_of(
        tmp_path,
        "defaults: {assert: [NoErrors], epochs: 2, pass: {rule: any}}\n"
        + BILL
        + "    epochs: 3\n    assert: [Contains: {value: EUR, weight: 2}]\n",
    )
    results = await results_of(suite)
    assert [result.epoch for result in results] == [0, 1, 2]
    assert [(one.type, one.weight) for one in results[0].assertions] == [
        ("NoErrors", 1.0),
        ("Contains", 2.0),
    ]
    assert results[0].scenario.passes is not None


async def test_turns_share_a_session_and_each_is_judged_by_its_own_assertions(
    tmp_path: Path,
) -> None:
    suite = suite_of(
        tmp_path,
        """scenarios:
  - id: talk
    turns:
      - {user: bill of 10 USD, assert: [{Contains: USD}, {MaxSteps: 1}]}
      - {user: bill of 20 EUR, assert: [{Contains: USD}]}
    expected: {total: '20', currency: EUR}
    assert: [{MaxSteps: 2}, {Contains: [USD, EUR]}]
""",
    )
    (result,) = await results_of(suite, options=ACCEPT)
    assert [(one.turn, one.passed) for one in result.assertions] == [
        (0, True),
        (0, True),
        (1, False),
        (None, True),
        (None, True),
    ]
    assert [task.expected is None for task in result.tasks] == [True, False]
    assert result.is_right


async def test_each_turn_may_say_what_is_expected_of_it(tmp_path: Path) -> None:
    turns = """scenarios:
  - id: talk
    turns:
      - {user: bill of 10 USD, expected: {total: '10', currency: %s}}
      - {user: bill of 20 EUR, expected: {total: '20', currency: EUR}, assert: [JsonMatch]}
"""
    (right,) = await results_of(suite_of(tmp_path, turns % "USD"), options=ACCEPT)
    (wrong,) = await results_of(suite_of(tmp_path, turns % "EUR"), options=ACCEPT)
    assert (right.is_right, wrong.is_right) == (True, False)
    assert [one.passed for one in right.assertions] == [True]
    prints = {right.scenario.fingerprint, wrong.scenario.fingerprint}
    assert len(prints) == 2


async def test_a_run_that_pauses_goes_on_with_the_value_for_its_interrupt(tmp_path: Path) -> None:
    suite = suite_of(
        tmp_path,
        """scenarios:
  - id: asked
    input: ask me
    resume: [{interrupt: which_bill, value: the one of 30 EUR}]
    assert: [{Contains: '30'}]
  - id: unmet
    input: bill of 10 USD
    resume: [{interrupt: which_bill, value: x}]
  - id: unknown
    input: ask me
    resume: [{interrupt: other, value: x}]
""",
    )
    asked, unmet, unknown = await results_of(suite, options=ACCEPT)
    assert asked.status == "passed", asked
    assert unmet.status == "failed"
    assert unmet.assertions[0].reason == "the run never paused there"
    assert unknown.status == "error"
    assert "The run paused at 'which_bill'" in str(unknown.error)


async def test_skipped_and_expected_failures_are_told(tmp_path: Path) -> None:
    suite = suite_of(
        tmp_path,
        """scenarios:
  - {id: later, input: a, skip: not yet}
  - {id: gap, input: bill of 1 EUR, xfail: known gap, assert: [Contains: USD]}
  - {id: mended, input: bill of 1 EUR, xfail: known gap, assert: [Contains: EUR]}
  - {id: slow, input: bill of 1 EUR, timeout: 0.000001}
""",
    )
    later, gap, mended, slow = await results_of(suite, options=ACCEPT)
    assert (later.status, later.skipped, later.run_id) == ("skipped", "not yet", "")
    assert (gap.outcome, mended.outcome, gap.xfail) == ("xfailed", "xpassed", "known gap")
    assert slow.error == "no result within 1e-06 s"


async def test_an_input_may_be_a_file(tmp_path: Path) -> None:
    write(tmp_path, "\ufeffTotal due is 7 USD\n", "bills/seven.txt")
    scenario = "scenarios:\n  - {id: a, input: {file: bills/seven.txt}, assert: [Contains: '7']}\n"
    (result,) = await results_of(suite_of(tmp_path, scenario), options=ACCEPT)
    assert result.scenario.text == "Total due is 7 USD\n"
    assert result.status == "passed"
