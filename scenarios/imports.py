"""Classes that a suite names: `module:Class`, or `file.py:Class` beside the suite.

Naming a class runs the code of its module, as importing it does.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from journeyman.models.errors import ConfigError


def load_name(written: str, folder: Path) -> Any:
    """What a suite in `folder` names; None where its module has no such name.

    Raises:
        ConfigError: The module cannot be imported. Names no line: the caller knows it.
    """
    source, _, name = written.rpartition(":")
    try:
        module = (
            _module_from(folder / source)
            if source.endswith(".py")
            else importlib.import_module(source)
        )
    except Exception as error:  # user code may raise anything
        told = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"Cannot import {source!r} ({told}); check the name, and that it is installed."
        ) from error
    return getattr(module, name, None)


def _module_from(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"journeyman_suite_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
