"""A release is one unit under its own hash: made whole, never changed, refused when it was."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from journeyman.models.certificate import Certificate, certify_joint
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.errors import ConfigError, WeightsError
from journeyman.models.release import Identity, Release, identify, release_folder
from journeyman.models.students.tagger import Tagger
from journeyman.models.types import Risk

PARTS = {"prompt": "Mark the fields.", "version": "1", "settings": [1, 2.5, None]}
TEXT = "Pay Orion $7.50 by July 14."


def head(offset: float = 0.0) -> ConfidenceHead:
    evidence = [{"margin": (i % 20) / 20 + offset} for i in range(200)]
    return ConfidenceHead.fit(evidence, [i % 20 > 4 for i in range(200)])


def certificate(release: str, *, errors: int = 0) -> Certificate:
    scores = [0.5 + i / 400 for i in range(200)]
    wrong = [i >= 200 - errors for i in range(200)]
    return certify_joint(scores, wrong, Risk()).bind(release, "frontier")


@pytest.fixture
def identity(tiny_tagger_folder: Path) -> Identity:
    return identify("bills", parts=PARTS, student=tiny_tagger_folder, head=head())


@pytest.fixture
def make(tmp_path: Path, tiny_tagger_folder: Path, identity: Identity) -> Callable[..., Release]:
    def write(**given: Any) -> Release:
        values = {
            "parts": PARTS,
            "student": tiny_tagger_folder,
            "head": head(),
            "certificate": certificate(identity.id),
            "student_kind": "tagger",
            "base_model": "all-MiniLM-L6-v2",
        }
        return Release.write(tmp_path, "bills", **{**values, **given})

    return write


def test_a_release_lies_under_its_own_hash(
    make: Callable[..., Release], identity: Identity, tmp_path: Path
) -> None:
    release = make(parent="bills@00000000")
    assert (release.id, release.manifest.digest) == identity
    assert release.folder == tmp_path / "releases" / "bills" / identity.digest[:8]
    assert release.folder == release_folder(tmp_path, release.id)
    assert release.manifest.parent == "bills@00000000"
    assert release.manifest.label_source == "frontier"


def test_what_was_written_is_what_is_read(
    make: Callable[..., Release], tiny_tagger_folder: Path
) -> None:
    written = make()
    read = Release.load(written.folder)
    assert read == written
    assert read.head == head()
    assert read.certificate == written.certificate
    assert Tagger.load(read.student, device="cpu").predict([TEXT]) == Tagger.load(
        tiny_tagger_folder, device="cpu"
    ).predict([TEXT])


def test_a_certificate_that_accepts_nothing_is_kept_as_such(
    make: Callable[..., Release], identity: Identity
) -> None:
    nothing = certify_joint([0.9] * 10, [False] * 10, Risk()).bind(identity.id, "frontier")
    assert math.isinf(nothing.threshold)
    read = Release.load(make(certificate=nothing).folder).certificate
    assert read is not None
    assert not read.accepts(1.0)


@pytest.mark.parametrize("changed", ["parts", "student", "head", "agent"])
def test_whatever_shapes_an_answer_makes_another_id(
    changed: str, tiny_tagger_folder: Path, identity: Identity, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"parts": PARTS, "student": tiny_tagger_folder, "head": head()}
    agent = "bills"
    if changed == "parts":
        given["parts"] = {**PARTS, "prompt": "Mark the fields!"}
    elif changed == "student":
        given["student"] = shutil.copytree(tiny_tagger_folder, tmp_path / "other")
        (given["student"] / "vocab.txt").write_text("other", "utf-8")
    elif changed == "head":
        given["head"] = head(0.01)
    else:
        agent = "receipts"
    assert identify(agent, **given).digest != identity.digest


def test_time_and_certificate_are_no_part_of_the_id(
    make: Callable[..., Release], identity: Identity
) -> None:
    assert make(certificate=None, created_at=datetime(2020, 1, 1, tzinfo=UTC)).id == identity.id


def test_a_release_is_never_written_over(make: Callable[..., Release], identity: Identity) -> None:
    first = make()
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    second = make(certificate=certificate(identity.id, errors=1))
    assert second == first
    after = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    assert after == before


def test_nothing_is_left_behind_where_a_release_is_refused(
    make: Callable[..., Release], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError):
        make(certificate=certificate("bills@00000000"))
    assert list((tmp_path / "releases" / "bills").iterdir()) == []


@pytest.mark.parametrize("bound", ["", "bills@00000000"])
def test_a_certificate_of_another_release_is_refused(
    make: Callable[..., Release], bound: str
) -> None:
    with pytest.raises(WeightsError, match="proves nothing for release"):
        make(certificate=certificate(bound))


def test_a_certificate_without_a_head_is_refused(
    make: Callable[..., Release], tiny_tagger_folder: Path
) -> None:
    bare = identify("bills", parts=PARTS, student=tiny_tagger_folder, head=None)
    with pytest.raises(WeightsError, match="no confidence head"):
        make(head=None, certificate=certificate(bare.id))


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "confidence.json",
        "certificate.json",
        "student/model.safetensors",
        "student/tagger.json",
        "student/config.json",
        "student/tokenizer.json",
    ],
)
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_file_that_is_not_as_it_was_is_refused_by_name(
    make: Callable[..., Release], name: str, how: str
) -> None:
    folder = make().folder
    path = folder / name
    if how == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        place = content.rindex(b"0")  # stays JSON, stays safetensors
        content[place] = ord("1")
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=name.rpartition("/")[2]) as caught:
        Release.load(folder)
    assert "restore" in str(caught.value)


@pytest.mark.parametrize("name", ["extra.json", "student/extra.safetensors", "student/model.bin"])
def test_a_file_that_nobody_listed_is_refused(make: Callable[..., Release], name: str) -> None:
    folder = make().folder
    if name.endswith(".safetensors"):
        shutil.copyfile(folder / "student/model.safetensors", folder / name)
    else:
        (folder / name).write_bytes(b"{}")
    with pytest.raises(WeightsError, match=name.rpartition("/")[2]):
        Release.load(folder)


@pytest.mark.parametrize("name", ["weights.pkl", "pytorch_model.bin", "model.pt", "run.py", "a.so"])
def test_pickles_and_code_never_get_into_a_release(
    make: Callable[..., Release], tiny_tagger_folder: Path, tmp_path: Path, name: str
) -> None:
    student = shutil.copytree(tiny_tagger_folder, tmp_path / "student")
    (student / name).write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(WeightsError, match=name):
        make(student=student, certificate=None)


def test_a_pickle_under_a_trusted_name_is_refused(
    make: Callable[..., Release], tiny_tagger_folder: Path, tmp_path: Path
) -> None:
    student = shutil.copytree(tiny_tagger_folder, tmp_path / "student")
    (student / "model.safetensors").write_bytes(pickle.dumps(list(range(1000))))
    with pytest.raises(WeightsError, match="no safetensors"):
        make(student=student, certificate=None)


def test_links_are_refused(make: Callable[..., Release], tmp_path: Path) -> None:
    folder = make().folder
    secret = tmp_path / "secret.json"
    shutil.move(folder / "student/config.json", secret)
    (folder / "student/config.json").symlink_to(secret)
    with pytest.raises(WeightsError, match="is a link"):
        Release.load(folder)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd.json", "a/../../b.json", "a\\b"])
def test_a_manifest_cannot_point_outside_its_folder(
    make: Callable[..., Release], name: str
) -> None:
    release = make()
    files = {**release.manifest.files, name: "0" * 64}
    manifest = release.manifest.model_copy(update={"files": files}).sealed()
    (release.folder / "manifest.json").write_text(manifest.model_dump_json(), "utf-8")
    with pytest.raises(WeightsError, match="no file of the folder"):
        Release.load(release.folder)


def test_new_digests_do_not_make_other_weights_the_same_release(
    make: Callable[..., Release],
) -> None:
    release = make(certificate=None)
    path = release.folder / "student/tagger.json"
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    files = dict(release.manifest.files)
    other = identify("bills", parts=PARTS, student=release.student, head=head())
    assert other.id != release.id
    files["student/tagger.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = release.manifest.model_copy(update={"files": files}).sealed()
    (release.folder / "manifest.json").write_text(manifest.model_dump_json(), "utf-8")
    with pytest.raises(WeightsError, match="an id that its contents do not have"):
        Release.load(release.folder)


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"format": 1}', "[" * 100_000])
def test_nonsense_instead_of_a_manifest_is_refused(make: Callable[..., Release], text: str) -> None:
    folder = make().folder
    (folder / "manifest.json").write_text(text, "utf-8")
    with pytest.raises(WeightsError, match="is no manifest"):
        Release.load(folder)


def test_a_newer_format_says_what_to_install(make: Callable[..., Release]) -> None:
    folder = make().folder
    data = json.loads((folder / "manifest.json").read_text("utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**data, "format": 2}), "utf-8")
    with pytest.raises(WeightsError, match="newer Journeyman"):
        Release.load(folder)


def test_no_folder_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        Release.load(tmp_path / "nowhere")


@pytest.mark.parametrize("agent", ["", "../up", "a/b", "a b", "ä"])
def test_an_agent_whose_name_is_no_folder_is_refused(tmp_path: Path, agent: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        Release.write(tmp_path, agent, parts={}, student=None)


@pytest.mark.parametrize("release_id", ["bills", "bills@1234", "bills@../../../", "@12345678", ""])
def test_what_is_no_id_names_no_folder(tmp_path: Path, release_id: str) -> None:
    with pytest.raises(ConfigError):
        release_folder(tmp_path, release_id)


def test_parts_that_are_no_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="JSON-compatible"):
        Release.write(tmp_path, "bills", parts={"a": object()}, student=None)


def test_a_student_without_weights_has_a_release_too(tmp_path: Path) -> None:
    release = Release.write(tmp_path, "bills", parts=PARTS, student=None, head=head())
    assert release.weights_sha256 is None
    assert release.student.is_dir()
    assert Release.load(release.folder) == release
