"""What the tests run in other processes: `python program.py COMMAND ARGUMENT...`."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

from journeyman.traces.ledger import StoreLedger
from journeyman.traces.recorder import Recorder
from journeyman.traces.records import (
    AttemptRecord,
    RunRecord,
    SpanRecord,
    new_id,
    new_span_id,
    new_trace_id,
    now,
)
from journeyman.traces.store import Store


def record_run(recorder: Recorder, number: int) -> str:
    run_id = new_trace_id()
    payload = {"text": f"task {number} of process {os.getpid()}"}
    start = RunRecord(id=run_id, graph="g", status="running", started_at=now(), input=payload)
    recorder.record(start)
    recorder.record(
        SpanRecord(
            id=new_span_id(), run_id=run_id, name="s", kind="LLM", started_at=now(), duration_ms=1
        ),
        AttemptRecord(
            id=new_id(),
            run_id=run_id,
            task_id="t",
            task_key=f"k{number}",
            agent="extraction",
            release="extraction@0",
            input=payload,
            output={"n": number},
            decision="accept",
            source="student",
        ),
    )
    recorder.record(
        RunRecord(
            id=run_id, graph="g", status="ok", started_at=start.started_at, ended_at=now(), output=1
        )
    )
    return run_id


async def record_until_killed(path: str, pipe: int) -> None:
    """Tell the id of each run once it is promised to be on disk; never ends by itself."""
    recorder = Recorder(Store.open(path))
    for number in itertools.count():
        run_id = record_run(recorder, number)
        if await recorder.committed(run_id):
            os.write(pipe, run_id.encode() + b"\n")


def crash(path: str, kills: str) -> None:
    """Kill process after process while it records; say which runs each had been promised.

    The processes are forked before any store is open, only to spare them the imports.
    """
    pause = random.Random(7)
    for _ in range(int(kills)):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            asyncio.run(record_until_killed(path, writing))
        os.close(writing)
        with os.fdopen(reading) as promised:
            first = promised.readline()
            time.sleep(pause.random() * 0.08)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            # One write of so few bytes is whole or missing.
            say(first + promised.read() + "killed")


def say(text: object) -> None:
    """Tell the test."""
    print(text, flush=True)  # noqa: T201  # the test reads it


async def record(path: str, runs: str) -> None:
    with Store.open(path) as store, Recorder(store) as recorder:
        for number in range(int(runs)):
            run_id = record_run(recorder, number)
            if number % 10 == 0:
                say(await recorder.committed(run_id))


def record_without_closing(path: str) -> None:
    """Leave without a word; what was recorded must still reach the file."""
    say(record_run(Recorder(Store.open(path)), 1))


async def serve_until_killed(path: str, cap: int) -> None:
    """Reserve, record, settle and tell, on several days at once; never ends by itself."""
    store = Store.open(path)
    recorder, ledger = Recorder(store), StoreLedger(store)
    choose = random.Random(os.getpid())
    for number in itertools.count():
        day = f"2026-01-0{choose.randint(1, 3)}"
        amount = choose.randint(1, 9)
        may_spend = ledger.reserve(amount, day=day, cap_microusd=cap)
        run_id = record_run(recorder, number)
        spent = 0
        if may_spend:
            ledger.settle(amount, amount, day=day)
            spent = amount
        if await recorder.committed(run_id):
            # One write of so few bytes is whole or missing, whoever else writes.
            os.write(1, f"run {run_id} {day} {spent}\n".encode())


def storm(path: str, processes: str, seconds: str, cap: str) -> None:
    """Keep so many processes writing, killing and replacing one of them every second.

    They are forked while no store is open, only to spare them the imports.
    """
    Store.open(path).close()

    def start() -> int:
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(serve_until_killed(path, int(cap)))
            except Exception as error:  # noqa: BLE001  # the test reads it
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        return child

    choose = random.Random(7)
    children = [start() for _ in range(int(processes))]
    for _ in range(int(seconds)):
        time.sleep(1)
        place = choose.randrange(len(children))
        os.kill(children[place], signal.SIGKILL)
        os.waitpid(children[place], 0)
        os.write(1, b"killed\n")
        children[place] = start()
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def open_at(path: str, start: str) -> None:
    time.sleep(max(0.0, float(start) - time.time()))
    Store.open(path).close()


def reserve(path: str, tries: str, amount: str, cap: str) -> None:
    """Reserve and settle as often as the cap allows; print how much was granted."""
    with Store.open(path) as store:
        ledger = StoreLedger(store)
        granted = 0
        for _ in range(int(tries)):
            if ledger.reserve(int(amount), day="2026-01-01", cap_microusd=int(cap)):
                granted += int(amount)
                ledger.settle(int(amount), int(amount), day="2026-01-01")
        say(granted)


def fork_after_opening(path: str) -> None:
    """Record in a forked child; print what the child saw."""
    store = Store.open(path)
    recorder = Recorder(store)
    recorder.wait(record_run(recorder, 0))
    child = os.fork()
    if child == 0:
        run_id = record_run(recorder, 1)
        say(f"{recorder.wait(run_id, 5)} {recorder.trouble}")
        os._exit(0)
    os.waitpid(child, 0)
    say(recorder.wait(record_run(recorder, 2)))
    recorder.close()


def main(command: str, *arguments: str) -> None:
    match command:
        case "record":
            asyncio.run(record(*arguments))
        case "crash":
            crash(*arguments)
        case "storm":
            storm(*arguments)
        case "record-without-closing":
            record_without_closing(*arguments)
        case "open":
            open_at(*arguments)
        case "reserve":
            reserve(*arguments)
        case "fork":
            fork_after_opening(*arguments)
        case _:
            sys.exit(f"Unknown command {command!r} for {Path(__file__).name}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
