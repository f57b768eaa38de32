"""Releases: one folder that holds everything that shapes a sub-agent's answers, under its own hash.

    <data>/releases/<agent>/<first 8 hex digits>/
        manifest.json       what is in the folder, with the SHA-256 of every other file
        student/...         the student's weights: safetensors and plain text, never pickle
        confidence.json     evidence -> probability
        certificate.json    the threshold that was certified for this release, and for no other

The id covers the sub-agent's parts (prompt, decoding, code version ...), every file of the student
and the head. It does not cover the certificate, which names the id. A folder appears complete or
not at all and is never written over; whatever does not match its digest is refused. Knows nothing
of which release is in traffic, and loads no model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from journeyman.models.certificate import Certificate
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.types import LabelSource, StudentKind, canonical_json, content_hash

FORMAT = 1
MANIFEST = "manifest.json"
HEAD = "confidence.json"
CERTIFICATE = "certificate.json"
STUDENT = "student"

_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".md", ".jinja"})
_PICKLES = frozenset({".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
_AGENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*")
_ID_DIGITS = 8


class Identity(NamedTuple):
    """Who a release is.

    Attributes:
        id: `<agent>@<first 8 hex digits of the digest>`.
        digest: SHA-256, 64 hex digits, of everything that shapes an answer.
    """

    id: str
    digest: str


class Manifest(BaseModel):
    """What `manifest.json` says.

    Attributes:
        format: Of the folder.
        id: See `Identity`.
        agent: Name of the sub-agent.
        digest: See `Identity`.
        parts: The sub-agent's `release_parts`.
        files: SHA-256 by name of every other file of the folder.
        student_kind: What the student is.
        base_model: What it was taught from; empty where it has no base.
        parent: The release that its training could go on from; else what it is to replace.
        created_at: When, with a time zone.
        label_source: Who gave the labels that certified it; None without a certificate.
        seal: SHA-256 of all of the above, so that damage shows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    id: str
    agent: str
    digest: str
    parts: dict[str, Any]
    files: dict[str, str]
    student_kind: StudentKind
    base_model: str
    parent: str | None
    created_at: AwareDatetime
    label_source: LabelSource | None
    seal: str = ""

    def sealed(self) -> Manifest:
        """The same with its seal."""
        return self.model_copy(update={"seal": content_hash(self._facts())})

    @property
    def is_intact(self) -> bool:
        """Whether the seal fits."""
        return self.seal == content_hash(self._facts())

    def _facts(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"seal"})


