"""Loading models without the bars and reports that transformers prints for each of them.

Whoever loads quietly checks for missing weights: transformers fills them with random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence transformers for a while; a library that loads a student prints nothing.

    The switches belong to the whole process, so two threads that load at once may see each other's
    settings; the worst that comes of it is a printed line.
    """
    from transformers.utils import logging as transformers_logging

    had_bars = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_bars:
            transformers_logging.enable_progress_bar()
