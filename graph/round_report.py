"""What a round found, as one document: for the record, the viewer, and people.

Figures only; it knows neither how they came about nor how they are shown.
"""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from journeyman.graph.decision import Decision
from journeyman.models.certificate import Certificate


class ArmReport(BaseModel):
    """One student that competed.

    Attributes:
        name: `trained`, `untrained` (nearest taught examples) or `incumbent`.
        quality: Share of held-out tasks that it has right, in [0, 1].
        coverage: Share of held-out tasks that its certificate lets out, in [0, 1].
        auroc: Of its confidence; None where all or none are right.
        brier: Mean squared error of its confidence.
        ece: Calibration error of its confidence.
        p50_ms: Median latency of an attempt alone.
        p95_ms: 95th percentile of it.
        train_seconds: Wall time of its training; 0 for an incumbent.
        num_examples: What it learned from.
        facts: What its trainer said.
        release: Its id; None where no release was made of it.
        certificate: What can be proved of it on these labels; None where nothing was tried.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")

    name: str
    quality: float | None = None
    coverage: float = 0.0
    auroc: float | None = None
    brier: float | None = None
    ece: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    train_seconds: float = 0.0
    num_examples: int = 0
    facts: dict[str, Any] = {}
    release: str | None = None
    certificate: Certificate | None = None


class RoundReport(BaseModel):
    """One round of one sub-agent.

    Attributes:
        round: Id of the round.
        agent: Name of the sub-agent.
        number: Of the round, from 1.
        started_at: When.
        target: Kind, max_error and delta of the certificates.
        collected: Labelled tasks since the last round, by origin, and what was passed over.
        curated: Figures of curation: rows given and left, drops by reason, doubts.
        basis: Hash of labels, options and sub-agent; a round with the same would find the same.
        dataset: Hash of the data set; None where none was written.
        label_source: Who gave the labels: what is certified is agreement with that.
        arms: Students that competed, by name.
        challenger: The arm that was put up against the incumbent.
        incumbent: Release that answered when the round began; None where none did.
        decision: The verdict with its tests.
        in_traffic: Release that answers when the round ends.
        recertified: A newer certificate of the incumbent that came of these labels.
        tried: The further proof of the incumbent that they were tried for, taken or not: it has
            spent of delta, and the next one counts it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")

    round: str
    agent: str
    number: int
    started_at: AwareDatetime
    target: dict[str, Any]
    collected: dict[str, Any] = {}
    curated: dict[str, int] = {}
    basis: str | None = None
    dataset: str | None = None
    label_source: str | None = None
    arms: dict[str, ArmReport] = {}
    challenger: str | None = None
    incumbent: str | None = None
    decision: Decision
    in_traffic: str | None = None
    recertified: Certificate | None = None
    tried: Certificate | None = None

    @property
    def winner(self) -> ArmReport | None:
        """The arm that was put up; None where the round ended before."""
        return self.arms.get(self.challenger) if self.challenger is not None else None
