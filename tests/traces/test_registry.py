"""Releases on record: promoted and rolled back whole, suspended and resumed, and followed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from journeyman.models.certificate import Certificate, certify_joint
from journeyman.models.confidence import ConfidenceHead
from journeyman.models.errors import ConfigError, TraceError, WeightsError
from journeyman.models.release import Release, identify
from journeyman.models.types import Risk
from journeyman.traces import migrate
from journeyman.traces.registry import Registry
from journeyman.traces.store import Store
from tests.traces.conftest import Target

HEAD = ConfidenceHead.fit([{"p": i / 50} for i in range(50)], [i > 20 for i in range(50)])
RISK = Risk(max_error=0.1)

Make = Callable[..., Release]


def certificate(release: str, num_labels: int = 100) -> Certificate:
    scores = [0.5 + i / 400 for i in range(num_labels)]
    return certify_joint(scores, [False] * num_labels, RISK).bind(release, "frontier")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def registry(store: Store, data: Path) -> Registry:
    return Registry(store, data)


@pytest.fixture
def make(data: Path, tmp_path: Path) -> Make:
    """Releases that differ in one small file."""

    def write(name: str, agent: str = "bills", *, certified: bool = True) -> Release:
        student = tmp_path / f"student-{name}"
        student.mkdir(exist_ok=True)
        (student / "facts.json").write_text(f'{{"name": "{name}"}}', "utf-8")
        parts = {"version": "1"}
        bound = identify(agent, parts=parts, student=student, head=HEAD).id
        return Release.write(
            data,
            agent,
            parts=parts,
            student=student,
            head=HEAD,
            certificate=certificate(bound) if certified else None,
        )

    return write


@pytest.fixture
def two(registry: Registry, make: Make) -> tuple[str, str]:
    """Two registered releases of `bills`."""
    first, second = make("first"), make("second")
    registry.register(first)
    registry.register(second)
    return first.id, second.id


def test_a_registered_release_is_a_candidate_with_its_certificate(
    registry: Registry, make: Make, data: Path
) -> None:
    release = make("first")
    entry = registry.register(release, round_id="r", metrics={"quality": 0.9})
    assert entry == registry.get(release.id)
    assert (entry.status, entry.round_id, entry.metrics) == ("candidate", "r", {"quality": 0.9})
    assert entry.folder == release.folder
    assert entry.weights_sha256 == release.weights_sha256
    assert entry.newest is not None
    assert entry.newest.certificate == release.certificate
    assert registry.active("bills") is None


def test_registering_twice_changes_nothing(registry: Registry, make: Make) -> None:
    release = make("first")
    registry.register(release)
    registry.promote("bills", release.id)
    before = registry.get(release.id)
    assert registry.register(release, metrics={"other": 1}) == before


def test_a_release_elsewhere_is_refused(store: Store, make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="outside the data"):
        Registry(store, tmp_path / "elsewhere").register(make("first"))


def test_a_certificate_that_accepts_nothing_survives_the_record(
    registry: Registry, two: tuple[str, str]
) -> None:
    nothing = certificate(two[0], num_labels=10)
    assert not nothing.is_feasible
    registry.certify(nothing)
    newest = registry.get(two[0]).newest
    assert newest is not None
    assert newest.certificate == nothing


def test_promoting_retires_the_release_before(registry: Registry, two: tuple[str, str]) -> None:
    first, second = two
    registry.promote("bills", first)
    registry.promote("bills", second, reason="better")
    active = registry.active("bills")
    assert active is not None
    assert active.id == second
    assert registry.get(first).status == "retired"
    assert registry.get(first).retired_at is not None
    changes = registry.history("bills")
    assert [(c.version, c.action, c.release, c.previous) for c in changes] == [
        (1, "promote", first, None),
        (2, "promote", second, first),
    ]
    assert changes[1].reason == "better"


def test_promoting_what_is_in_traffic_does_nothing(
    registry: Registry, two: tuple[str, str]
) -> None:
    version = registry.promote("bills", two[0])
    assert registry.promote("bills", two[0]) == version
    assert len(registry.history("bills")) == 1


def test_rollbacks_go_back_step_by_step_and_then_to_the_cold_start(
    registry: Registry, make: Make
) -> None:
    ids = [make(name).id for name in "abc"]
    for name, release_id in zip("abc", ids, strict=True):
        registry.register(make(name))
        registry.promote("bills", release_id)
    seen = [registry.rollback("bills") for _ in ids]
    assert [entry and entry.id for entry in seen] == [ids[1], ids[0], None]
    with pytest.raises(ConfigError, match="no release in traffic"):
        registry.rollback("bills")


def test_a_rollback_after_a_promotion_after_a_rollback(registry: Registry, make: Make) -> None:
    a, b, c = (make(name) for name in "abc")
    for release in (a, b, c):
        registry.register(release)
    registry.promote("bills", a.id)
    registry.promote("bills", b.id)
    registry.rollback("bills")
    registry.promote("bills", c.id)
    back = registry.rollback("bills")
    assert back is not None
    assert back.id == a.id


def test_a_rollback_keeps_when_a_release_first_took_traffic(
    registry: Registry, two: tuple[str, str]
) -> None:
    registry.promote("bills", two[0])
    first = registry.get(two[0]).promoted_at
    registry.promote("bills", two[1])
    registry.rollback("bills")
    assert registry.get(two[0]).promoted_at == first
    assert registry.get(two[0]).retired_at is None


def test_agents_do_not_meddle(registry: Registry, make: Make, two: tuple[str, str]) -> None:
    other = make("first", "receipts")
    registry.register(other)
    registry.promote("bills", two[0])
    registry.promote("receipts", other.id)
    registry.rollback("receipts")
    assert registry.versions() == {"bills": 1, "receipts": 2}
    active = registry.active("bills")
    assert active is not None
    assert active.id == two[0]
    with pytest.raises(ConfigError, match="belongs to 'receipts'"):
        registry.promote("bills", other.id)


def test_what_changed_on_disk_is_not_promoted(
    registry: Registry, make: Make, two: tuple[str, str]
) -> None:
    registry.promote("bills", two[0])
    (registry.get(two[1]).folder / "student" / "facts.json").write_text("{}", "utf-8")
    with pytest.raises(WeightsError, match=r"facts\.json"):
        registry.promote("bills", two[1])
    active = registry.active("bills")
    assert active is not None
    assert active.id == two[0]


def test_another_release_in_its_folder_is_not_taken_for_it(
    registry: Registry, two: tuple[str, str]
) -> None:
    first, second = (registry.get(release_id).folder for release_id in two)
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    with pytest.raises(WeightsError, match="another release"):
        registry.load(two[0])


def test_an_unknown_release_says_where_to_look(registry: Registry) -> None:
    for call in (registry.get, registry.load, registry.reject):
        with pytest.raises(TraceError, match="journeyman releases list"):
            call("bills@00000000")


def test_a_release_is_found_by_the_start_of_its_id(
    registry: Registry, two: tuple[str, str]
) -> None:
    assert registry.get(two[0][:-2]).id == two[0]
    with pytest.raises(TraceError, match="More than one"):
        registry.get("bills@")


def test_a_rejected_candidate_says_so_but_one_in_traffic_does_not(
    registry: Registry, two: tuple[str, str]
) -> None:
    registry.promote("bills", two[0])
    for release_id in two:
        registry.reject(release_id)
    assert [registry.get(release_id).status for release_id in two] == ["active", "rejected"]


# Trust


def test_suspending_and_resuming_raise_the_version_once(
    registry: Registry, two: tuple[str, str]
) -> None:
    registry.promote("bills", two[0])
    assert registry.suspend("bills", two[0], "looks odd") == 2
    assert registry.suspend("bills", two[0], "again") == 2
    entry = registry.get(two[0])
    assert entry.is_suspended
    assert entry.newest is not None
    assert entry.newest.withdrawn_reason == "looks odd"
    assert registry.resume("bills", two[0]) == 3
    assert registry.resume("bills", two[0]) == 3
    assert not registry.get(two[0]).is_suspended
    assert [c.action for c in registry.history("bills")] == ["promote", "suspend", "resume"]


def test_a_newer_certificate_ends_a_suspension(registry: Registry, two: tuple[str, str]) -> None:
    registry.suspend("bills", two[0], "drift")
    newer = certificate(two[0], num_labels=200)
    registry.certify(newer)
    entry = registry.get(two[0])
    assert not entry.is_suspended
    assert entry.newest is not None
    assert entry.newest.certificate == newer


def test_a_certificate_for_nothing_on_record_is_refused(registry: Registry) -> None:
    with pytest.raises(TraceError, match="no release"):
        registry.certify(certificate("bills@00000000"))
    unbound = certify_joint([0.9] * 100, [False] * 100, RISK)
    with pytest.raises(ConfigError, match="label source"):
        registry.certify(unbound)


def test_enough_wrong_audits_suspend_the_release_and_say_why(
    registry: Registry, two: tuple[str, str]
) -> None:
    registry.promote("bills", two[0])
    newest = registry.get(two[0]).newest
    assert newest is not None
    states = [registry.audited(newest.id, wrong=True) for _ in range(20)]
    assert [state.suspended for state in states if state is not None].count(True) == 1
    entry = registry.get(two[0])
    assert entry.is_suspended
    assert entry.newest is not None
    assert "drift alarm" in (entry.newest.withdrawn_reason or "")
    assert registry.history("bills")[-1].action == "suspend"
    # Said once, and forgotten when a person resumes it.
    again = registry.audited(newest.id, wrong=True)
    assert again is not None
    assert not again.suspended
    registry.resume("bills", two[0])
    assert registry.drift(newest.id) is None


def test_right_audits_suspend_nothing(registry: Registry, two: tuple[str, str]) -> None:
    newest = registry.get(two[0]).newest
    assert newest is not None
    for _ in range(50):
        registry.audited(newest.id, wrong=False)
    detector = registry.drift(newest.id)
    assert detector is not None
    assert (detector.num_audits, detector.num_wrong) == (50, 0)
    assert not registry.get(two[0]).is_suspended


def test_the_detector_goes_on_after_a_restart(
    target: Target, store: Store, data: Path, registry: Registry, two: tuple[str, str]
) -> None:
    newest = registry.get(two[0]).newest
    assert newest is not None
    first = registry.audited(newest.id, wrong=True)
    with Store.open(target) as other:
        second = Registry(other, data).audited(newest.id, wrong=True)
    assert first is not None
    assert second is not None
    assert second.detector.num_audits == 2
    assert second.detector.level > first.detector.level


# Several at once


def test_two_processes_promoting_at_once_leave_one_consistent_history(
    target: Target, store: Store, data: Path, registry: Registry, two: tuple[str, str]
) -> None:
    program = Path(__file__).with_name("promoting.py")
    rounds = 30
    processes = [
        subprocess.Popen(
            [sys.executable, program, target, data, "bills", str(rounds), *order],
            stderr=subprocess.PIPE,
        )
        for order in (two, two[::-1])
    ]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
    changes = registry.history("bills")
    assert [change.version for change in changes] == list(range(1, len(changes) + 1))
    # Each change starts from where the one before it ended.
    assert [c.previous for c in changes[1:]] == [c.release for c in changes[:-1]]
    active = registry.active("bills")
    assert (active.id if active else None) == changes[-1].release
    statuses = [entry.status for entry in registry.releases("bills")]
    assert statuses.count("active") <= 1


# The migration


def test_an_older_store_is_brought_up_with_its_rows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "SCHEMA_HEAD", "0001_initial")
    insert = text(
        "INSERT INTO certificates (id, release_id, kind, max_error, delta, n, k, threshold,"
        " coverage, label_source, data_hash, created_at) VALUES ('c', 'bills@00000000', 'joint',"
        " .05, .05, 200, 3, .5, .4, 'frontier', '', '2026-01-01T00:00:00.000000Z')"
    )
    release = text(
        "INSERT INTO releases (id, agent, status, created_at, student_kind, base_model, path,"
        " num_bytes, metrics) VALUES ('bills@00000000', 'bills', 'active',"
        " '2026-01-01T00:00:00.000000Z', 'tagger', '', 'releases/bills/00000000', 1, '{}')"
    )
    with Store.open(path) as old:
        old.transact(lambda c: (c.execute(release), c.execute(insert)))
    monkeypatch.undo()
    with Store.open(path) as new:
        newest = Registry(new, path.parent).get("bills@00000000").newest
    assert newest is not None
    assert (newest.certificate.num_accepted, newest.certificate.num_wrong) == (80, 3)
