"""A small project with something on record, in which the commands that documents show can run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import text

from journeyman.cli.init import starter
from journeyman.models.reference_frontier import Reference
from journeyman.scenarios.suites.desk.schema import BugReport
from journeyman.traces.store import Store
from tests.cli.inside import journeyman, store_of
from tests.scenarios.requests_suite import write_requests
from tests.stores import copy_store

QUESTION = "why is my list shared between calls?"
BROKEN = (
    "def total(prices):\n    result = 0\n    for price in prices:\n        result -= price\n"
    "    return result\n"
)
MAIL = "Invoice A-17 of Acme Ltd: please pay 42.50 EUR by the end of May."
REPORT = "Parsing fails on Python 3.11: KeyError in loader.py line 88 since pandas 2.1.0."
OUTAGE = "Everything is down: connection refused."
CRASH = "The app crashes with KeyError: 'total'."
_AGENT = """
from pydantic import BaseModel

from journeyman import Extraction
from journeyman.models.students.tagger import Tagger


class Invoice(BaseModel):
    number: str
    total: float | None = None
    currency: str | None = None


def invoices():
    return Extraction(Invoice, Tagger(labels=("number", "total", "currency")))
"""

# What the stand-in for a frontier answers, by a text that the question contains.
REFERENCES = (
    Reference({"severity": "high"}, prompt="The shop is down since this morning"),
    Reference({"severity": "high"}, prompt="The app crashes whenever"),
    Reference({"severity": "low"}, prompt="Could the buttons be green"),
    Reference({"severity": "low"}, prompt="Please send the invoice for May"),
    Reference({"ranking": ["default-mutable-argument"], "rewrite": None}, prompt=QUESTION),
    Reference({"code": BROKEN.replace("-=", "+=")}, prompt="def total(prices)"),
    Reference({"number": "A-17", "total": "42.50", "currency": "EUR"}, prompt=MAIL),
    Reference(dict.fromkeys(BugReport.model_fields) | {"exception": "KeyError"}, prompt=REPORT),
    Reference({"severity": "high"}, prompt=OUTAGE),
    Reference({"severity": "high"}, prompt=CRASH),
)


def prepare(folder: Path) -> None:
    """Make the project: two starters, a router that went through a round, files to work on.

    The runs are answered by the reference frontier of the suites; `with_frontier` names another.
    """
    _done(folder, "init")
    for name, content in starter("extract").items():
        if name.startswith("scenarios/"):
            (folder / name).write_text(content, encoding="utf-8")
    _write_inputs(folder)
    with (folder / "scenarios/triage.yaml").open("a", encoding="utf-8") as file:
        for name, text in (("refused", OUTAGE), ("key", CRASH)):
            said = f"id: {name}, input: {json.dumps(text)}"
            file.write(f"  - {{{said}, expected: {{severity: high}}}}\n")
    write_requests(folder, num_stream=120)
    _done(folder, "run", "requests.yaml", "--part", "stream", "--arm", "system")
    _done(folder, "round", "routing", "--suite", "requests.yaml", "--max-error", "0.2")
    triage = ("run", "scenarios/triage.yaml", "--arm", "system")
    _done(folder, *triage, "--label", "before", "--report", "json=main.json")
    _done(folder, "bless", "latest")
    _done(folder, *triage, "--label", "after")


def _done(folder: Path, *arguments: str) -> None:
    done = journeyman(folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def _write_inputs(folder: Path) -> None:
    """The files that the documents name."""
    python = folder / ".venv-vllm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")  # passes for one that has vLLM
    python.chmod(0o755)
    for name, content in (
        ("f.py", BROKEN),
        ("t.py", "assert total([1, 2]) == 3\nassert total([]) == 0\n"),
        ("my_agents.py", _AGENT),
        ("mails.jsonl", json.dumps({"id": "m1", "body": MAIL}) + "\n"),
        ("in.jsonl", json.dumps({"body": REPORT}) + "\n"),
        ("answer.json", json.dumps({"severity": "low"})),
    ):
        (folder / name).write_text(content, encoding="utf-8")
    pq.write_table(pa.table({"text": [MAIL]}), folder / "mails.parquet")


def with_frontier(prepared: Path, folder: Path, base_url: str) -> None:
    """Copy the project to a folder of its own and name the frontier there."""
    shutil.copytree(
        prepared, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("traces.db*")
    )
    store = Path(".journeyman/traces.db")
    copy_store(prepared / store, folder / store)
    with (folder / "journeyman.toml").open("a", encoding="utf-8") as file:
        file.write(
            f'\n[frontier]\nmodel = "reference"\nbase_url = "{base_url}"\n'
            '\n[serve]\nbase = "SmolLM2-135M-Instruct"\n'
        )


def facts(folder: Path) -> dict[str, str]:
    """Ids on record there, for the placeholders that documents show."""
    asked = {
        "run": "SELECT min(id) FROM runs",
        "other_run": "SELECT max(id) FROM runs",
        "round": "SELECT id FROM rounds",
        "release": "SELECT min(release) FROM attempts WHERE agent = 'routing'",
        "active": "SELECT id FROM releases WHERE status = 'active'",
        "escalation": "SELECT min(id) FROM escalations WHERE agent = 'triage'",
    }
    with Store.open(store_of(folder), read_only=True) as store:
        return store.read(lambda c: {name: str(c.scalar(text(sql))) for name, sql in asked.items()})
