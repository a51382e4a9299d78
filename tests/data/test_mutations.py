"""Mutated files of each format are read, or refused in lines of a fault each: no traceback, no wait, no file left."""

import time

import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.config.fields import ConfigError
from tests.data import mutations

_LONGEST = 10  # seconds


def outcome(name, target=""):
    """Reads a source; returns whether it was refused."""
    try:
        data.load(DataConfig(name=str(name), target=target, validation=0.2))
    except ConfigError as error:
        assert str(error).strip() and "Traceback" not in str(error)
        return True
    return False


def check(form, folder, number, seed):
    name, file = mutations.FORMATS[form](folder)
    sound, target = file.read_bytes(), "y" if name == file and file.suffix != ".npz" else ""
    assert outcome(name, target) == (form in ("feather", "jsonl"))
    before, faults = sorted(folder.iterdir()), []
    for place, content in enumerate(mutations.of(sound, number, seed)):
        file.write_bytes(content)
        began = time.monotonic()
        try:
            outcome(name, target)
        except BaseException as error:
            faults.append(f"{place}: {type(error).__name__}: {str(error)[:200]}")
        if time.monotonic() - began > _LONGEST:
            faults.append(f"{place}: {time.monotonic() - began:.0f} s")
    assert not faults, "\n".join(faults)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("form", mutations.FORMATS)
def test_few(form, tmp_path):
    check(form, tmp_path, 20, 0)


@pytest.mark.slow
@pytest.mark.parametrize("form", mutations.FORMATS)
def test_many(form, tmp_path):
    check(form, tmp_path, 500, 1)
