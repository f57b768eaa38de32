"""A run does not fail because the store's server is away, and nothing is trusted on credit."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from journeyman.models.types import Reason
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.graph.orchestrating import POLL_SECONDS, orchestrating
from tests.graph.released import promoted
from tests.postgres_server import PostgresServer


async def test_runs_go_on_without_trust_or_spending_and_are_recorded_later(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with Store.open(postgres_url) as store:
        release = promoted(Registry(store, data), "low")
    async with orchestrating(postgres_url, data, 1.0) as ask:
        before = await ask("down")
        assert before["reason"] == Reason.AUDIT
        postgres_server.stop()
        try:
            await asyncio.sleep(2 * POLL_SECONDS)
            start = time.monotonic()
            away = await ask("down")
            assert time.monotonic() - start < 10
        finally:
            postgres_server.start()
        # The student's own answer, marked as one that nobody vouches for.
        assert away["value"] == {"severity": "low"}
        assert (away["source"], away["reason"]) == ("student", Reason.UNCERTIFIED)
        await asyncio.sleep(2 * POLL_SECONDS)
        back = await ask("down")
        assert (back["reason"], back["release"]) == (Reason.AUDIT, release.id)
    with Store.open(postgres_url) as store:
        assert {run.id for run in store.runs()} == {each["run_id"] for each in (before, away, back)}
        (escalation,) = store.run(away["run_id"]).escalations
        assert "does not answer" in (escalation.error or "")
