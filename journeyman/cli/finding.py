"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "optional", "missing", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: What.
        status: `ok`; `optional`: not there, and nothing needs it; `missing`; `wrong`.
        detail: What was seen.
        mend: The command, or the line to write, that mends it; empty where nothing is to be done.
    """

    name: str
    status: Status
    detail: str
    mend: str = ""
