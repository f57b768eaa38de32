"""An orchestrator whose releases, audits and budget come from a store that others share.

`python -m tests.graph.orchestrating STORE DATA CAP_USD` answers one ticket for each line that it
reads, by one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.state import Context, Task
from journeyman.graph.trust import ReleaseTrust
from journeyman.models.budget import Budget
from journeyman.models.types import FrontierReply, FrontierRequest
from journeyman.traces.ledger import StoreLedger
from journeyman.traces.recorder import Recorder
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.graph.released import Agreeing, OneWord, Released

COST_MICROUSD = 1_000
POLL_SECONDS = 0.05

Ask = Callable[[str], Awaitable[dict[str, Any]]]


class Metered(Agreeing):
    """A frontier whose every call costs the same, booked as the real client books."""

    def __init__(self, word: str, budget: Budget) -> None:
        super().__init__(word)
        self._budget = budget

    async def complete(self, request: FrontierRequest, *, run_id: str = "") -> FrontierReply:
        account = self._budget.account(run_id)
        with await asyncio.to_thread(account.reserve, COST_MICROUSD, model=self.model):
            return await super().complete(request, run_id=run_id)


@asynccontextmanager
async def orchestrating(path: str | Path, data: Path, cap_usd: float) -> AsyncIterator[Ask]:
    """Ask a ticket; what came of it, and the run's id."""
    async with AsyncExitStack() as stack:
        store = stack.enter_context(Store.open(path))
        recorder = stack.enter_context(Recorder(store))
        trust = ReleaseTrust(
            Registry(store, data), {"triage": OneWord}, audit_rate=1.0, poll_seconds=POLL_SECONDS
        )
        stack.callback(trust.close)
        frontier = Metered("low", Budget(per_day_usd=cap_usd, ledger=StoreLedger(store)))
        graph = create_orchestrator(
            [Released(OneWord(None))], frontier, trust=trust, store=recorder
        )
        context = Context(on_frontier_failure="return_uncertified")

        async def ask(text: str) -> dict[str, Any]:
            task = Task(agent="triage", input={"text": text})
            result = await graph.ainvoke({"tasks": [task]}, context=context)
            answer = result["answers"]["triage-1"]
            return {
                "value": answer.value,
                "source": answer.source,
                "reason": answer.reason,
                "release": answer.release,
                "run_id": result["run_id"],
            }

        yield ask


async def main(path: str, data: str, cap_usd: str) -> None:
    """Answer line by line until there are none."""
    async with orchestrating(path, Path(data), float(cap_usd)) as ask:
        while line := await asyncio.to_thread(sys.stdin.readline):
            sys.stdout.write(json.dumps(await ask(line.strip())) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
