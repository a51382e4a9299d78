"""Functions in files of the user's own, as in ``FILE.py:FUNCTION``."""

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of

_LOADED: dict[tuple[str, int], object] = {}  # modules, by path and time of change
_KEPT: dict[tuple[str, int, str], Any] = {}  # results, by these and the function's name


def returned(field: str, value: str, file: str, function: str) -> Any:
    """Returns the result of a function of the user's.

    Args:
      field: the field that names it, for an error.
      value: the field's value.
      file: path of a Python file.
      function: its name there.

    Raises:
      ConfigError: the file or function is not there, or fails.
    """
    path = path_of(field, file)
    if not path.is_file():
        raise ConfigError(field, value, f"names {path}, which is no file; give the path of a Python file")
    try:
        called = getattr(_loaded(path), function, None)
        if not callable(called):
            raise ConfigError(field, value, f"names {function}, which {path.name} does not define")
        return called()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # a user's file is code, and may fail in any way
        raise ConfigError(field, value, f"fails with {failure(error, path)}") from None


def failure(error: BaseException, path: Path) -> str:
    """Returns an error that a file of the user's raised, with the line of the file that it came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = frames[-1].lineno if frames else getattr(error, "lineno", None) or 1
    return f"{type(error).__name__}: {error} ({path}:{line})"


def kept(field: str, value: str, file: str, function: str) -> Any:
    """Returns the result of a function of the user's, the same object until its file changes; see ``returned``."""
    path = path_of(field, file)
    if not path.is_file():
        return returned(field, value, file, function)  # which refuses it
    key = *_version(path), function
    if key not in _KEPT:
        _KEPT[key] = returned(field, value, file, function)
    return _KEPT[key]


def _version(path: Path) -> tuple[str, int]:
    return str(path), path.stat().st_mtime_ns


def _loaded(path: Path) -> object:
    """Returns a file as a module, which is run once."""
    key = _version(path)
    if key not in _LOADED:
        name = f"own_code_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader  # as for every file .py
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # so that dataclasses find where they are defined
        spec.loader.exec_module(module)
        _LOADED[key] = module
    return _LOADED[key]