@dataclass(frozen=True, slots=True)
class Release:
    """A release on disk whose files were found to match their digests.

    Attributes:
        folder: Where it lies.
        manifest: What it says of itself.
        head: Evidence -> probability; None where nothing was fitted, and then nothing is trusted.
        certificate: What was proved of it when it was made; None where nothing was.
        num_bytes: Size of its files, the manifest left out.
    """

    folder: Path
    manifest: Manifest
    head: ConfidenceHead | None
    certificate: Certificate | None
    num_bytes: int

    @property
    def id(self) -> str:
        """`<agent>@<8 hex digits>`."""
        return self.manifest.id

    @property
    def agent(self) -> str:
        """Name of the sub-agent."""
        return self.manifest.agent

    @property
    def student(self) -> Path:
        """Folder of the student's weights."""
        return self.folder / STUDENT

    def has_parts(self, parts: Mapping[str, Any]) -> bool:
        """Whether a sub-agent with these `release_parts` is the one that this release was made of.

        Raises:
            ConfigError: They are not JSON-compatible.
        """
        return content_hash(_plain(parts)) == content_hash(self.manifest.parts)

    @property
    def weights_sha256(self) -> str | None:
        """One hash over all files of the student; None where it has none."""
        files = _of_student(self.manifest.files)
        return content_hash(files) if files else None

    @classmethod
    def write(
        cls,
        data: Path,
        agent: str,
        *,
        parts: Mapping[str, Any],
        student: Path | None,
        head: ConfidenceHead | None = None,
        certificate: Certificate | None = None,
        student_kind: StudentKind = "custom",
        base_model: str = "",
        parent: str | None = None,
        created_at: datetime | None = None,
    ) -> Release:
        """Make the folder of a release.

        A release that is there already is returned as it stands, its first certificate included:
        what is proved of it later belongs into the registry.

        Args:
            data: The data directory.
            agent: Name of the sub-agent.
            parts: Its `release_parts`, bound to this student.
            student: Folder that the student was saved to; None where it has no weights.
            head: The head that will serve.
            certificate: Bound to the id that `identify` gives for the same arguments.
            student_kind: What the student is.
            base_model: What it was taught from.
            parent: The release that its training could go on from; else what it is to replace.
            created_at: With a time zone; now, where it is None.

        Raises:
            WeightsError: A file is not allowed in a release, the certificate belongs to another
                release, or the folder is taken.
            ConfigError: The agent's name or its parts cannot be kept.
        """
        home = data / "releases" / _checked_name(agent)
        home.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=home, prefix=".making-"))
        try:
            _copy_student(student, work / STUDENT)
            if head is not None:
                head.save(work)
            plain = _plain(parts)
            identity = _identity(agent, plain, _digests(work), head)
            if certificate is not None:
                _check_certificate(certificate, identity.id, head, work / CERTIFICATE)
                text = canonical_json(certificate.model_dump(mode="json"))
                (work / CERTIFICATE).write_text(text, "utf-8")
            manifest = Manifest(
                id=identity.id,
                agent=agent,
                digest=identity.digest,
                parts=plain,
                files=_digests(work),
                student_kind=student_kind,
                base_model=base_model,
                parent=parent,
                created_at=created_at or datetime.now(UTC),
                label_source=None if certificate is None else certificate.label_source,
            ).sealed()
            (work / MANIFEST).write_text(manifest.model_dump_json(indent=1), "utf-8")
            work.chmod(0o755)  # mkdtemp's 0o700 would shut out others
            return _publish(work, release_folder(data, identity.id), manifest)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> Release:
        """Read a release and hold every file against its digest.

        Raises:
            WeightsError: A file is missing, changed, unknown or not allowed, or the certificate
                belongs to another release; the message names the file.
        """
        manifest = _read_manifest(folder)
        found = _digests(folder, leave_out={MANIFEST})
        for name in sorted(manifest.files.keys() - found.keys()):
            _refuse(folder / name, "is missing", manifest.agent)
        for name, digest in sorted(found.items()):
            if name not in manifest.files:
                _refuse(folder / name, "is not in the manifest", manifest.agent)
            if manifest.files[name] != digest:
                _refuse(folder / name, "does not match its digest", manifest.agent)
        head = ConfidenceHead.load(folder) if HEAD in found else None
        identity = _identity(manifest.agent, manifest.parts, found, head)
        if identity != (manifest.id, manifest.digest):
            _refuse(folder / MANIFEST, "names an id that its contents do not have", manifest.agent)
        certificate = _read_certificate(folder, identity.id, head) if CERTIFICATE in found else None
        size = sum((folder / name).stat().st_size for name in found)
        return cls(folder, manifest, head, certificate, size)


def identify(
    agent: str, *, parts: Mapping[str, Any], student: Path | None, head: ConfidenceHead | None
) -> Identity:
    """Who the release of these parts will be; what its certificate has to be bound to.

    Args:
        agent: Name of the sub-agent.
        parts: Its `release_parts`, bound to this student.
        student: Folder that the student was saved to; None where it has no weights.
        head: The head that will serve.

    Raises:
        WeightsError: A file is not allowed in a release.
        ConfigError: The agent's name or its parts cannot be kept.
    """
    files = {} if student is None else _digests(student)
    placed = {f"{STUDENT}/{name}": digest for name, digest in files.items()}
    return _identity(_checked_name(agent), _plain(parts), placed, head)


def release_folder(data: Path, release_id: str) -> Path:
    """Where a release lies under a data directory.

    Raises:
        ConfigError: The id is none.
    """
    agent, _, digits = release_id.partition("@")
    if not re.fullmatch(f"[0-9a-f]{{{_ID_DIGITS}}}", digits):
        raise ConfigError(
            f"{release_id!r} is no release id: write one as `journeyman releases list` shows it."
        )
    return data / "releases" / _checked_name(agent) / digits


def release_id_of(folder: Path) -> str:
    """The id of the release in a folder, by the place where it lies: `.../<agent>/<8 digits>`."""
    return f"{folder.parent.name}@{folder.name}"


def _identity(
    agent: str,
    parts: Mapping[str, Any],
    files: Mapping[str, str],
    head: ConfidenceHead | None,
) -> Identity:
    digest = content_hash(
        {
            "format": FORMAT,
            "agent": agent,
            "parts": parts,
            "student": _of_student(files),
            "head": None if head is None else head.fingerprint(),
        }
    )
    return Identity(f"{agent}@{digest[:_ID_DIGITS]}", digest)


