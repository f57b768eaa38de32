"""A group is on one side for ever, and sides have the sizes that were asked for."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.errors import ConfigError
from journeyman.traces.split import Shares, part_of

SHARES = st.builds(Shares, calibration=st.floats(0, 0.5), head=st.floats(0, 0.4))


def test_the_split_is_what_it_was_in_every_earlier_version() -> None:
    """Changing this sends taught groups to the side that certifies."""
    found = [part_of(f"group {i}", "salt", Shares(0.2, 0.1)) for i in range(12)]
    assert "".join(part[0] for part in found) == "ctttttttttct"


def test_another_process_splits_alike() -> None:
    script = (
        "from journeyman.traces.split import Shares, part_of\n"
        "print(''.join(part_of(str(i), 's', Shares())[0] for i in range(200)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    here = "".join(part_of(str(i), "s", Shares())[0] for i in range(200))
    assert done.stdout.strip() == here


@given(st.text(), st.text(), st.floats(0, 0.3), st.floats(0, 0.3))
def test_a_larger_calibration_share_never_sends_a_group_back_to_teach(
    group: str, salt: str, share: float, more: float
) -> None:
    if part_of(group, salt, Shares(share, 0)) == "calibration":
        assert part_of(group, salt, Shares(share + more, 0.1)) == "calibration"


@given(st.text(), st.text(), SHARES)
def test_the_same_group_and_salt_are_on_the_same_side(
    group: str, salt: str, shares: Shares
) -> None:
    assert part_of(group, salt, shares) == part_of(group, salt, shares)


def test_shares_come_out_as_asked() -> None:
    found = Counter(part_of(str(i), "s", Shares(0.2, 0.1)) for i in range(20_000))
    assert found["calibration"] / 20_000 == pytest.approx(0.2, abs=0.01)
    assert found["head"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_another_salt_splits_otherwise() -> None:
    sides = [[part_of(str(i), salt, Shares()) for i in range(100)] for salt in ("a", "b")]
    assert sides[0] != sides[1]


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.6, 0.4), (-0.1, 0.0), (float("nan"), 0.0)])
def test_shares_that_leave_nothing_to_teach_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="leave nothing to teach"):
        Shares(*shares)
