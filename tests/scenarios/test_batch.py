"""A batch: every row comes out once, as an answer or with an error, however often it is cut off."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from journeyman.graph.gate import Trust
from journeyman.graph.settings import Settings
from journeyman.graph.standing import Audit, Standing
from journeyman.models.errors import (
    BudgetExceeded,
    ConfigError,
    KeyRejected,
    ModelUnavailable,
    StoreUnreachable,
)
from journeyman.models.types import FrontierReply, FrontierRequest
from journeyman.scenarios import batch, batch_engines, batch_journal
from journeyman.scenarios.batch import BatchOptions, BatchReport, run_batch
from journeyman.scenarios.batch_agent import AgentSource
from journeyman.traces.store import Store
from tests.cli.inside import environment
from tests.scenarios.bills import Bills, Teller
from tests.stores import store_at

pytestmark = pytest.mark.usefixtures("any_store")

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


class Even:
    """Trust in every answer but of tasks with odd numbers at the end; a tenth is audited."""

    threshold: float | None = 0.5

    def __init__(self, agent: Bills, audit_rate: float = 0.1) -> None:
        self._audit_rate = audit_rate
        self.audits: list[Audit] = []

    def confidence(self, evidence: Any) -> float:
        return 1.0

    async def standing(self, agent: Any, release: str) -> Standing:
        trust: Trust = self
        return Standing(agent, release, trust, audit_rate=self._audit_rate)

    async def bound(self, agent: Any, release: str) -> Any:
        return agent

    async def audited(self, audit: Audit) -> None:
        self.audits.append(audit)


def write(path: Path, texts: Sequence[str], **more: Any) -> Path:
    lines = [json.dumps({"text": text, **more}) + "\n" for text in texts]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def run(
    source: Path,
    target: Path,
    options: BatchOptions | None = None,
    *,
    frontier: Any = None,
    trust: Any = None,
    agent: Any = None,
    on_progress: Any = None,
) -> BatchReport:
    options = options or BatchOptions()
    if frontier is None and options.ask_frontier:
        frontier = Teller()
    return asyncio.run(
        run_batch(
            source,
            target,
            agent or Bills(),
            Settings(),
            options=options,
            store=store_at(source.parent / "traces.db"),
            frontier=frontier,
            trust=trust,
            on_progress=on_progress,
        )
    )


def texts(number: int) -> list[str]:
    rng = random.Random(7)
    return [
        f"pay {'unsure ' if rng.random() < 0.1 else ''}{'gibberish ' if i % 97 == 0 else ''}{i}"
        for i in range(number)
    ]


def test_every_row_comes_out_in_order_with_its_source_and_reason(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ["pay 1", "pay unsure 2", "pay 3"])
    report = run(source, tmp_path / "out.jsonl", trust=Even(Bills(), 0.0))
    assert report.stop is None
    rows = read(tmp_path / "out.jsonl")
    assert [(row["key"], row["value"], row["source"], row["reason"]) for row in rows] == [
        (1, {"amount": "1"}, "student", None),
        (2, {"amount": "F2"}, "frontier", "invalid_output"),
        (3, {"amount": "3"}, "student", None),
    ]
    assert [row["cost_microusd"] for row in rows] == [0, 10, 0]
    assert [row["certified"] for row in rows] == [True, False, True]
    assert all(row["release"].startswith("bills@") for row in rows)
    assert not list(tmp_path.glob("out.jsonl.*"))


def test_without_a_certificate_every_row_goes_to_the_frontier(tmp_path: Path) -> None:
    run(write(tmp_path / "in.jsonl", texts(20)), tmp_path / "out.jsonl")
    assert {row["reason"] for row in read(tmp_path / "out.jsonl")} == {"uncertified"}


def test_what_is_wrong_with_a_row_is_in_its_row(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = [
        b'{"text": "pay 1"}',
        b'{"text": ',
        b"[1]",
        b"",
        b'{"txt": "pay 5"}',
        b'{"text": "crash 6"}',
        b'{"text": "pause 7"}',
        b'{"text": "gibberish 8"}',
        b'{"text": "\xff"}',
        b'{"text": "pay \\ud800 10"}',
    ]
    source.write_bytes(b"\n".join(lines))
    report = run(source, tmp_path / "out.jsonl")
    rows = {row["key"]: row for row in read(tmp_path / "out.jsonl")}
    assert list(rows) == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert {key: row["error"] is None for key, row in rows.items()} == {
        **dict.fromkeys([1, 6, 7, 10], True),
        **dict.fromkeys([2, 3, 5, 8, 9], False),
    }
    assert "Line 2 is no JSON" in rows[2]["error"]
    assert "not a Bill" in rows[5]["error"]
    for broken in (6, 7):  # the second waits for a person, and in a batch there is none
        assert (rows[broken]["reason"], rows[broken]["source"]) == ("student_error", "frontier")
    assert "nonsense" in rows[8]["error"]
    assert report.tally.num_errors == 5


def test_without_a_frontier_rows_are_left_open_with_their_reason(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ["pay 1", "crash 2"])
    report = run(source, tmp_path / "out.jsonl", BatchOptions(ask_frontier=False))
    first, second = read(tmp_path / "out.jsonl")
    assert (first["source"], first["reason"], first["error"]) == ("none", "uncertified", None)
    assert (second["reason"], second["error"]) == (
        "student_error",
        "RuntimeError: the student crashed",
    )
    assert (report.tally.num_open, report.tally.num_errors) == (1, 1)
    with Store.open(store_at(tmp_path / "traces.db")) as store:
        assert {one.status for one in store.escalations()} == {"queued"}


def test_keys_and_text_come_from_columns(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "a", "body": "pay 1", "x": 2}\n{"body": "pay 2"}\n{"id": "c"}\n')
    run(source, tmp_path / "out.jsonl", BatchOptions(key="id", text="body"))
    rows = read(tmp_path / "out.jsonl")
    assert [row["key"] for row in rows] == ["a", None, "c"]
    assert rows[0]["value"] == {"amount": "F1"}
    assert "no key 'id'" in rows[1]["error"]
    assert "no text in 'body'" in rows[2]["error"]


def test_parquet_goes_in_and_out(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["pay 1", "gibberish 2"]})
    pq.write_table(table, tmp_path / "in.parquet")
    run(tmp_path / "in.parquet", tmp_path / "out.parquet", BatchOptions(key="id"))
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["key"] for row in rows] == ["a", "b"]
    assert json.loads(rows[0]["value"]) == {"amount": "F1"}
    assert rows[1]["value"] is None
    assert "nonsense" in rows[1]["error"]


def test_half_a_surrogate_pair_in_a_key_is_written_as_its_escape(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "a\\ud800", "text": "pay 1"}\n')
    run(source, tmp_path / "out.parquet", BatchOptions(key="id"))
    assert pq.read_table(tmp_path / "out.parquet")["key"].to_pylist() == ["a\\ud800"]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_broken_off_anywhere_the_output_is_the_same(tmp_path: Path, ending: str) -> None:
    source = write(tmp_path / "in.jsonl", texts(400))
    whole, cut = tmp_path / f"whole.{ending}", tmp_path / f"cut.{ending}"
    agent = Bills()
    run(source, whole, trust=Even(agent))

    beginnings = 0
    for most in (60, 150, 330, None):

        def stop(tally: Any, _: int, most: int | None = most) -> None:
            if most is not None and tally.num_rows > most:
                raise OSError("the disk is full")

        beginnings += 1
        try:
            run(source, cut, trust=Even(agent), on_progress=stop)
        except OSError:
            with Path(f"{cut}.part").open("ab") as part:
                part.write(b'{"row": 3, "key"')  # a line that a kill left unfinished
            assert not cut.exists()
        else:
            break
    assert beginnings > 2
    assert cut.read_bytes() == whole.read_bytes()


def test_a_full_disk_is_said_in_one_sentence_with_what_to_do(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", texts(50)), tmp_path / "out.jsonl"
    part = Path(f"{out}.part")
    part.symlink_to("/dev/full")
    with pytest.raises(ConfigError, match=r"No space left on device.*run the same command again"):
        run(source, out, trust=Even(Bills()))
    part.unlink()
    assert run(source, out, trust=Even(Bills())).tally.num_rows == 50


class Late(Teller):
    """A frontier that takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        await asyncio.sleep(self._seconds)
        return await super().complete(request, run_id=run_id)


