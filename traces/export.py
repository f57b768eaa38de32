"""A data set's lessons as chat JSON Lines, for those who train elsewhere.

Forms: OpenAI's fine-tuning files, and the prompt-completion and preference forms that Hugging Face
trainers read. Only what teaches is exported, never what certifies. How a task reads as chat is the
caller's to say; by default it is its text, or its JSON, and the answer's JSON.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from journeyman.models.errors import ConfigError, TraceError
from journeyman.traces.dataset_files import Dataset, DatasetRow
from journeyman.traces.payloads import encode

Form = Literal["openai", "openai_preference", "huggingface", "huggingface_preference"]
FORMS: tuple[Form, ...] = (
    "openai",
    "openai_preference",
    "huggingface",
    "huggingface_preference",
)


@dataclass(frozen=True, slots=True)
class Chat:
    """A lesson as chat.

    Attributes:
        prompt: Messages, each with `role` and `content`.
        completion: What the model should answer.
        rejected: What it should not answer; None where no wrong answer is known.
    """

    prompt: Sequence[Mapping[str, str]]
    completion: str
    rejected: str | None = None


ChatOf = Callable[[DatasetRow], Chat]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        num_rows: Its lines.
        num_left_out: Lessons without a wrong answer, which a preference form cannot say.
        sha256: Hash of the file.
    """

    path: Path
    num_rows: int
    num_left_out: int
    sha256: str


def export_chat(
    dataset: Dataset, path: Path, *, form: Form = "huggingface", chat_of: ChatOf | None = None
) -> Exported:
    """Write the lessons of a data set to one file, whole or not at all.

    Args:
        dataset: Checked first, file by file.
        path: The file; replaced if it is there.
        form: `openai`: `{"messages"}`; `huggingface`: `{"prompt", "completion"}`;
            `openai_preference`: `{"input", "preferred_output", "non_preferred_output"}`;
            `huggingface_preference`: `{"prompt", "chosen", "rejected"}`.
        chat_of: How a lesson reads as chat.

    Raises:
        ConfigError: There is no such form.
        CorruptRecord: The data set was changed.
        TraceError: A row may not train a model, or the file cannot be written.
    """
    if form not in FORMS:
        raise ConfigError(f"There is no export form {form!r}: use one of {', '.join(FORMS)}.")
    dataset.verify()
    refused = [row.task_key for row in dataset.rows("train") if not row.trainable]
    if refused:
        raise TraceError(
            f"{len(refused)} rows of {str(dataset.folder)!r} may not train a model, the first "
            f"{refused[0]!r}: write the data set again without them.",
            path=dataset.folder,
        )
    written = _Counts()
    try:
        _replace(path, _lines(dataset, form, chat_of or chat_as_json, written))
    except OSError as error:
        raise TraceError(
            f"Export {str(path)!r} cannot be written ({error}): give another path.", path=path
        ) from error
    return Exported(path, written.num_rows, written.num_left_out, written.sha256.hexdigest())


def chat_as_json(row: DatasetRow) -> Chat:
    """The task's text, or its JSON where it has more than that, and the answers as JSON."""
    return chat_of_task(row.task, row.answer, row.rejected)


def chat_of_task(task: Any, answer: Any, wrong: Any = None) -> Chat:
    """A task and its answers as chat, where nobody says how the sub-agent would put it."""
    values = list(task.values()) if isinstance(task, Mapping) else [task]
    text = values[0] if len(values) == 1 and isinstance(values[0], str) else encode(task)
    rejected = None if wrong is None else encode(wrong)
    return Chat(({"role": "user", "content": text},), encode(answer), rejected)


class _Counts:
    """What has been written so far."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.num_left_out = 0
        self.sha256 = hashlib.sha256()


def _lines(dataset: Dataset, form: Form, chat_of: ChatOf, counts: _Counts) -> Iterator[bytes]:
    for row in dataset.rows("train"):
        data = _in_form(chat_of(row), form)
        if data is None:
            counts.num_left_out += 1
            continue
        line = f"{encode(data)}\n".encode()
        counts.num_rows += 1
        counts.sha256.update(line)
        yield line


def _in_form(chat: Chat, form: Form) -> dict[str, Any] | None:
    prompt = [dict(message) for message in chat.prompt]
    chosen = [{"role": "assistant", "content": chat.completion}]
    if form == "openai":
        return {"messages": prompt + chosen}
    if form == "huggingface":
        return {"prompt": prompt, "completion": chosen}
    if chat.rejected is None:
        return None
    rejected = [{"role": "assistant", "content": chat.rejected}]
    if form == "openai_preference":
        return {
            "input": {"messages": prompt},
            "preferred_output": chosen,
            "non_preferred_output": rejected,
        }
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _replace(path: Path, lines: Iterator[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(0o644)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
