"""How freely a confidence head may weigh its evidence: minutes, on what curves have left.

First draw curves and keep what they leave, then measure all of a suite's folders together:

    journeyman curve restaurant8k --rounds 5 --tasks-per-round 1300 --seed 0 --data kept/0
    python benchmarks/confidence_heads.py restaurant8k kept/*

Every student but the first round's answers the held-out tasks of the last round. Heads are fitted
on draws of the head part and judged on the part that certifies. Not part of `make bench`: it
measures quality, which does not change with the machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from numpy.typing import NDArray

from journeyman.graph.arms import scores_of
from journeyman.graph.outcomes import Outcome, Outcomes, attempt_all, rows_of
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.deferral import augrc
from journeyman.scenarios.assembly import staff_for
from journeyman.scenarios.paths import find_suite
from journeyman.scenarios.suite import load_suite
from journeyman.traces.dataset_files import open_dataset
from journeyman.traces.registry import Registry
from journeyman.traces.rounds import RoundStore
from journeyman.traces.store import Store

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
NUM_LABELS = (25, 50, 100, 200, 350)
NUM_DRAWS = 2
JOINT_ERROR = 0.03


def _attempts(name: str, data: Path) -> Iterator[Outcomes]:
    """What each student of a curve does on the last round's held-out tasks."""
    (agent,) = staff_for(load_suite(find_suite(name))).everyone.values()
    trainer = agent.trainer()
    assert trainer is not None, "a curve has taught it"
    with Store.open(data / "traces.db") as store:
        rounds = RoundStore(store)
        known = [rounds.get(e.id) for e in rounds.history(agent.name) if e.candidate_id is not None]
        taught = str((known[-1].report or {})["dataset"])
        (folder,) = (f for f in (data / "datasets").iterdir() if taught.startswith(f.name[-16:]))
        dataset = open_dataset(folder)
        held_out = [
            row for part in ("head", "calibration") for row in rows_of(dataset.rows(part), part)
        ]
        for entry in known[1:]:
            student = trainer.load(Registry(store, data).load(str(entry.candidate_id)).student)
            yield attempt_all(agent.with_student(student), held_out)


def _judged(head: ConfidenceHead, items: Sequence[Outcome]) -> tuple[float, float]:
    """AUGRC, and the largest share that could be answered with `JOINT_ERROR` of all wrong."""
    scores = scores_of(head, items)
    right: NDArray[np.bool_] = np.array([item.right for item in items])
    wrong = np.cumsum(~right[np.argsort(-scores, kind="stable")]) / len(right)
    return augrc(np.where(np.isfinite(scores), scores, 0), right), float(
        (wrong <= JOINT_ERROR).mean()
    )


def main(name: str, folders: Sequence[str]) -> None:
    """Print a line for each number of labels and each strength."""
    made = [outcomes for folder in folders for outcomes in _attempts(name, Path(folder))]
    for num_labels in NUM_LABELS:
        for strength in STRENGTHS:
            rng = np.random.default_rng(num_labels)
            found = []
            for outcomes in made:
                given = [item for item in outcomes.part("head") if item.evidence]
                for _ in range(NUM_DRAWS if len(given) >= num_labels else 0):
                    drawn = [given[i] for i in rng.permutation(len(given))[:num_labels]]
                    head = ConfidenceHead.fit(
                        [item.evidence for item in drawn],
                        [item.right for item in drawn],
                        strength=strength,
                    )
                    found.append(_judged(head, outcomes.part("calibration")))
            if found:
                area, share = np.mean(found, axis=0)
                print(
                    f"{name}, {num_labels} labels, C = {strength}: AUGRC {area:.4f}, "
                    f"{share:.1%} could be answered ({len(found)} heads)",
                    flush=True,
                )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
