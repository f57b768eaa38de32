"""Two orchestrators in two processes share releases, trust and the day's budget."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from journeyman.models.types import Reason
from journeyman.traces.ledger import StoreLedger
from journeyman.traces.records import now
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.graph.orchestrating import COST_MICROUSD, POLL_SECONDS, orchestrating
from tests.graph.released import promoted

ROOT = Path(__file__).parents[2]


class Second:
    """The other process."""

    def __init__(self, target: Path | str, data: Path, cap_usd: float) -> None:
        arguments = [str(target), str(data), str(cap_usd)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.graph.orchestrating", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    async def ask(self, text: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(await asyncio.to_thread(self.process.stdout.readline))
        return answer

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.communicate(timeout=30)


@pytest.fixture
def second(target: Path | str, tmp_path: Path) -> Iterator[Callable[[float], Second]]:
    started: list[Second] = []

    def start(cap_usd: float) -> Second:
        started.append(Second(target, tmp_path / "data", cap_usd))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.slow
async def test_a_promotion_is_followed_and_an_alarm_ends_trust_in_the_other(
    store: Store, target: Path | str, tmp_path: Path, second: Callable[[float], Second]
) -> None:
    registry = Registry(store, tmp_path / "data")
    other = second(1.0)
    async with orchestrating(target, tmp_path / "data", 1.0) as ask:
        for answer in (await ask("down"), await other.ask("down")):
            assert (answer["source"], answer["reason"]) == ("frontier", Reason.UNCERTIFIED)

        release = promoted(registry, "high")
        await asyncio.sleep(2 * POLL_SECONDS)
        for answer in (await ask("down"), await other.ask("down")):
            assert (answer["release"], answer["reason"]) == (release.id, Reason.AUDIT)

        # The frontier disagrees with every audited answer, whichever process gave it.
        reasons = []
        while not registry.get(release.id).is_suspended and len(reasons) < 30:
            reasons.append((await other.ask(f"down {len(reasons)}"))["reason"])
        assert Reason.UNCERTIFIED not in reasons
        await asyncio.sleep(2 * POLL_SECONDS)
        for answer in (await ask("down"), await other.ask("down")):
            assert (answer["source"], answer["reason"]) == ("frontier", Reason.UNCERTIFIED)
    newest = registry.get(release.id).newest
    assert newest is not None
    detector = registry.drift(newest.id)
    assert detector is not None
    assert detector.num_audits == len(reasons) + 2  # both told one detector


@pytest.mark.slow
async def test_the_days_budget_is_one(
    store: Store, target: Path | str, tmp_path: Path, second: Callable[[float], Second]
) -> None:
    cap = 7 * COST_MICROUSD
    other = second(cap / 1e6)
    day = now().date().isoformat()
    async with orchestrating(target, tmp_path / "data", cap / 1e6) as ask:
        answers = []
        for number in range(6):
            answers += await asyncio.gather(ask(f"down {number}"), other.ask(f"down {number}"))
    if day != now().date().isoformat():
        pytest.skip("midnight came between")
    sources = [answer["source"] for answer in answers]
    assert sources.count("frontier") == 7
    assert StoreLedger(store).spent(day) == cap
    for answer in answers[-2:]:
        (escalation,) = store.run(answer["run_id"]).escalations
        assert "would pass the cap" in (escalation.error or "")
