"""The drift alarm on real traffic: how soon after a shift it goes off, and how often without one.

A router taught on BANKING77 answers under a certificate; from one task on its traffic is of another
kind. Student, head, certificate, draws of audits and detector are those that serve; only graph and
store are left out. The alarm is about the certified risk, so that a shift which the student meets
with doubt, and escalates, is no alarm and need not be one.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing import RoutedRequests
from journeyman.models.audit import is_audited
from journeyman.models.certificate import certify_joint
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.drift import DriftDetector, audit_outcome
from journeyman.models.errors import ConfigError
from journeyman.models.types import Risk, content_hash

RISK = Risk(max_error=0.05, delta=0.05)
AUDIT_RATES = (0.05, 0.2)
NUM_RELEASES, RUNS_EACH = 4, 5
NUM_TAUGHT, NUM_HEAD, NUM_CERTIFY = 3000, 400, 1000
SHIFT_AT, NUM_TASKS = 1000, 3000

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Tasks of one kind: what tells them apart, and what the release does with them."""

    keys: Sequence[str]
    accepted: Bools
    wrong: Bools

    def drawn(self, number: int, seed: int) -> _Traffic:
        """Some of them, in another order."""
        rows = np.random.default_rng(seed).permutation(len(self.keys))[:number]
        return _Traffic([self.keys[i] for i in rows], self.accepted[rows], self.wrong[rows])

    def then(self, other: _Traffic) -> _Traffic:
        return _Traffic(
            [*self.keys, *other.keys],
            np.concatenate([self.accepted, other.accepted]),
            np.concatenate([self.wrong, other.wrong]),
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """Audits and tasks up to the alarm, counted from the shift on; None without an alarm."""

    audits: int | None
    tasks: int | None


def _run(traffic: _Traffic, rate: float, seed: int, since: int) -> _Run:
    detector, num_audits = DriftDetector(max_error=RISK.max_error), 0
    for i, key in enumerate(traffic.keys):
        if not is_audited(key, f"{seed} {i}", rate, "routing"):
            continue
        num_audits += i >= since
        outcome = audit_outcome(
            "joint", accepted=bool(traffic.accepted[i]), wrong=bool(traffic.wrong[i])
        )
        if outcome is not None and detector.update(outcome):
            return _Run(num_audits, i - since + 1)
    return _Run(None, None)


def _released(requests: RoutedRequests, num_own: int, seed: int, out: Path) -> dict[str, _Traffic]:
    """A certified release, and what it does with traffic of each kind that taught it nothing."""
    order = np.random.default_rng(seed).permutation(num_own)
    ends = np.cumsum([NUM_TAUGHT, NUM_HEAD, NUM_CERTIFY])
    taught, head_rows, calibration, rest = np.split(order, ends)
    trainer = requests.router.trainer()
    trainer.train([requests.lesson(row) for row in taught.tolist()], out)
    student = trainer.load(out)
    head = ConfidenceHead.fit(*_fit(requests.attempts(student, head_rows.tolist())))
    evidence, right = requests.attempts(student, calibration.tolist())
    proof = certify_joint(head.probabilities(evidence), ~right, RISK)

    def traffic(rows: NDArray[np.int64]) -> _Traffic:
        evidence, right = requests.attempts(student, rows.tolist())
        accepted = head.probabilities(evidence) >= proof.threshold
        keys = [content_hash(requests.texts[row]) for row in rows.tolist()]
        return _Traffic(keys, accepted, ~right)

    own = traffic(rest)
    renamed = np.array([hash_third(requests.routes[row]) for row in rest.tolist()])
    return {
        "none": own,
        "another domain": traffic(np.arange(num_own, len(requests.texts))),
        "a third of the routes mean another": _Traffic(own.keys, own.accepted, own.wrong | renamed),
    }


def _fit(
    attempts: tuple[list[dict[str, float]], Bools],
) -> tuple[list[dict[str, float]], list[bool]]:
    evidence, right = attempts
    return evidence, right.tolist()


def hash_third(routes: frozenset[str]) -> bool:
    """Whether a route is of the third that changes its meaning."""
    return int(content_hash(sorted(routes)), 16) % 3 == 0


def _line(shift: str, rate: float, runs: Sequence[_Run], risk: float, coverage: float) -> str:
    alarmed = [run for run in runs if run.audits is not None and run.tasks is not None]
    if shift == "none":
        return (
            f"no shift, audit rate {rate}: {len(alarmed)} false alarms in {len(runs)} runs of "
            f"{NUM_TASKS} tasks; accepted {coverage:.1%}, accepted and wrong {risk:.1%}"
        )
    late = [run for run in alarmed if (run.tasks or 0) > 0]
    said = f"shift to {shift}, audit rate {rate}: alarm in {len(alarmed)} of {len(runs)} runs"
    if late:
        audits = statistics.median(run.audits or 0 for run in late)
        tasks = statistics.median(run.tasks or 0 for run in late)
        most = max(run.audits or 0 for run in late)
        said += f", after {audits:.0f} audits ({tasks:.0f} tasks) at the median, {most} at most"
    return f"{said}; then accepted {coverage:.1%}, accepted and wrong {risk:.1%}"


def measure() -> list[str]:
    """Lines of the report."""
    try:
        requests = RoutedRequests("banking77")
        num_own = len(requests.texts)
        requests.add_foreign("clinc150", NUM_TASKS)
    except ConfigError as error:
        return [f"not measured: {error}"]
    runs: dict[tuple[str, float], list[_Run]] = {}
    seen: dict[str, list[tuple[float, float]]] = {}
    for release in range(NUM_RELEASES):
        with tempfile.TemporaryDirectory() as folder:
            kinds = _released(requests, num_own, release, Path(folder) / "student")
        for shift, after in kinds.items():
            risk = float((after.accepted & after.wrong).mean())
            seen.setdefault(shift, []).append((risk, float(after.accepted.mean())))
            for rate in AUDIT_RATES:
                for number in range(RUNS_EACH):
                    seed = release * 1000 + number
                    stream = kinds["none"].drawn(SHIFT_AT, seed)
                    stream = stream.then(after.drawn(NUM_TASKS - SHIFT_AT, seed + 500))
                    since = 0 if shift == "none" else SHIFT_AT
                    runs.setdefault((shift, rate), []).append(_run(stream, rate, seed, since))
    means = {shift: np.mean(rows, axis=0) for shift, rows in seen.items()}
    return [_line(shift, rate, found, *means[shift]) for (shift, rate), found in runs.items()]
