"""What a round is told, and what it remembers between two stages.

The state is plain JSON and small, since every stage writes it to the checkpoint; weights and tasks
stay in files that it names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

from journeyman.agents.trainer import TrainingStep
from journeyman.graph.decision import Bars
from journeyman.graph.settings import Settings
from journeyman.models.types import Risk
from journeyman.traces.curate import Settings as CurationSettings
from journeyman.traces.dataset_files import DatasetRow
from journeyman.traces.decontaminate import Decontaminator
from journeyman.traces.split import Shares

STAGES = (
    "collect",
    "curate",
    "teacher_check",
    "train",
    "evaluate",
    "certify",
    "decide",
    "promote",
)

OnStage = Callable[[str, TrainingStep | None], None]
"""Told which stage the round is in, and how far that is where it takes long."""


@dataclass(frozen=True)
class RoundOptions:
    """What a round may be told.

    Attributes:
        risk: The target that certificates are made for.
        curation: What curation may be told: the split's salt and shares above all.
        bars: What a challenger has to pass; `looks` is counted by the round.
        suites: Texts of suites, none of which may teach or certify.
        seed: Of training and heads; the round's number is added.
        fewest_lessons: Below, nothing is trained.
        max_failed_labels: Share of the new labels in [0, 1] that may fail hard checks or contradict
            each other before the teacher itself is doubted.
        slice_of: The slice of a held-out task, for the tests on slices.
    """

    risk: Risk = field(default_factory=Risk)
    curation: CurationSettings = field(default_factory=CurationSettings)
    bars: Bars = field(default_factory=Bars)
    suites: Decontaminator | None = None
    seed: int = 0
    fewest_lessons: int = 10
    max_failed_labels: float = 0.2
    slice_of: Callable[[DatasetRow], str] | None = None

    def to_json(self) -> dict[str, Any]:
        """What shapes the outcome, JSON-compatible; suites show in what they leave."""
        return {
            "risk": self.risk.model_dump(mode="json"),
            "curation": self.curation.to_json(),
            "bars": self.bars.model_dump(mode="json"),
            "seed": self.seed,
            "fewest_lessons": self.fewest_lessons,
            "max_failed_labels": self.max_failed_labels,
            "has_slices": self.slice_of is not None,
        }


class RoundState(TypedDict, total=False):
    """What the checkpoint holds.

    Attributes:
        round_id: The round.
        incumbent: Release that answered when the round began.
        collected: Figures of `collect`.
        curated: Figures of `curate`.
        basis: Hash of what the outcome rests on but the incumbent.
        dataset: Folder of the data set.
        dataset_hash: Its hash.
        parent: Release whose student the taught one went on from, where it could.
        arms: By name, what is known of each student that competes.
        challenger: The arm that is put up.
        label_source: Who gave the labels.
        decision: The verdict.
        recertified: A newer certificate of the incumbent.
        tried: The further proof of the incumbent that was tried, taken or not.
        stop: Why the round ends early; empty where it goes on.
        are_labels_doubted: It ends since its labels are in doubt.
        in_traffic: Release that answers when the round ends.
    """

    round_id: str
    incumbent: str | None
    collected: dict[str, Any]
    curated: dict[str, int]
    basis: str
    dataset: str
    dataset_hash: str
    arms: dict[str, dict[str, Any]]
    parent: str | None
    challenger: str | None
    label_source: str | None
    decision: dict[str, Any]
    recertified: dict[str, Any] | None
    tried: dict[str, Any] | None
    stop: str
    are_labels_doubted: bool
    in_traffic: str | None


def options_from(settings: Settings, suites: Decontaminator | None = None) -> RoundOptions:
    """The options that settings describe.

    Args:
        settings: Target, shares and bars.
        suites: Texts of suites, none of which may teach or certify.

    Raises:
        ConfigError: The shares leave nothing to teach.
    """
    chosen = settings.round
    return RoundOptions(
        risk=settings.risk,
        curation=CurationSettings(shares=Shares(chosen.calibration, chosen.head)),
        bars=Bars(margin=chosen.margin),
        suites=suites,
        seed=chosen.seed,
        max_failed_labels=chosen.max_failed_labels,
    )
