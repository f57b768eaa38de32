"""Loading models without the progress bars that transformers draws for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Switch transformers' bars off for a while; a library that loads a student prints nothing.

    The switch belongs to the whole process, so two threads that load at once may see each other's
    setting; the worst that comes of it is a bar.
    """
    from transformers.utils import logging as transformers_logging

    if not transformers_logging.is_progress_bar_enabled():
        yield
        return
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
