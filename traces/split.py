"""Which part a group belongs to, for ever: teach, fit the confidence head, or certify.

A pure function of group and salt, so that a group falls on the same side in every later round and
on every machine. It knows nothing of what was recorded; `examples.ExampleStore` remembers, for the
day on which somebody changes the shares.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from journeyman.models.errors import ConfigError
from journeyman.models.types import canonical_json
from journeyman.traces.labels import Part

SALT = "journeyman"
"""Of the split; never change it within a project."""

_BITS = 53  # as many as a float holds exactly


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the groups; the rest, more than nothing, teaches.

    Attributes:
        calibration: Share that certifies, in [0, 1).
        head: Share that the confidence head is fitted on, in [0, 1).
    """

    calibration: float = 0.2
    head: float = 0.1

    def __post_init__(self) -> None:
        if not (self.calibration >= 0 and self.head >= 0 and self.calibration + self.head < 1):
            raise ConfigError(
                f"Shares of {self.calibration!r} for calibration and {self.head!r} for the head "
                "leave nothing to teach: give shares from 0 that sum to less than 1."
            )


def part_of(group: str, salt: str, shares: Shares) -> Part:
    """The part that a group belongs to.

    Raising the calibration share moves groups out of the other parts and never back.

    Args:
        group: Hash of the content that must not be split.
        salt: One for each project; another salt splits otherwise.
        shares: Shares of the groups.
    """
    key = canonical_json(["split", salt, group]).encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> (64 - _BITS)
    position = number / 2**_BITS
    if position < shares.calibration:
        return "calibration"
    return "head" if position < shares.calibration + shares.head else "train"