def test_a_row_that_is_slow_over_two_interruptions_is_not_taken_for_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows left beside a slow one lie beyond its window, and have to wait for it."""
    for module in (batch, batch_journal):
        monkeypatch.setattr(module, "WINDOW", 8)
    monkeypatch.setattr(batch_engines, "CHUNK", 4)
    source = write(tmp_path / "in.jsonl", [f"pay {'unsure ' * (i == 0)}{i}" for i in range(40)])
    out = tmp_path / "out.jsonl"
    for seconds, most in ((60.0, 7), (0.5, 8)):

        def stop(tally: Any, _: int, most: int = most) -> None:
            if tally.num_rows >= most:
                raise OSError("the disk is full")

        with pytest.raises(OSError, match="full"):
            run(source, out, frontier=Late(seconds), trust=Even(Bills(), 0.0), on_progress=stop)
    report = run(source, out, trust=Even(Bills(), 0.0))
    assert report.num_resumed >= 8
    assert [row["key"] for row in read(out)] == list(range(1, 41))


def test_an_input_that_changes_on_the_way_gives_no_output(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", texts(20))

    class Meddling(Even):
        async def standing(self, agent: Any, release: str) -> Standing:
            write(source, texts(30))
            return await super().standing(agent, release)

    # A first chunk of its own, so that the rest is read after the change.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batch_engines, "CHUNK", 4)
        with pytest.raises(ConfigError, match="20 rows, and 30 were read"):
            run(source, tmp_path / "out.jsonl", trust=Meddling(Bills()))
    assert not (tmp_path / "out.jsonl").exists()


def test_audits_are_drawn_alike_however_often_a_job_begins(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [f"pay {i}" for i in range(300)])
    for name in ("one", "two"):
        run(source, tmp_path / f"{name}.jsonl", trust=Even(Bills()))
    rows = read(tmp_path / "one.jsonl")
    assert 5 < sum(row["reason"] == "audit" for row in rows) < 80
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


def test_rows_of_another_job_are_not_mixed(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", texts(50))
    run(source, tmp_path / "out.jsonl", BatchOptions(max_errors=0))
    assert not (tmp_path / "out.jsonl").exists()
    with pytest.raises(ConfigError, match=r"another job \(it differs in text\)"):
        run(source, tmp_path / "out.jsonl", BatchOptions(text="text"))
    write(source, texts(51))
    with pytest.raises(ConfigError, match=r"another job \(it differs in input\)"):
        run(source, tmp_path / "out.jsonl")
    run(source, tmp_path / "out.jsonl", BatchOptions(restart=True))
    assert len(read(tmp_path / "out.jsonl")) == 51


def test_a_finished_output_is_not_written_over(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ["pay 1"])
    run(source, tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match="is there already"):
        run(source, tmp_path / "out.jsonl")


def test_more_errors_than_allowed_stop_the_job(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [f"gibberish {i}" for i in range(600)])
    report = run(source, tmp_path / "out.jsonl", BatchOptions(max_errors=5))
    assert report.stop is not None
    assert report.stop.kind == "errors"
    assert 5 < report.tally.num_errors < 60
    assert not (tmp_path / "out.jsonl").exists()


def test_the_days_cap_stops_the_job_and_the_next_day_goes_on(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [f"pay {i}" for i in range(60)])
    left = [25]

    def refuse(_: str) -> Exception | None:
        left[0] -= 1
        return BudgetExceeded("The day's cap is reached.") if left[0] < 0 else None

    first = run(source, tmp_path / "out.jsonl", frontier=Teller(fail=refuse))
    assert first.stop is not None
    assert (first.stop.kind, first.tally.num_rows) == ("cost", 25)
    second = Teller()
    report = run(source, tmp_path / "out.jsonl", frontier=second)
    assert (report.stop, report.num_resumed, len(second.asked)) == (None, 25, 35)
    assert [row["error"] for row in read(tmp_path / "out.jsonl")] == [None] * 60
    with Store.open(store_at(tmp_path / "traces.db")) as store:
        assert len(list(store.escalations())) == 60  # a row that was refused left no trace


def test_a_rejected_key_stops_the_job_and_spoils_no_row(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", texts(30))
    frontier = Teller(fail=lambda _: KeyRejected("The key is rejected."))
    report = run(source, tmp_path / "out.jsonl", frontier=frontier)
    assert report.stop is not None
    assert (report.stop.kind, report.tally.num_rows) == ("key", 0)


def test_a_store_that_cannot_count_the_cost_stops_the_job_and_spoils_no_row(
    tmp_path: Path,
) -> None:
    source = write(tmp_path / "in.jsonl", texts(30))
    frontier = Teller(fail=lambda _: StoreUnreachable("The store does not answer."))
    report = run(source, tmp_path / "out.jsonl", frontier=frontier)
    assert report.stop is not None
    assert (report.stop.kind, report.tally.num_rows) == ("failure", 0)
    assert run(source, tmp_path / "out.jsonl").stop is None


def test_a_cost_without_a_price_stops_a_job_with_a_cap(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", texts(5))
    report = run(source, tmp_path / "out.jsonl", BatchOptions(max_cost_usd=1.0))
    assert report.stop is not None
    assert "price" in report.stop.reason


def test_a_failing_frontier_leaves_its_rows_with_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ["pay 1", "pay 2"])
    frontier = Teller(fail=lambda text: ModelUnavailable("It is away.") if "1" in text else None)
    kept = BatchOptions(on_frontier_failure="return_uncertified")
    run(source, tmp_path / "out.jsonl", kept, frontier=frontier)
    first, second = read(tmp_path / "out.jsonl")
    assert (first["value"], first["source"], first["error"]) == (
        {"amount": "1"},
        "student",
        "It is away.",
    )
    assert second["error"] is None


def test_escalations_go_to_the_frontier_together(tmp_path: Path) -> None:
    frontier = Teller()
    run(write(tmp_path / "in.jsonl", texts(200)), tmp_path / "out.jsonl", frontier=frontier)
    assert frontier.at_once >= 8


@pytest.mark.parametrize(("trace", "num"), [("all", 5), ("escalations", 2), ("none", 0)])
def test_rows_on_record_are_those_asked_for(tmp_path: Path, trace: Any, num: int) -> None:
    source = write(tmp_path / "in.jsonl", ["pay 1", "unsure 2", "pay 3", "unsure 4", "pay 5"])
    options = BatchOptions(trace=trace)
    run(source, tmp_path / "out.jsonl", options, trust=Even(Bills(), 0.0))
    with Store.open(store_at(tmp_path / "traces.db")) as store:
        runs = list(store.runs(limit=None))
        assert len(runs) == num
        assert all(one.status == "ok" and "batch" in one.tags for one in runs)


def test_unordered_rows_come_as_they_were_finished(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ["unsure 1", "pay 2"])
    run(source, tmp_path / "out.jsonl", BatchOptions(unordered=True), trust=Even(Bills(), 0.0))
    assert [row["key"] for row in read(tmp_path / "out.jsonl")] == [2, 1]


def test_details_add_latency_and_run(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ["pay 1"])
    run(source, tmp_path / "out.jsonl", BatchOptions(details=True))
    (row,) = read(tmp_path / "out.jsonl")
    assert row["latency_ms"] > 0
    with Store.open(store_at(tmp_path / "traces.db")) as store:
        assert store.run(row["run_id"]).run.status == "ok"


def test_an_agent_is_named_by_its_file_or_refused_in_one_sentence(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ["pay 1"])
    run(source, tmp_path / "out.jsonl", agent=AgentSource("bills.py:Bills", folder=HERE))
    assert read(tmp_path / "out.jsonl")[0]["value"] == {"amount": "F1"}
    with pytest.raises(ConfigError, match="gives no Agent but None"):
        run(source, tmp_path / "o.jsonl", agent=AgentSource("bills.py:Nobody", folder=HERE))


@pytest.mark.parametrize("name", ["in.csv", "in"])
def test_a_format_that_is_not_known_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"name it \.jsonl or \.parquet"):
        run(write(tmp_path / name, ["pay 1"]), tmp_path / "out.jsonl")


def journeyman(folder: Path, *arguments: str, **given: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "journeyman", "batch", "in.jsonl", *arguments],
        cwd=folder,
        env=environment(folder, PYTHONPATH=str(ROOT), **given),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


AGENT = ("--agent", f"{HERE / 'bills.py'}:Bills", "--no-frontier", "--trust-uncertified")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_on_the_way_the_same_command_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    write(tmp_path / "in.jsonl", [f"pay {i}" for i in range(3000)])
    code, _, _ = finished(journeyman(tmp_path, "whole.jsonl", *AGENT))
    assert code == 0
    process = journeyman(tmp_path, "out.jsonl", *AGENT, BILLS_SECONDS="0.03")
    part = tmp_path / "out.jsonl.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    code, _, told = finished(process)
    assert code == (130 if how is signal.SIGINT else -9), told
    assert 0 < len(part.read_bytes().splitlines()) < 3000
    code, out, _ = finished(journeyman(tmp_path, "out.jsonl", *AGENT, "--json"))
    summary = json.loads(out)
    assert code == 0
    assert summary["resumed"] > 0
    assert summary["finished"] == 3000
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.slow
def test_exit_codes_tell_errors_and_limits(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", ["pay 1", "crash 2"])
    code, out, _ = finished(journeyman(tmp_path, "out.jsonl", *AGENT))
    assert code == 3
    assert "1 with an error" in out
    code, _, told = finished(journeyman(tmp_path, "o.jsonl", *AGENT, "--max-errors", "0"))
    assert code == 4
    assert "the same command goes on" in told.lower()
    code, _, told = finished(journeyman(tmp_path, "out.jsonl", *AGENT))
    assert code == 2
    assert told.startswith("journeyman: 'out.jsonl' is there already")
