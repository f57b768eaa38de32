"""How a tagger is taught best: `python benchmarks/extraction_taught.py [SUITE...]`, minutes.

2,000 texts of a suite's stream teach a tagger, with and without early stopping, with and without
mentions exchanged; what counts is the share of 700 other texts of the stream in which every span is
right, so that the suite's test texts choose nothing. Not part of `make bench`: it measures quality,
which does not change with the machine.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from journeyman.models.students.tagger import Tagger
from journeyman.models.training.tagged_text import TaggedText
from journeyman.models.training.tagger import train_tagger
from journeyman.models.types import Span
from journeyman.scenarios.datasets import iter_scenarios
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.scenario import ExpectedRecord, Scenario
from journeyman.scenarios.suite import load_suite

NUM_LESSONS = 2000
NUM_TEST = 700
SEED = 0


def _tagged(scenario: Scenario) -> TaggedText:
    wanted = scenario.expected["extraction"]
    assert isinstance(wanted, ExpectedRecord)
    spans = [
        Span(span.label, span.start, span.end, scenario.text[span.start : span.end])
        for span in wanted.spans
    ]
    return TaggedText(scenario.text, tuple(spans))


def _share_right(tagger: Tagger, test: Sequence[TaggedText]) -> float:
    told = tagger.predict([each.text for each in test])
    right = [
        {(s.label, s.start, s.end) for s in tagging.spans}
        == {(s.label, s.start, s.end) for s in each.spans}
        for each, tagging in zip(test, told, strict=True)
    ]
    return sum(right) / len(right)


def measure(name: str) -> None:
    """Print the figures of one suite as they come."""
    suite = load_suite(find_suite(name))
    stream = [_tagged(one) for one in iter_scenarios(suite, parts=["stream"])]
    random.Random(SEED).shuffle(stream)
    test, lessons = stream[:NUM_TEST], stream[NUM_TEST : NUM_TEST + NUM_LESSONS]
    labels = sorted({span.label for one in stream for span in one.spans})
    for held_out, exchanged in product((0.1, 0.0), (0.0, 0.5)):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "tagger"
            done = train_tagger(
                lessons,
                labels,
                out=out,
                batch_size=32,
                held_out_share=held_out,
                exchanged_share=exchanged,
                seed=SEED,
            )
            right = _share_right(Tagger(weights=out), test)
        print(
            f"{name}, {len(lessons)} lessons, {held_out:.0%} held out, {exchanged:.0%} exchanged: "
            f"epoch {done.best_epoch} of {done.num_epochs} kept, {done.seconds:.0f} s, all spans "
            f"right in {right:.3f} of {len(test)} others",
            flush=True,
        )


if __name__ == "__main__":
    for suite_name in sys.argv[1:] or ("snips",):
        measure(suite_name)
