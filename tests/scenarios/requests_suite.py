"""A suite of short requests for a router that learns it within seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path

_THINGS = {
    "paint": "wall paint,primer,varnish,brush,roller,masking tape,enamel,wood stain,spray can",
    "garden": "tulips,potting soil,hose,rake,fertiliser,lawn seed,hedge shears,compost,pots,spade",
    "tools": "drill,hammer,saw,screwdriver,wrench,pliers,chisel,sander,clamp,spirit level",
}
_ASKS = (
    "where do I find a {0} {1}",
    "is the {0} {1} on offer this week",
    "do you stock any {0} {1} in the shop",
    "can somebody show me the {0} {1}",
    "what does a {0} {1} cost",
    "I need a {0} {1} for saturday",
    "which {0} {1} would you recommend",
    "my {0} {1} broke, can I return it",
)
_KINDS = (
    "red",
    "small",
    "cheap",
    "heavy",
    "green",
    "new",
    "used",
    "large",
    "light",
    "old",
    "spare",
)

SUITE = """
version: 1
suite: requests
description: Which shelf a request is for.
agent: routing
metric: accuracy
agents:
  routing: {routes: labels}
data:
  - {name: test, format: labels, file: test.jsonl}
  - {name: stream, format: labels, file: stream.jsonl}
"""


def write_requests(folder: Path, *, num_stream: int = 500, num_test: int = 80) -> Path:
    """Write the suite with its data; the path of its file."""
    rows = [
        {"text": ask.format(kind, thing), "intent": shelf}
        for shelf, things in _THINGS.items()
        for thing in things.split(",")
        for kind in _KINDS
        for ask in _ASKS
    ]
    random.Random(4).shuffle(rows)
    for name, part in (("test", rows[:num_test]), ("stream", rows[num_test:][:num_stream])):
        text = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    path = folder / "requests.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return path
