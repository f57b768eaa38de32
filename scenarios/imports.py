"""Classes that a suite names: `module:Class`, or `file.py:Class` beside the suite.

Naming a class runs the code of its module, as importing it does.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from journeyman.models.errors import ConfigError
from journeyman.models.types import content_hash


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
    name = f"journeyman_suite_{path.stem}_{content_hash(str(path.resolve()), length=8)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    # As any import does: dataclasses and pydantic look there for what annotations name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
