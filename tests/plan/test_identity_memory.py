"""Fingerprints of programs are remembered as long as nothing that they were traced from has changed."""

import json
import os
import shutil
from pathlib import Path

import jax
import pytest

from pretrain.plan import identity
from pretrain.plan.identity import Fingerprints
from tests.plan.test_identity import planned_by, programs
from tests.small_sweep import FINGERPRINTS, path

HE = ({"finetune.encoder_init": ("he",)},)


@pytest.fixture
def remembered(experiment, tmp_path):
    """A plan whose programs are remembered, and where."""
    found = experiment(seeds=1)
    fingerprints = Fingerprints(tmp_path)
    made = planned_by(fingerprints, found)
    fingerprints.save()
    (memory,) = (tmp_path / "fingerprints").glob("*")
    return found, programs(made), memory


class Traced(Exception):
    pass


@pytest.fixture
def nothing_is_traced(monkeypatch):
    def refuse(*_):
        raise Traced

    monkeypatch.setattr(identity, "digest_of", refuse)


def test_remembered_fingerprints_are_not_traced_again(remembered, tmp_path, nothing_is_traced):
    found, expected, memory = remembered
    again = Fingerprints(tmp_path)
    assert programs(planned_by(again, found)) == expected
    memory.unlink()
    again.save()  # there is nothing new
    assert not memory.exists()
    for root in (tmp_path, tmp_path / "elsewhere", None):
        with pytest.raises(Traced):
            planned_by(Fingerprints(root), found)


def test_what_is_new_joins_what_is_remembered(remembered, experiment, tmp_path, monkeypatch):
    found, expected, _ = remembered
    other = experiment(seeds=1, encoder={"layers": (12, 5)})
    both = Fingerprints(tmp_path)
    more = programs(planned_by(both, other))
    both.save()
    monkeypatch.setattr(identity, "digest_of", None)
    again = Fingerprints(tmp_path)
    assert (programs(planned_by(again, found)), programs(planned_by(again, other))) == (expected, more)


def test_a_memory_of_other_code_is_not_read(remembered, tmp_path, monkeypatch, nothing_is_traced):
    found, _, _ = remembered
    monkeypatch.setattr(identity, "_sources", lambda: "other")
    with pytest.raises(Traced):
        planned_by(Fingerprints(tmp_path), found)


def falsified(text):
    """A memory with one fingerprint changed."""
    content = json.loads(text)
    key = min(content["known"])
    return json.dumps({**content, "known": {**content["known"], key: "0" * 64}})


DAMAGES = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "cut by a byte": lambda text: text[:-1],
    "another value": falsified,
    "a flipped bit": lambda text: text[:-10] + chr(ord(text[-10]) ^ 1) + text[-9:],
    "a list": lambda text: "[]",
    "null": lambda text: "null",
    "no checksum": lambda text: json.dumps({"known": json.loads(text)["known"]}),
    "no fingerprints": lambda text: json.dumps({"checksum": "0", "known": 3}),
    "no text": lambda text: b"\xff\xfe\x00",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_memory_is_ignored_and_replaced(damage, experiment, tmp_path, monkeypatch):
    found = experiment(sweep=HE, seeds=1)
    expected = programs(planned_by(FINGERPRINTS, found))
    first = Fingerprints(tmp_path)
    planned_by(first, found)
    first.save()
    (memory,) = (tmp_path / "fingerprints").glob("*")
    sound = memory.read_text()
    damaged = DAMAGES[damage](sound)
    memory.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    assert identity._read(memory) == {}
    again = Fingerprints(tmp_path)
    assert programs(planned_by(again, found)) == expected
    again.save()
    assert json.loads(memory.read_text()) == json.loads(sound)
    assert [path.name for path in memory.parent.iterdir()] == [memory.name]


def test_a_store_that_cannot_be_written_remembers_nothing(experiment, tmp_path):
    found = experiment(sweep=HE, seeds=1)
    (tmp_path / "file").write_text("no directory")
    fingerprints = Fingerprints(tmp_path / "file")
    assert programs(planned_by(fingerprints, found)) == programs(planned_by(FINGERPRINTS, found))
    fingerprints.save()
    assert (tmp_path / "file").read_text() == "no directory"


def test_sources_versions_and_settings_of_jax_name_the_memory(tmp_path, monkeypatch):
    def named():
        return identity._sources.__wrapped__()

    before, copy = named(), tmp_path / "elsewhere"
    shutil.copytree(Path(identity.__file__).parents[1], copy, ignore=shutil.ignore_patterns("*.npz", "__pycache__"))
    monkeypatch.setattr(identity, "__file__", str(copy / "plan" / "identity.py"))
    assert named() == before  # wherever they lie
    for name in ("learn/methods/rbm.py", "config/kinds.py", "execute/execute.py", "store/store.py", "__init__.py"):
        changed = copy / name
        text = changed.read_text()
        changed.write_text(text + "# one line more\n")
        assert named() != before
        changed.write_text(text)
    (copy / "new.py").write_text("")
    assert named() != before
    (copy / "new.py").unlink()
    with jax.default_matmul_precision("highest"):
        assert named() != before
    assert named() == before
    for package in identity.PACKAGES:
        with monkeypatch.context() as patched:
            patched.setattr(identity, "version", lambda name, package=package: "0" if name == package else "1")
            changed = named()
            patched.setattr(identity, "version", lambda name: "1")
            assert named() != changed


OWN = """
import flax.linen as nn


class Scaled(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(6)(inputs.reshape(len(inputs), -1)) * 0.5


def layer():
    return Scaled()
"""


def test_layers_of_the_users_own_are_always_traced(experiment, tmp_path, monkeypatch):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    found = experiment(seeds=1, sweep=(), encoder={"layers": (f"{file}:layer",)})
    first = Fingerprints(tmp_path)
    before = planned_by(first, found)
    first.save()
    assert not (tmp_path / "fingerprints").exists()
    with monkeypatch.context() as patched:
        patched.setattr(identity, "digest_of", lambda *_: "traced")
        again = planned_by(Fingerprints(tmp_path), found)
    assert not {*programs(again).values()} & {*programs(before).values()}
    assert programs(planned_by(Fingerprints(tmp_path), found)) == programs(before)

    def after(old, new, later):
        file.write_text(OWN.replace(old, new))
        os.utime(file, (later, later))
        return [job.program for job in path(planned_by(Fingerprints(tmp_path), found))]

    # The words are the same, and so it is the program that shows what has changed.
    expected = [job.program for job in path(before)]
    assert after("Scaled", "Scaled", 1e9) == expected
    assert not {*after("* 0.5", "* 0.6", 2e9)} & {*expected}
