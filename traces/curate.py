"""Curation: from labelled tasks to what teaches a student, and what certifies it.

One pass: one label for each task, nothing that stands in a suite, hard checks of the teacher's
answers, the split by group for ever, no copies on the teaching side, nothing that may not train,
and a mix. The result depends on the content of the rows, never on their order. What is left out is
reported with its reason.

On the side that certifies nothing is dropped for its label. To leave out tasks whose label is in
doubt would leave out the hard ones and flatter the certificate: they stay, and count against the
student. Nothing here knows a sub-agent; what only it can say is handed over as a callable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from journeyman.models.errors import ConfigError
from journeyman.models.types import Check
from journeyman.traces.decontaminate import Decontaminator
from journeyman.traces.duplicates import (
    Agrees,
    AnswerKey,
    answer_key,
    drop_near_copies,
    drop_same_content,
    merge_same_tasks,
)
from journeyman.traces.labels import Drop, LabelledTask, Origin, Part, preference
from journeyman.traces.likeness import group_key
from journeyman.traces.mix import SHARES, mix
from journeyman.traces.payloads import preview
from journeyman.traces.records import ScoreRecord
from journeyman.traces.split import SALT, Shares, part_of

Verify = Callable[[LabelledTask], Sequence[Check]]
"""The checks of a row's target, by who knows the skill; hard ones that fail keep it from teaching.
An exception counts as a failed one: the answer is model output, and hostile until checked."""

TextOf = Callable[[LabelledTask], str]
"""The text by which a row is compared with suites."""

GroupOf = Callable[[LabelledTask], str]
"""Hash of the content that must not be split."""

REVIEW = frozenset({"failed_check", "teacher_disagrees"})
"""Reasons that put a label before a person."""

CHECK_SCORE = "teacher_check"
"""Name of the scores that `review_scores` makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What curation may be told.

    Attributes:
        salt: Of the split; never change it within a project.
        shares: Shares of the groups that certify and that the head is fitted on.
        similarity: Jaccard similarity of long near copies, in (0, 1].
        ratio: Similarity of short near copies and of short texts in suites, in (0, 100].
        ngram: Words of an n-gram for long texts in suites.
        min_share: Share of n-grams in common that makes a long text contaminated, in [0, 1].
        size: At most so many rows teach; None for all.
        mix: Share of each class of rows.
        cluster_share: Largest share of a cluster of alike rows, in (0, 1].
        seed: Of the mix.
    """

    salt: str = SALT
    shares: Shares = field(default_factory=Shares)
    similarity: float = 0.8
    ratio: float = 95.0
    ngram: int = 8
    min_share: float = 0.2
    size: int | None = None
    mix: Mapping[Origin, float] = field(default_factory=lambda: dict(SHARES))
    cluster_share: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.similarity <= 1:
            raise ConfigError(f"The similarity {self.similarity!r} must be above 0 and at most 1.")

    def to_json(self) -> dict[str, Any]:
        """As JSON-compatible data, for the manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Curation:
    """What a round works with. Every row has its `group` and its `part`.

    Attributes:
        train: Rows that teach, sorted by task key.
        weights: How often each of them should be drawn; the mean is 1.
        head: Rows that the confidence head may be fitted on: also those that merely escalated. They
            show it more of what students get wrong; that they are no fair sample can make it a
            worse head, never a false certificate, which calibration alone proves.
        calibration: Rows that may certify: an unbiased sample of traffic, one row for each task.
            Rows with a `failed_check` are among them.
        spare: Rows whose group certifies but whose label is no unbiased sample: neither taught nor
            certified with, for ever.
        review: Labels that a person should look at. Those held out are in their part as well.
        dropped: Everything else that was left out of the teaching side, or stands in a suite.
        counts: Figures for the report: rows given and left, and drops by reason.
    """

    train: tuple[LabelledTask, ...] = ()
    weights: tuple[float, ...] = ()
    head: tuple[LabelledTask, ...] = ()
    calibration: tuple[LabelledTask, ...] = ()
    spare: tuple[LabelledTask, ...] = ()
    review: tuple[Drop, ...] = ()
    dropped: tuple[Drop, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def rows(self, part: Part) -> tuple[LabelledTask, ...]:
        """Rows of one part."""
        return {"train": self.train, "head": self.head, "calibration": self.calibration}[part]


def curate(
    rows: Iterable[LabelledTask],
    *,
    settings: Settings | None = None,
    suites: Iterable[str] | Decontaminator = (),
    verify: Verify | None = None,
    agrees: Agrees | None = None,
    text_of: TextOf | None = None,
    group_of: GroupOf | None = None,
    key: AnswerKey = answer_key,
    fixed: Mapping[str, Part] | None = None,
) -> Curation:
    """Curate the labelled tasks of one sub-agent.

    Args:
        rows: New rows, and those that earlier rounds used (origin `replay`).
        settings: See `Settings`.
        suites: Texts of every suite, or what was built from them.
        verify: Checks of a target; human labels are not checked. Asked once for each task.
        agrees: Whether two answers are the same, for labels of the same task that differ.
        text_of: The text that is compared with suites; by default the longest text in the task,
            and all of it together.
        group_of: What must not be split; by default the whole task, whatever its case and
            punctuation.
        key: When two answers are the same, for duplicates.
        fixed: Parts of groups that earlier rounds used, which win over `settings`.

    Raises:
        ConfigError: The rows belong to several sub-agents, or a setting makes no sense.
    """
    settings = settings or Settings()
    given = list(rows)
    _refuse_several_agents(given)
    tasks, disputed = merge_same_tasks(given, agrees=agrees)
    dropped = list(tasks.dropped)
    clean, contaminated = _decontaminated(tasks.kept, suites, settings, text_of)
    dropped += contaminated
    placed = [_placed(row, settings, group_of, fixed or {}) for row in clean]
    checked, failed = _verified(placed, verify)
    doubtful = _doubtful(checked, failed, disputed)
    held = [row for row in checked if row.part != "train"]
    taught = [row for row in checked if row.part == "train" and row.task_key not in doubtful]
    withheld = [Drop(row, "not_trainable", row.withheld) for row in taught if not row.trainable]
    distinct = drop_same_content([row for row in taught if row.trainable], key=key)
    apart = drop_near_copies(
        distinct.kept,
        anchors=held,
        similarity=settings.similarity,
        ratio=settings.ratio,
        key=key,
    )
    mixed = mix(
        apart.kept,
        size=settings.size,
        shares=settings.mix,
        cluster_share=settings.cluster_share,
        seed=settings.seed,
    )
    dropped += [*withheld, *distinct.dropped, *apart.dropped, *mixed.dropped]
    certifying = [row for row in held if row.certifies]
    curation = Curation(
        train=mixed.rows,
        weights=mixed.weights,
        head=_by_task(row for row in held if row.part == "head"),
        calibration=_by_task(row for row in certifying if row.part == "calibration"),
        spare=_by_task(row for row in held if row.part == "calibration" and not row.certifies),
        review=_by_preference(doubtful.values()),
        dropped=_by_preference(dropped),
    )
    return replace(curation, counts=_counts(len(given), curation, mixed.num_clusters))


def review_scores(curation: Curation) -> list[ScoreRecord]:
    """What to write to the store so that reviewers see why a label waits for them.

    The escalations stay `pending`, and with that in the review queue. Writing the scores again
    replaces them.
    """
    return [
        ScoreRecord(
            target_type="escalation",
            target_id=drop.row.escalation_id,
            run_id=drop.row.run_id,
            name=CHECK_SCORE,
            score=0.0,
            label=drop.reason,
            explanation=drop.detail,
            annotator_kind="CODE",
            identifier="curation",
        )
        for drop in curation.review
        if drop.row.escalation_id is not None
    ]


def _refuse_several_agents(rows: Sequence[LabelledTask]) -> None:
    agents = sorted({row.agent for row in rows})
    if len(agents) > 1:
        raise ConfigError(
            f"Rows of {len(agents)} sub-agents ({', '.join(map(repr, agents[:5]))}) were given: "
            "curate each sub-agent by itself."
        )


def _decontaminated(
    rows: Sequence[LabelledTask],
    suites: Iterable[str] | Decontaminator,
    settings: Settings,
    text_of: TextOf | None,
) -> tuple[list[LabelledTask], list[Drop]]:
    known = (
        suites
        if isinstance(suites, Decontaminator)
        else Decontaminator(
            suites, ratio=settings.ratio, ngram=settings.ngram, min_share=settings.min_share
        )
    )
    if text_of is not None:
        hits = known.find([text_of(row) for row in rows])
    else:
        hits = known.find_in_tasks([row.task for row in rows])
    pairs = list(zip(rows, hits, strict=True))
    clean = [row for row, hit in pairs if hit is None]
    return clean, [Drop(row, "in_suite", str(hit)) for row, hit in pairs if hit is not None]


def _placed(
    row: LabelledTask, settings: Settings, group_of: GroupOf | None, fixed: Mapping[str, Part]
) -> LabelledTask:
    group = group_key(row.task) if group_of is None else group_of(row)
    part = fixed.get(group) or part_of(group, settings.salt, settings.shares)
    return replace(row, group=group, part=part)


def _verified(
    rows: Sequence[LabelledTask], verify: Verify | None
) -> tuple[list[LabelledTask], list[Drop]]:
    if verify is None:
        return list(rows), []
    checked: list[LabelledTask] = []
    failed: list[Drop] = []
    for row in rows:
        check = None if row.label_source == "human" else _failed_check(row, verify)
        if check is None:
            checked.append(row)
            continue
        marked = replace(row, failed_check=check.name)
        checked.append(marked)
        detail = preview(f"{check.name}: {check.detail}".removesuffix(": "))
        failed.append(Drop(marked, "failed_check", detail or check.name))
    return checked, failed


def _failed_check(row: LabelledTask, verify: Verify) -> Check | None:
    try:
        checks = verify(row)
    except Exception as error:  # noqa: BLE001  # whatever hostile output does to a check
        return Check("check_error", passed=False, detail=f"{type(error).__name__}: {error}")
    return next((check for check in checks if check.hard and not check.passed), None)


def _doubtful(
    rows: Sequence[LabelledTask], failed: Sequence[Drop], disputed: Sequence[Drop]
) -> dict[str, Drop]:
    """By task key: labels for review. Disputed ones that stand in a suite are no one's concern."""
    present = {row.task_key: row for row in rows}
    found = {
        drop.row.task_key: replace(drop, row=present[drop.row.task_key])
        for drop in disputed
        if drop.row.task_key in present
    }
    return found | {drop.row.task_key: drop for drop in failed}


def _by_task(rows: Iterable[LabelledTask]) -> tuple[LabelledTask, ...]:
    return tuple(sorted(rows, key=lambda row: row.task_key))


def _by_preference(drops: Iterable[Drop]) -> tuple[Drop, ...]:
    return tuple(sorted(drops, key=lambda drop: (preference(drop.row), drop.reason)))


def _counts(num_given: int, curation: Curation, num_clusters: int) -> dict[str, int]:
    dropped = Counter(drop.reason for drop in curation.dropped)
    review = Counter(drop.reason for drop in curation.review)
    return {
        "given": num_given,
        "train": len(curation.train),
        "head": len(curation.head),
        "calibration": len(curation.calibration),
        "spare": len(curation.spare),
        "clusters": num_clusters,
        **{f"review_{reason}": number for reason, number in sorted(review.items())},
        **{f"dropped_{reason}": number for reason, number in sorted(dropped.items())},
    }
