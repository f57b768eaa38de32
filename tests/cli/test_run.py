"""`journeyman run` as a process of its own: what it exits with, says, and leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from journeyman.scenarios.suite import load_suite
from journeyman.traces.store import Store
from tests.cli.inside import environment, journeyman, store_of
from tests.scenarios.scripted import said, write_echoes

pytestmark = pytest.mark.usefixtures("any_store")

ALONE = ("run", "echoes.yaml", "--arm", "student-only")


def process(
    folder: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "journeyman", *arguments],
        cwd=folder,
        env=environment(folder, **(env or {})),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def rejecting() -> Iterator[str]:
    """A server on this machine that knows no API key; its address."""

    class Rejects(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "Incorrect API key provided"}}')

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Rejects)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


GOOD = said("a", "one") + said("b", "two")


@pytest.mark.parametrize(
    ("scenarios", "arguments", "code", "told"),
    [
        (GOOD, (), 0, ""),
        (GOOD + said("c", "three", expected="four"), (), 1, "c: not the expected answer of echo"),
        (GOOD, ("--shard", "3/2"), 2, "journeyman: --shard '3/2'"),
        (GOOD + '  - {id: c, input: "say one", expected: {wrd: x}}\n', (), 3, "is no Word"),
        (GOOD, ("--max-time", "0"), 4, "--max-time of 0 s is over"),
        (GOOD, ("-k", "nobody"), 5, "Nothing matched"),
    ],
    ids=["passed", "failed", "usage", "error", "limit", "nothing"],
)
def test_the_exit_code_says_what_the_run_came_to(
    tmp_path: Path, scenarios: str, arguments: tuple[str, ...], code: int, told: str
) -> None:
    write_echoes(tmp_path, scenarios)
    done = process(tmp_path, *ALONE, *arguments)
    assert done.returncode == code, done.stderr
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("sent", "in_background"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)],
)
def test_an_interrupted_run_ends_cleanly_and_says_how_to_go_on(
    tmp_path: Path, sent: signal.Signals, in_background: bool
) -> None:
    """Also in the background of a script, where Ctrl-C is ignored."""
    write_echoes(tmp_path, "".join(said(f"s{n}", f"w{n}") for n in range(30)))
    running = subprocess.Popen(
        [
            *(("sh", "-c", "trap '' INT; exec \"$@\"", "sh") if in_background else ()),
            *(sys.executable, "-m", "journeyman", *ALONE, "-j", "1"),
        ],
        cwd=tmp_path,
        env=environment(tmp_path, ECHO_SECONDS="0.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    heard = ""
    while "passed" not in heard:
        heard = running.stderr.readline()
        assert heard, "the run ended before it began"
    running.send_signal(sent)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "journeyman run --resume latest" in err
    assert err.endswith("journeyman: interrupted; what was finished is kept.\n")
    assert "Traceback" not in err
    assert "interrupted" in out
    with Store.open(store_of(tmp_path)) as store:
        (before,) = store.suite_runs()
        finished = len(store.scenario_results(before.id))
        assert before.status == "interrupted"
        assert 0 < finished < 30
    resumed = journeyman(tmp_path, "run", "--resume", "latest")
    assert resumed.returncode == 0, resumed.stderr
    assert f"{finished} of 30 are there" in resumed.stderr
    with Store.open(store_of(tmp_path)) as store:
        (after,) = store.suite_runs()
        assert (after.id, after.status, after.num_passed) == (before.id, "passed", 30)


def test_standard_output_is_data_alone_while_a_sub_agent_prints_to_it(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD)
    done = process(tmp_path, *ALONE, "--json", env={"ECHO_NOISE": "1"})
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["scenario", "scenario", "summary"]
    assert "noise on standard output" in done.stderr
    assert "noise on descriptor 1" in done.stderr


def test_a_rejected_key_stops_the_run_at_once_and_leaves_nothing_finished(tmp_path: Path) -> None:
    write_echoes(tmp_path, "".join(said(f"s{n}", f"w{n}") for n in range(20)))
    with rejecting() as address:
        (tmp_path / "journeyman.toml").write_text(
            f'[frontier]\nmodel = "large"\nbase_url = "{address}"\n'
        )
        done = journeyman(tmp_path, "run", "echoes.yaml", "-j", "2")
    assert done.returncode == 3
    assert "HTTP 401" in done.stdout
    with Store.open(store_of(tmp_path)) as store:
        (run,) = store.suite_runs()
        assert run.status == "error"
        assert store.scenario_results(run.id) == []


def test_a_spent_budget_stops_the_run_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    write_echoes(tmp_path, "".join(said(f"s{n}", f"w{n}") for n in range(12)))
    stopped = journeyman(tmp_path, "run", "echoes.yaml", "-j", "1", "--max-cost", "0.0001")
    assert stopped.returncode == 4
    assert "--max-cost of $0.0001 is spent" in stopped.stdout
    more = journeyman(tmp_path, "run", "--resume", "latest", "--max-cost", "1", "--json")
    summary = json.loads(more.stdout.splitlines()[-1])
    assert more.returncode == 0
    assert summary["scenarios"] == {"total": 12, "passed": 12}


def test_the_first_failure_stops_a_run_that_is_to_fail_fast(tmp_path: Path) -> None:
    bad = said("a", "one", expected="two")
    write_echoes(tmp_path, bad + "".join(said(f"s{n}", f"w{n}") for n in range(30)))
    done = journeyman(tmp_path, *ALONE, "-x", "-j", "1", "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1
    assert summary["n"] < 5


def test_more_errors_than_allowed_stop_a_run(tmp_path: Path) -> None:
    wrong = '  - {{id: e{}, input: "say one", expected: {{wrd: x}}}}\n'
    write_echoes(tmp_path, "".join(wrong.format(n) for n in range(20)))
    done = journeyman(tmp_path, *ALONE, "--max-errors", "10%", "-j", "1", "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 4
    assert summary["n"] == 3


def test_what_ended_in_an_error_runs_again_when_asked_to(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, GOOD)
    agent = tmp_path / "echo_agent.py"
    whole = agent.read_text()
    agent.write_text(whole.replace("return first.word == second.word", "raise KeyError('broken')"))
    first = journeyman(tmp_path, *ALONE)
    assert first.returncode == 3
    agent.write_text(whole)
    assert journeyman(tmp_path, "run", "--resume", "latest").returncode == 3
    again = journeyman(tmp_path, "run", str(path), "--retry-errors", "latest")
    assert again.returncode == 0, again.stdout
    with Store.open(store_of(tmp_path)) as store:
        (run,) = store.suite_runs()
        assert (run.num_passed, run.num_error, run.num_resumed) == (2, 0, 1)


def test_a_run_is_not_resumed_over_settings_that_shape_it_otherwise(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, GOOD)
    journeyman(tmp_path, *ALONE)
    path.write_text(path.read_text().replace("greeting: hi", "greeting: ho"))
    done = journeyman(tmp_path, "run", "--resume", "latest")
    assert done.returncode == 2
    assert "are no longer those of run" in done.stderr


def test_a_scenario_that_changed_runs_again_and_the_others_do_not(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, GOOD)
    journeyman(tmp_path, *ALONE)
    path.write_text(path.read_text().replace('"say two"', '"now say two"'))
    done = journeyman(tmp_path, "run", "--resume", "latest", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["id"] for event in events if event["event"] == "scenario"] == ["b"]
    assert events[-1]["n"] == 2


def test_a_dry_run_lists_and_runs_nothing(tmp_path: Path) -> None:
    write_echoes(tmp_path, said("a", "one", more=", tags: [slow], epochs: 3") + said("b", "two"))
    done = journeyman(tmp_path, *ALONE, "-t", "slow", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "echoes  a  x3  [slow]\n")
    assert not (tmp_path / ".journeyman").exists()


def test_the_projects_own_suites_run_where_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "journeyman.toml").write_text("")
    folder = tmp_path / "scenarios" / "deep"
    folder.mkdir(parents=True)
    write_echoes(folder, GOOD)
    (folder / "parts.yaml").write_text("version: 1\nscenarios: []\n")
    done = journeyman(tmp_path, "run", "--dry-run")
    assert done.stdout == "echoes  a\nechoes  b\n"


def test_without_a_suite_the_message_says_where_it_looked(tmp_path: Path) -> None:
    done = journeyman(tmp_path, "run")
    assert done.returncode == 2
    assert f"no folder {str(tmp_path / 'scenarios')!r}" in done.stderr


def test_a_blessed_baseline_fails_a_run_that_lost_a_scenario(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, GOOD)
    journeyman(tmp_path, *ALONE, "--label", "before", "--report", "json=before.json")
    assert journeyman(tmp_path, "bless", "before").returncode == 0
    same = journeyman(tmp_path, *ALONE, "--baseline", "blessed")
    assert same.returncode == 0, same.stdout
    path.write_text(path.read_text().replace(said("b", "two"), said("c", "two")))
    for base in ("blessed", "before", "before.json"):
        done = journeyman(tmp_path, *ALONE, "--baseline", base)
        assert done.returncode == 1, base
        assert "missing     b" in done.stdout
    narrowed = journeyman(tmp_path, *ALONE, "--baseline", "blessed", "--id", "a")
    assert narrowed.returncode == 0, narrowed.stdout
    compared = journeyman(tmp_path, "compare", "before", "latest", "--fail-on-regression")
    assert compared.returncode == 0  # the latest was asked for `a` alone


def test_a_label_or_latest_never_stands_for_the_run_itself(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD)
    done = journeyman(tmp_path, *ALONE, "--baseline", "latest")
    assert done.returncode == 2
    assert "There is no run of suite 'echoes'" in done.stderr


def test_several_arms_are_compared_and_the_first_decides(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD + said("c", "stumble", expected="right"))
    done = journeyman(
        tmp_path, "run", "echoes.yaml", "--arm", "system", "--arm", "student-only", "--json"
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (compared,) = (event for event in events if event["event"] == "comparison")
    assert done.returncode == 0
    assert compared["overall"]["losses"] == 1
    assert [one["id"] for one in compared["changed"]] == ["c"]
    arms = [event["arm"] for event in events if event["event"] == "summary"]
    assert arms == ["system", "student-only"]


def test_the_frontier_alone_answers_everything(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD)
    done = journeyman(
        tmp_path, "run", "echoes.yaml", "--arm", "frontier-only", "--trust-uncertified", "--json"
    )
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["answered_by"] == {"student": 0, "frontier": 2, "none": 0}
    assert summary["escalations"] == {"forced": 2}


def test_settings_and_keys_of_the_suite_can_be_set_for_one_run(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD)
    done = journeyman(tmp_path, *ALONE, "--set", "defaults.epochs=3", "--json")
    assert json.loads(done.stdout.splitlines()[-1])["n"] == 6
    wrong = journeyman(tmp_path, *ALONE, "--set", "risk.max_eror=0.1")
    assert wrong.returncode == 2
    assert "unknown key 'max_eror'" in wrong.stderr


HOSTILE = "<script>alert(1)</script> ]]> | `x` \\u0000 \\u001b[2J &amp;"


def test_every_report_holds_hostile_text_as_text(tmp_path: Path) -> None:
    write_echoes(
        tmp_path,
        GOOD + f'  - {{id: "x <i>&", input: "say one", expected: {{word: "{HOSTILE}"}}, '
        'xfail: "<b>known</b>"}\n' + said("bad <b>", "one", expected="two"),
    )
    kinds = {"junit": "o.xml", "html": "o.html", "md": "o.md", "json": "o.json"}
    reports = [part for kind, name in kinds.items() for part in ("--report", f"{kind}={name}")]
    done = journeyman(tmp_path, *ALONE, "--label", HOSTILE.replace("\\u0000", ""), *reports)
    assert done.returncode == 1, done.stderr
    suite = ET.parse(tmp_path / "o.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "1")
    assert "bad <b>" in [case.get("name") for case in suite.iter("testcase")]
    page = (tmp_path / "o.html").read_text()
    assert "<script" not in page
    assert "bad &lt;b&gt;" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "bad \\<b\\>" in (tmp_path / "o.md").read_text()
    (run,) = json.loads((tmp_path / "o.json").read_text())["runs"]
    assert {line["id"]: line["outcome"] for line in run["scenarios"]} == {
        "a": "passed",
        "b": "passed",
        "bad <b>": "failed",
        "x <i>&": "xfailed",
    }


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("pdf=x", "is not KIND=FILE"),
        ("json", "is not KIND=FILE"),
        ("json=no/such/x", "cannot be written"),
    ],
)
def test_a_report_that_cannot_be_written_is_told_before_the_run(
    tmp_path: Path, written: str, told: str
) -> None:
    write_echoes(tmp_path, GOOD)
    done = journeyman(tmp_path, *ALONE, "--report", written)
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / ".journeyman").exists()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_without_loss_or_repetition(tmp_path: Path) -> None:
    """Five kills at moments drawn by how much is done; then the report of an unbroken run."""
    scenarios = "".join(
        said(f"s{n}", "stumble" if n % 7 == 0 else f"w{n}", expected=f"w{n}", more=", epochs: 2")
        for n in range(150)
    )
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    for folder in (broken, whole):
        folder.mkdir()
        write_echoes(folder, scenarios)
    unbroken = journeyman(whole, *ALONE, "--report", "json=report.json")
    assert unbroken.returncode == 1
    log = broken / "asked.log"
    log.touch()
    done: set[tuple[str, int]] = set()
    arguments: tuple[str, ...] = (*ALONE, "-j", "4")
    for kill in range(5):
        asked_before = log.read_text().splitlines()
        _kill_after(broken, arguments, log, num_lines=len(asked_before) + 20 + 13 * kill)
        arguments = ("run", "--resume", "latest", "-j", "4")
        before = done
        done = _on_record(broken)
        assert before <= done, "nothing is lost"
        _assert_not_repeated(broken, log, asked_before, before)
    asked_before = log.read_text().splitlines()
    last = process(broken, *arguments, "--report", "json=report.json", env={"ECHO_LOG": str(log)})
    assert last.returncode == 1, last.stderr
    _assert_not_repeated(broken, log, asked_before, done)
    assert _on_record(broken) == {(f"s{n}", epoch) for n in range(150) for epoch in (0, 1)}
    assert _figures(broken / "report.json") == _figures(whole / "report.json")


def _kill_after(folder: Path, arguments: tuple[str, ...], log: Path, *, num_lines: int) -> None:
    """Start the command and kill it once its student was asked so often."""
    running = subprocess.Popen(
        [sys.executable, "-m", "journeyman", *arguments],
        cwd=folder,
        env=environment(folder, ECHO_LOG=str(log), ECHO_SECONDS="0.005"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(log.read_bytes().splitlines()) < num_lines:
        assert running.poll() is None, "the run ended before it was killed"
        threading.Event().wait(0.002)
    running.kill()
    running.wait()


def _on_record(folder: Path) -> set[tuple[str, int]]:
    with Store.open(store_of(folder)) as store:
        (run,) = store.suite_runs()
        return {(row.scenario_id, row.epoch) for row in store.scenario_results(run.id)}


def _assert_not_repeated(
    folder: Path, log: Path, asked_before: list[str], finished: set[tuple[str, int]]
) -> None:
    """Both epochs of a scenario ask the same: one whose epochs were finished is not asked again."""
    asked = set(log.read_text().splitlines()[len(asked_before) :])
    for scenario in load_suite(folder / "echoes.yaml").inline_scenarios():
        if {(scenario.id, 0), (scenario.id, 1)} <= finished and "stumble" not in scenario.text:
            assert scenario.text not in asked


def _figures(path: Path) -> dict[str, Any]:
    """A report without what differs between any two runs: ids and times."""
    (run,) = json.loads(path.read_text())["runs"]
    del run["run"], run["summary"]["latency_ms"]
    for line in run["scenarios"]:
        del line["duration_ms"]
    found: dict[str, Any] = run
    return found


def test_a_time_out_of_the_sub_agents_own_is_not_taken_for_the_scenarios(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD)
    agent = tmp_path / "echo_agent.py"
    raising = "raise TimeoutError('the tool gave up')"
    agent.write_text(agent.read_text().replace("return first.word == second.word", raising))
    done = journeyman(tmp_path, *ALONE)
    assert done.returncode == 3
    assert "TimeoutError: the tool gave up" in done.stdout
    assert "no result within" not in done.stdout


UNPRICED = '[frontier]\nmodel = "large"\nbase_url = "http://127.0.0.1:1/v1"\n'


def test_a_cost_is_not_limited_where_the_price_is_unknown(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD)
    (tmp_path / "journeyman.toml").write_text(UNPRICED)
    refused = journeyman(tmp_path, "run", "echoes.yaml", "--max-cost", "1")
    assert refused.returncode == 2
    assert "The price of 'large' is not known" in refused.stderr
    assert not (tmp_path / ".journeyman").exists()
    for arguments in (("--arm", "student-only"), ("--set", "budget.allow_unpriced=true")):
        done = journeyman(
            tmp_path, "run", "echoes.yaml", "--max-cost", "1", *arguments, "--dry-run"
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "given", [("--timeout", "1"), ("--configured",), ("--error-rate", "0.5"), ("--seed", "3")]
)
def test_a_resumed_run_refuses_what_would_not_hold_of_it(
    tmp_path: Path, given: tuple[str, ...]
) -> None:
    write_echoes(tmp_path, GOOD)
    journeyman(tmp_path, *ALONE)
    done = journeyman(tmp_path, "run", "--resume", "latest", *given)
    assert done.returncode == 2
    assert "A resumed run keeps what it was started with" in done.stderr


def test_two_suites_of_one_name_are_refused_together(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, GOOD)
    (tmp_path / "again.yaml").write_text(path.read_text())
    done = journeyman(tmp_path, "run", ".", "--arm", "student-only")
    assert done.returncode == 2
    assert "are both named 'echoes'" in done.stderr


def test_a_figure_that_no_run_has_is_told_before_the_run(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD)
    alone = journeyman(tmp_path, *ALONE, "--tolerance", "pass_rate=0.1")
    assert alone.returncode == 2
    assert "give --baseline, too" in alone.stderr
    journeyman(tmp_path, *ALONE, "--label", "before")
    wrong = journeyman(tmp_path, *ALONE, "--baseline", "before", "--tolerance", "pas_rate=0.1")
    assert wrong.returncode == 2
    assert "unknown figure 'pas_rate'" in wrong.stderr
    with Store.open(store_of(tmp_path)) as store:
        assert len(store.suite_runs()) == 1


def test_a_run_that_was_killed_after_its_last_result_is_ended_when_resumed(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD)
    journeyman(tmp_path, *ALONE)
    with Store.open(store_of(tmp_path)) as store:
        (run,) = store.suite_runs()
        store.write([replace(run, status="running", ended_at=None, num_passed=0)])
    assert journeyman(tmp_path, "bless", "latest").returncode == 2
    assert journeyman(tmp_path, "run", "--resume", "latest").returncode == 0
    assert journeyman(tmp_path, "bless", "latest").returncode == 0
    with Store.open(store_of(tmp_path)) as store:
        (run,) = store.suite_runs()
        assert (run.status, run.num_passed) == ("passed", 2)
        assert run.ended_at is not None


def test_a_dry_run_of_what_is_left_lists_what_is_left(tmp_path: Path) -> None:
    path = write_echoes(tmp_path, GOOD)
    journeyman(tmp_path, *ALONE)
    path.write_text(path.read_text() + said("c", "three"))
    done = journeyman(tmp_path, "run", "--resume", "latest", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "echoes  c\n")


def test_a_report_for_ci_tells_a_run_without_a_verdict(tmp_path: Path) -> None:
    """Whoever reads the file alone must not take a run that was stopped for one that passed."""
    write_echoes(tmp_path, GOOD)
    done = journeyman(tmp_path, *ALONE, "--max-time", "0", "--report", "junit=out.xml")
    assert done.returncode == 4
    (case,) = ET.parse(tmp_path / "out.xml").getroot().iter("testcase")
    (error,) = case
    assert (case.get("name"), error.tag, error.get("type")) == ("run", "error", "stopped")
    assert "--max-time" in str(error.get("message"))


def test_a_bug_of_ours_is_no_failure_of_a_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("journeyman.cli.running.run_suites", broken)
    done = journeyman(tmp_path, "run")
    assert done.returncode == 3
    assert "RuntimeError: a bug" in done.stderr


def test_a_resumed_run_is_judged_by_the_suite_as_it_is_now(tmp_path: Path) -> None:
    scenarios = said("a", "one", expected="two") + said("b", "two", more=", skip: later")
    path = write_echoes(tmp_path, scenarios)
    assert journeyman(tmp_path, *ALONE).returncode == 1
    known = said("a", "one", expected="two", more=", xfail: known") + said("b", "two")
    path.write_text(path.read_text().replace(scenarios, known))
    done = journeyman(tmp_path, "run", "--resume", "latest", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [event["id"] for event in events if event["event"] == "scenario"] == ["b"]
    assert events[-1]["scenarios"] == {"total": 2, "passed": 1, "xfailed": 1}


def test_what_is_set_must_fit_the_suite(tmp_path: Path) -> None:
    write_echoes(tmp_path, GOOD)
    done = journeyman(tmp_path, *ALONE, "--set", "metric=slot_f1")
    assert done.returncode == 2
    assert "With what --set changes" in done.stderr
