"""Compiled programs are found again if they are sealed and meant for this machine, and no others are."""

import json

import jax
import pytest

from pretrain.store import programs


@pytest.fixture(autouse=True)
def _leave_the_cache_as_it_is(monkeypatch):
    monkeypatch.setattr(programs.jax.config, "update", lambda name, value: None)


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / programs._fingerprint()
    path.mkdir()
    for name in ("a-cache", "b-cache"):
        (path / name).write_bytes(name.encode() * 100)
    programs.seal(tmp_path)
    return path


def left(directory):
    programs.prepare(directory.parent)
    return sorted(path.name for path in directory.glob("*-cache"))


def test_devices_in_use_stay_as_they_are(monkeypatch):
    monkeypatch.undo()
    n_devices, settings = jax.device_count(), jax.config.values["jax_num_cpu_devices"]
    programs.prepare_devices(n_devices + 1)
    assert (jax.device_count(), jax.config.values["jax_num_cpu_devices"]) == (n_devices, settings)


def test_sealed_programs_are_kept(directory):
    assert left(directory) == ["a-cache", "b-cache"]


def test_every_flipped_bit_is_found(directory):
    victim = directory / "a-cache"
    sound = victim.read_bytes()
    for place in range(0, len(sound), 97):
        victim.write_bytes(sound[:place] + bytes([sound[place] ^ 4]) + sound[place + 1 :])
        assert left(directory) == ["b-cache"]


def test_truncated_programs_and_those_that_a_killed_run_left_are_deleted(directory):
    (directory / "a-cache").write_bytes(b"a-cache")
    (directory / "c-cache").write_bytes(b"never sealed")
    assert left(directory) == ["b-cache"]


def test_programs_that_cannot_be_kept_are_read_if_all_are_sound_and_there(directory, tmp_path, monkeypatch):
    settings = {}
    monkeypatch.setattr(programs.jax.config, "update", settings.__setitem__)
    programs.prepare(tmp_path / "elsewhere", keep=False)
    (directory / "c-cache").write_bytes(b"never sealed")
    programs.prepare(tmp_path, keep=False)
    assert not settings and (directory / "c-cache").exists()
    (directory / "c-cache").unlink()
    programs.prepare(tmp_path, keep=False)
    assert settings["jax_compilation_cache_dir"] == str(directory)
    assert settings["jax_persistent_cache_min_compile_time_secs"] == float("inf")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", json.dumps({"a-cache": 3})])
def test_without_sound_seals_no_program_is_trusted(text, directory):
    (directory / "seals.json").write_text(text)
    assert left(directory) == []


def test_programs_of_another_version_or_machine_lie_elsewhere(directory, monkeypatch):
    before = programs._fingerprint()
    programs._fingerprint.cache_clear()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert programs._fingerprint() != before
    assert programs.stale(directory.parent) == [directory]
    programs._fingerprint.cache_clear()
