"""Whether the frontier can be asked at all, without asking."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from journeyman.graph.settings import FrontierSettings


def has_key(frontier: FrontierSettings) -> bool:
    """The key's variable is set, or the server is on this machine and may go without one."""
    if os.environ.get(frontier.api_key_env):
        return True
    host = urlsplit(frontier.base_url or "").hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")
