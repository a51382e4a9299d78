"""Definitions in files of the user's own, as in ``FILE.py:NAME``."""

import contextlib
import importlib.util
import os
import re
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of

NAMED = re.compile(r"(.+\.py):([A-Za-z_]\w*)", re.DOTALL)  # a file, and a name there
OWN_MODULE = "own_code_"  # beginning of the names of modules of the user's
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CHILDREN = 1.0  # seconds that forked children have to end, once a function of the user's has returned
Made = TypeVar("Made")
_Version = tuple[str, tuple[int, ...]]  # a path, and times of change
_LOADED: dict[_Version, object] = {}  # modules
_BESIDE: dict[Path, tuple[Path, ...]] = {}  # files of the modules beside a file that it imports
_KEPT: dict[tuple[_Version, str], Any] = {}  # results, by the function's name, too
# Errors of JAX where Python needs a number of a tracer.
_OF_TRACERS = (
    *("TracerBoolConversionError", "TracerArrayConversionError", "TracerIntegerConversionError"),
    "ConcretizationTypeError",
)


def returned(field: str, value: str, file: str, function: str) -> Any:
    """Returns the result of a function of the user's; see ``made``."""

    def called(found: Any) -> Any:
        if not callable(found):
            raise ConfigError(field, value, f"names {function}, which {Path(file).name} does not define")
        return found()

    return made(field, value, file, function, called)


def made(field: str, value: str, file: str, name: str, make: Callable[[Any], Made]) -> Made:
    """Returns what a function makes of a definition of the user's.

    Args:
      field: the field that names it, for an error.
      value: the field's value.
      file: path of a Python file.
      name: its name there.
      make: a function of what the file defines; of None where it defines nothing of the name.

    Raises:
      ConfigError: the file or the definition is not there, or fails.
    """
    path = path_of(field, file)
    if not path.is_file():
        raise ConfigError(field, value, f"names {path}, which is no file; give the path of a Python file")
    with blamed(field, value, path):
        return contained(lambda: make(getattr(_loaded(path), name, None)))


@contextlib.contextmanager
def blamed(field: str, value: str, path: Path) -> Iterator[None]:
    """Reports what code of the user's raises as a mistake in the field that names it.

    Raises:
      ConfigError: the block raised.
    """
    try:
        yield
    except (ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's file is code, and may fail, or try to leave, in any way
        raise ConfigError(field, value, f"fails with {failure(error, path)}") from None


class _LeftError(Exception):
    """Code of the user's that raised KeyboardInterrupt, or whose child process came back, as its message says."""


def contained(function: Callable[[], Made]) -> Made:
    """Returns the result of code of the user's; a process that it forks and that comes back here ends here.

    Raises:
      KeyboardInterrupt: a signal interrupted it.
      _LeftError: it raised that itself, or a child of it came back, which would have gone on as a second launch.
      BaseException: as it raises.
    """
    process, (reading, writing) = os.getpid(), os.pipe()
    with contextlib.ExitStack() as closing, _noting_signals() as noted:
        closing.callback(os.close, reading)
        try:
            return function()
        except SystemExit:
            if os.getpid() != process:  # a child that ends as it should
                os._exit(0)
            raise
        except KeyboardInterrupt as error:
            if noted or os.getpid() != process:
                raise
            raise _LeftError(f"KeyboardInterrupt {error}".strip()) from error
        finally:
            if os.getpid() != process:
                try:
                    os.write(writing, b"!")
                finally:  # even if it has closed all files
                    os._exit(1)
            os.close(writing)
            children = select.poll()  # which takes descriptors of any number
            children.register(reading, select.POLLIN)
            # Waits for children only, which hold the other end; none is a moment.
            if children.poll(1000 * _CHILDREN) and os.read(reading, 1):
                raise _LeftError("a forked process that returns, where it should end with os._exit") from None


@contextlib.contextmanager
def _noting_signals() -> Iterator[list[int]]:
    """Notes signals before their handlers act; outside the main thread, which none reaches, it notes nothing."""
    noted: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        before[number](number, frame)

    for number in before:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def failure(error: BaseException, path: Path) -> str:
    """Returns an error that a file of the user's raised, with the line of the file that it came from."""
    raised = error.__cause__ or error if isinstance(error, _LeftError) else error
    frames = [frame for frame in traceback.extract_tb(raised.__traceback__) if frame.filename == str(path)]
    line = frames[-1].lineno if frames else getattr(error, "lineno", None) or 1
    if type(raised).__name__ in _OF_TRACERS:
        words = "takes a traced number for a plain one; give its field a static type, as Count, or branch by jnp.where"
        return f"{type(raised).__name__}: it {words} ({path}:{line})"
    kind = "" if isinstance(error, _LeftError) else f"{type(error).__name__}: "
    return f"{kind}{error} ({path}:{line})"


def kept(field: str, value: str, file: str, function: str) -> Any:
    """Returns the result of a function of the user's, the same object until its file changes; see ``returned``."""
    path = path_of(field, file)
    if not path.is_file():
        return returned(field, value, file, function)  # which refuses it
    if (_version(path), function) not in _KEPT:
        made_now = returned(field, value, file, function)
        _KEPT[_version(path), function] = made_now  # whose modules beside it are known by now
    return _KEPT[_version(path), function]


def _version(path: Path) -> _Version:
    """Returns what changes with a file, or with modules beside it that it imports."""
    return str(path), tuple(file.stat().st_mtime_ns for file in (path, *_BESIDE.get(path, ())) if file.is_file())


def _loaded(path: Path) -> object:
    """Returns a file as a module, which is run once, and may import modules that lie beside it."""
    key = _version(path)
    if key not in _LOADED:
        name = f"{OWN_MODULE}{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader  # as for every file .py
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # so that dataclasses find where they are defined
        with _importing_beside(path):
            spec.loader.exec_module(module)
        _LOADED[_version(path)] = module
        return module
    return _LOADED[key]


@contextlib.contextmanager
def _importing_beside(path: Path) -> Iterator[None]:
    """Lets modules in a file's folder be imported, anew: they may be others by now, or have a name of another folder's.

    No bytecode is kept, which would hide an edit within a second.
    """
    for beside in _BESIDE.values():
        for name in [name for name, module in list(sys.modules.items()) if _file_of(module) in beside]:
            del sys.modules[name]
    others, folder, before = set(sys.modules), str(path.parent), sys.dont_write_bytecode
    importlib.invalidate_caches()
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(folder)
        files = [_file_of(module) for name, module in list(sys.modules.items()) if name not in others]
        _BESIDE[path] = tuple(file for file in files if file and file.parent == path.parent)


def _file_of(module: object) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if isinstance(file, str) else None
