"""Writes data sets: what curation left, refused where it must not teach, whole or not at all.

Rows that may not train are refused, not skipped: whoever writes a data set has to have left them
out, and said so. See `dataset_files` for what a data set is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from journeyman.models.errors import ConfigError, TraceError
from journeyman.models.types import Example, content_hash
from journeyman.traces.curate import Curation, Settings
from journeyman.traces.dataset_files import (
    FORMAT_VERSION,
    MANIFEST,
    Dataset,
    Manifest,
    facts_of,
    open_dataset,
)
from journeyman.traces.labels import PARTS, LabelledTask, Part
from journeyman.traces.payloads import clean, encode
from journeyman.traces.records import now

ExampleOf = Callable[[LabelledTask], Example | None]
"""The teaching example that a row makes; None where it makes none."""

_AGENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_HASH_CHARS = 16


def write_dataset(
    root: Path,
    agent: str,
    curation: Curation,
    *,
    example_of: ExampleOf | None = None,
    settings: Settings | None = None,
    parent: str | None = None,
    terms: Mapping[str, Any] | None = None,
    clock: Callable[[], datetime] = now,
) -> Dataset:
    """Write a data set, whole or not at all; one with the same content is left as it is.

    Args:
        root: Folder that takes data sets; made if it is missing.
        agent: Name of the sub-agent.
        curation: What to write. Rows that make no teaching example are left out and counted.
        example_of: See `ExampleOf`; by default task and target as they are.
        settings: What curation was told, for the manifest.
        parent: Hash of the data set before.
        terms: Licences and provider terms, JSON-compatible.
        clock: The present time, for tests.

    Raises:
        ConfigError: The agent's name cannot name a folder.
        TraceError: A row that teaches may not train, or stands on the wrong side of the split; or
            the folder cannot be written.
    """
    if not _AGENT.fullmatch(agent):
        raise ConfigError(
            f"The agent name {agent!r} cannot name a folder: use letters, digits, '_' and '-'."
        )
    _refuse(agent, curation)
    contents, no_lesson, lessons_hash = _contents(curation, example_of or _as_it_is)
    manifest = _manifest(
        agent, curation, contents, no_lesson, lessons_hash, settings, parent, terms, clock()
    )
    folder = root / f"{agent}-{manifest.dataset_hash[:_HASH_CHARS]}"
    if folder.exists():
        return open_dataset(folder)
    try:
        _write_folder(folder, contents, manifest)
    except OSError as error:
        if not folder.exists():  # another process may have been first, with the same content
            raise TraceError(
                f"Data set {str(folder)!r} cannot be written ({error}): free some space or check "
                "the permissions.",
                path=folder,
            ) from error
    return open_dataset(folder)


def _as_it_is(row: LabelledTask) -> Example:
    return Example(row.agent, row.task, row.target, row.group)


def _refuse(agent: str, curation: Curation) -> None:
    """Whatever curation promised, nothing that must not teach gets past this point."""
    refuse_withheld(agent, curation.train)
    sides: dict[str, Part] = {}
    for part in PARTS:
        for row in curation.rows(part):
            if row.agent != agent or row.part != part or sides.setdefault(row.group, part) != part:
                raise TraceError(
                    f"Task {row.task_key!r} of {row.agent!r} with part {row.part!r} and group "
                    f"{row.group!r} does not belong in the {part!r} file of {agent!r}: pass what "
                    "`curate` returned."
                )


def refuse_withheld(agent: str, rows: tuple[LabelledTask, ...]) -> None:
    """Refuse rows that may not train.

    Raises:
        TraceError: There are some; the message says how many, which first, and why.
    """
    withheld = [row for row in rows if not row.trainable]
    if withheld:
        first = withheld[0]
        raise TraceError(
            f"{len(withheld)} of {len(rows)} rows of {agent!r} may not train a model, the first "
            f"{first.task_key!r} ({first.withheld or 'withheld'}): leave them out, as `curate` "
            "does."
        )


def _contents(curation: Curation, example_of: ExampleOf) -> tuple[dict[Part, bytes], int, str]:
    """The files, the number of rows without a lesson, and the hash of what teaches."""
    lines: list[str] = []
    lessons: list[Any] = []
    no_lesson = 0
    for row, weight in zip(curation.train, curation.weights, strict=True):
        example = example_of(row)
        if example is None:
            no_lesson += 1
            continue
        lesson = {"task": example.task, "target": example.target, "group": example.group}
        lessons.append(encode([lesson, weight, row.rejected]))
        lines.append(encode({**_to_json(row), "example": lesson, "weight": weight}))
    contents: dict[Part, bytes] = {"train": _join(lines)}
    for part in PARTS[1:]:
        contents[part] = _join([encode(_to_json(row)) for row in curation.rows(part)])
    return contents, no_lesson, content_hash(sorted(lessons))


def _join(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _to_json(row: LabelledTask) -> dict[str, Any]:
    return {
        "task_key": row.task_key,
        "task": row.task,
        "answer": row.target,
        "rejected": row.rejected,
        "label_source": row.label_source,
        "origin": row.origin,
        "trainable": row.trainable,
        "provenance": {
            "run_id": row.run_id,
            "attempt_id": row.attempt_id,
            "escalation_id": row.escalation_id,
            "reason": row.reason,
            "certifies": row.certifies,
            "release": row.release,
            "frontier_model": row.frontier_model,
            "audit_probability": row.audit_probability,
            "suite_run_id": row.suite_run_id,
            "scenario_id": row.scenario_id,
            "failed_check": row.failed_check,
            "occurrences": row.occurrences,
            "group": row.group,
            "created_at": row.created_at,
            "asked_at": row.asked_at or row.created_at,
        },
    }


def _manifest(
    agent: str,
    curation: Curation,
    contents: Mapping[Part, bytes],
    no_lesson: int,
    lessons_hash: str,
    settings: Settings | None,
    parent: str | None,
    terms: Mapping[str, Any] | None,
    created_at: datetime,
) -> Manifest:
    rows = [row for part in PARTS for row in curation.rows(part)]
    times = sorted(row.created_at for row in rows)
    drops = Counter(drop.reason for drop in (*curation.dropped, *curation.review))
    if no_lesson:
        drops["no_lesson"] = no_lesson
    withheld = drops["not_trainable"]
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        agent=agent,
        lessons_hash=lessons_hash,
        parent=parent,
        created_at=created_at,
        files={part: facts_of(content) for part, content in contents.items()},
        counts=dict(curation.counts),
        drops={reason: number for reason, number in sorted(drops.items()) if number},
        origins=dict(sorted(Counter(row.origin for row in rows).items())),
        label_sources=dict(sorted(Counter(row.label_source for row in rows).items())),
        frontier_models=_tally(row.frontier_model for row in rows),
        releases=_tally(row.release for row in rows),
        labelled_from=times[0] if times else None,
        labelled_until=times[-1] if times else None,
        filters={} if settings is None else settings.to_json(),
        terms={**(terms or {}), "num_withheld": withheld},
    )
    return manifest.model_copy(update={"dataset_hash": manifest.digest()})


def _tally(names: Iterator[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(name for name in names if name).items()))


def _write_folder(folder: Path, contents: Mapping[Part, bytes], manifest: Manifest) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for part, content in contents.items():
            _write_file(fresh / f"{part}.jsonl", content)
        text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
        _write_file(fresh / MANIFEST, clean(text).encode())
        fresh.chmod(0o755)
        fresh.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a rename survive a power cut, where the system allows a folder to be opened."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