def _of_student(files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.startswith(f"{STUDENT}/")}


def _checked_name(agent: str) -> str:
    if not _AGENT.fullmatch(agent):
        raise ConfigError(
            f"A release cannot be kept for an agent named {agent!r}: use letters, digits and "
            f"underscores."
        )
    return agent


def _plain(parts: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(canonical_json(parts))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The parts of a release are not JSON-compatible ({error}): give text, numbers, lists "
            f"and mappings only."
        ) from error
    return plain


def _copy_student(student: Path | None, target: Path) -> None:
    target.mkdir()
    if student is None:
        return
    for name in _digests(student):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(student / name, target / name)


def _publish(work: Path, folder: Path, manifest: Manifest) -> Release:
    """Give a complete folder its name, unless the same release has it already."""
    try:
        if not folder.exists():
            work.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was quicker
            raise
    release = Release.load(folder)
    if release.manifest.digest != manifest.digest:
        raise WeightsError(
            f"The folder {str(folder)!r} holds another release of the same id: change anything in "
            f"the new one (its version, say) and make it again."
        )
    return release


def _digests(folder: Path, leave_out: frozenset[str] | set[str] = frozenset()) -> dict[str, str]:
    """SHA-256 by name of every file below a folder; refuses what has no place in a release."""
    if not folder.is_dir():
        raise WeightsError(f"There is no folder {str(folder)!r}: check the path.")
    found: dict[str, str] = {}
    for top, folders, files in os.walk(folder):
        for name in sorted(folders):
            if (Path(top) / name).is_symlink():
                _refuse(Path(top) / name, "is a link")
        for name in sorted(files):
            path = Path(top) / name
            relative = path.relative_to(folder).as_posix()
            _check_file(path, relative)
            if relative not in leave_out:
                found[relative] = _sha256(path)
    return found


def _check_file(path: Path, relative: str) -> None:
    if path.is_symlink() or not path.is_file():
        _refuse(path, "is a link or no regular file")
    if path.suffix in _PICKLES:
        _refuse(path, "may be pickled, which runs code when it is read")
    if path.suffix not in _SUFFIXES or not _NAME.fullmatch(relative):
        _refuse(path, "has no place in a release (safetensors and plain text have)")
    if path.suffix == ".safetensors" and not _is_safetensors(path):
        _refuse(path, "is no safetensors file")


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return 2 <= length <= path.stat().st_size - 8 and file.read(1) == b"{"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text("utf-8"))
        if isinstance(data, dict) and data.get("format") not in {FORMAT, None}:
            raise WeightsError(
                f"The release {str(folder)!r} has format {data['format']!r}, which this Journeyman "
                f"does not know: install a newer Journeyman."
            )
        manifest = Manifest.model_validate(data)
    except OSError as error:
        _refuse(path, f"cannot be read ({type(error).__name__})", cause=error)
    except (ValidationError, ValueError, RecursionError) as error:
        _refuse(path, f"is no manifest ({type(error).__name__})", cause=error)
    if not manifest.is_intact:
        _refuse(path, "does not match its own seal", manifest.agent)
    unsafe = [name for name in manifest.files if not _NAME.fullmatch(name)]
    if unsafe:
        _refuse(path, f"names {unsafe[0]!r}, which is no file of the folder", manifest.agent)
    return manifest


def _read_certificate(folder: Path, release_id: str, head: ConfidenceHead | None) -> Certificate:
    path = folder / CERTIFICATE
    try:
        certificate = Certificate.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        _refuse(path, f"is no certificate ({type(error).__name__})", cause=error)
    _check_certificate(certificate, release_id, head, path)
    return certificate


def _check_certificate(
    certificate: Certificate, release_id: str, head: ConfidenceHead | None, path: Path
) -> None:
    if certificate.release != release_id or certificate.label_source is None or head is None:
        bound = repr(certificate.release) if certificate.release else "no release"
        source = certificate.label_source or "unnamed"
        raise WeightsError(
            f"The certificate {path.name!r} is bound to {bound} with {source} labels and "
            f"{'a' if head else 'no'} confidence head, so it proves nothing for release "
            f"{release_id!r}: certify that release itself."
        )


def _refuse(
    path: Path, what: str, agent: str | None = None, *, cause: BaseException | None = None
) -> NoReturn:
    how = f"run `journeyman releases rollback {agent}`" if agent else "leave it out"
    raise WeightsError(f"The file {str(path)!r} {what}: restore it, or {how}.") from cause
