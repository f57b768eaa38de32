"""The students that compete in a round: made once each, judged on the same labels.

An arm has a folder: `student/` with its weights, `trained.json` with what the trainer said, and
`outcomes.json` with what it did on the held-out tasks. Each appears complete or not at all, so that
a round that was killed takes up what is there. Knows nothing of rounds or traffic.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from journeyman.agents.trainer import Trained
from journeyman.graph.outcomes import Outcome, Outcomes
from journeyman.models import scoring
from journeyman.models.certificate import Certificate, certify
from journeyman.models.confidence import ConfidenceHead, out_of_fold
from journeyman.models.deferral import augrc
from journeyman.models.types import Risk
from journeyman.traces.payloads import encode

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arm:
    """A student's place on disk.

    Attributes:
        name: `trained`, `untrained` or `incumbent`.
        folder: Where its files lie.
    """

    name: str
    folder: Path

    @property
    def student(self) -> Path:
        """The student's weights."""
        return self.folder / "student"

    @property
    def outcomes(self) -> Path:
        """What it did."""
        return self.folder / "outcomes.json"

    def made(self) -> Trained | None:
        """What its trainer said; None where it has not been made."""
        path = self.folder / "trained.json"
        if not path.is_file():
            return None
        return Trained(**json.loads(path.read_text("utf-8")))

    def make(self, teach: Callable[[Path], Trained | None]) -> Trained | None:
        """Make the student, unless it is there; None where there is no such student.

        What a training that was broken off has left beside it stays, for trainers that go on from
        there.

        Args:
            teach: Writes the student to the folder that it is given.
        """
        known = self.made()
        if known is not None:
            return known
        work = self.folder.with_name(f".{self.name}")  # one round at a time has this folder
        work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work / "student", ignore_errors=True)
        trained = teach(work / "student")
        if trained is None:
            return None
        (work / "trained.json").write_text(encode(asdict(trained)), "utf-8")
        shutil.rmtree(self.folder, ignore_errors=True)
        work.rename(self.folder)
        return trained


@dataclass(frozen=True)
class Judged:
    """An arm on the held-out tasks: confidence, certificate, and the figures of both.

    Attributes:
        outcomes: Of the tasks that certify, in order.
        head: Evidence -> probability.
        scores: Confidence in each task (n,); minus infinity where the gate never accepts.
        certificate: Not bound to a release yet.
        grid: Scores whose labels have no part in the proof.
    """

    outcomes: tuple[Outcome, ...]
    head: ConfidenceHead
    scores: Floats
    certificate: Certificate
    grid: Floats

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right (n,)."""
        return np.array([item.right for item in self.outcomes], dtype=bool)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Whether the certificate lets each answer out (n,)."""
        if not self.certificate.is_feasible:
            return np.zeros(len(self.scores), dtype=bool)
        accepted: NDArray[np.bool_] = self.scores >= self.certificate.threshold
        return accepted

    @property
    def confidence(self) -> Floats:
        """Scores (n,), with 0 for what the gate never accepts."""
        return np.where(np.isfinite(self.scores), self.scores, 0.0)

    def coverage_on(self, rows: NDArray[np.intp]) -> float:
        """Coverage of the certificate that these tasks alone, by position (m,), would give."""
        proof = certify(self.scores[rows], ~self.right[rows], self.certificate.risk, self.grid)
        return proof.coverage

    def in_force(self, certificate: Certificate, target: Risk) -> float | None:
        """Share of the tasks that the student answers under an earlier certificate.

        None where that certifies nothing, or misses the target on these labels: what lets out too
        many wrong answers is no bar to be reached.
        """
        if not certificate.is_feasible or not len(self.scores):
            return None
        accepted = self.scores >= certificate.threshold
        coverage = float(accepted.mean())
        allowed = target.max_error * (coverage if certificate.kind == "selective" else 1.0)
        return coverage if float((accepted & ~self.right).mean()) <= allowed else None

    def figures(self) -> dict[str, float | None]:
        """Quality, coverage, AUROC, Brier score and calibration error."""
        right = self.right
        confidence = self.confidence
        n = len(right)
        return {
            "quality": float(right.mean()) if n else None,
            "coverage": float(self.accepted.mean()) if n else 0.0,
            "auroc": scoring.auroc(confidence, right) if n else None,
            "brier": scoring.brier(confidence, right) if n else None,
            "ece": scoring.calibration_error(confidence, right) if n else None,
        }


def scores_of(head: ConfidenceHead, outcomes: Sequence[Outcome]) -> Floats:
    """Confidence in each outcome (n,); minus infinity for what the gate never accepts."""
    scores = np.full(len(outcomes), -np.inf)
    chosen = [i for i, item in enumerate(outcomes) if item.allowed and item.evidence]
    if chosen:
        scores[chosen] = head.probabilities([outcomes[i].evidence for i in chosen])
    return scores


def judge(
    outcomes: Outcomes,
    risk: Risk,
    *,
    head: ConfidenceHead | None = None,
    seed: int = 0,
) -> Judged | None:
    """Fit a head on the head part, and certify on the calibration part.

    Args:
        outcomes: Of one student on both parts.
        risk: The target.
        head: Use this one, of a release that has it, rather than fitting one.
        seed: Of the fit.

    Returns:
        None where there is nothing to fit the head on, or nothing to certify with.
    """
    calibration = outcomes.part("calibration")
    fitted = [item for item in outcomes.part("head") if item.evidence]
    if not calibration or (head is None and not fitted):
        return None
    if head is None:
        head = ConfidenceHead.fit(
            [item.evidence for item in fitted], [item.right for item in fitted], seed=seed
        )
    scores = scores_of(head, calibration)
    wrong = np.array([not item.right for item in calibration])
    # Selective certificates draw their grid from scores whose labels have no part in the proof.
    grid = scores_of(head, fitted)
    if risk.kind == "selective" and not np.isfinite(grid).any():
        return None
    return Judged(calibration, head, scores, certify(scores, wrong, risk, grid), grid)


def strength(outcomes: Outcomes, *, seed: int = 0) -> float:
    """How well an arm would do in traffic, by the fair sample of it in the head part.

    The negative area under joint risk against coverage (AUGRC), with confidence from heads that saw
    neither the task nor its group: it rewards being right and knowing when. Higher is better.

    Returns:
        Minus infinity where there is no task.
    """
    items = [item for item in outcomes.part("head") if item.certifies]
    if not items:
        return -math.inf
    right = np.array([item.right for item in items])
    confidence = np.zeros(len(items))
    known = [i for i, item in enumerate(items) if item.allowed and item.evidence]
    groups = [items[i].group for i in known]
    if len(set(groups)) > 1:
        confidence[known] = out_of_fold(
            [items[i].evidence for i in known], [items[i].right for i in known], groups, seed
        )
    return -augrc(confidence, right)


def same_evidence(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Whether two attempts at one task tell the same, up to the arithmetic of other batches."""
    if first.keys() != second.keys():
        return False
    names = sorted(first)
    return bool(
        np.allclose(
            [first[name] for name in names],
            [second[name] for name in names],
            rtol=1e-2,
            atol=1e-2,
            equal_nan=True,
        )
    )
