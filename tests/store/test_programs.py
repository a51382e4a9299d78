"""Compiled programs are found again if this user sealed them for this machine, and no others are."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from pretrain.config.digests import sha256
from pretrain.store import programs
from pretrain.store.programs import Programs

SECRET = bytes(range(32))


@pytest.fixture
def kept(tmp_path):
    made = Programs(tmp_path / "programs", SECRET)
    for key in ("a", "b"):
        made.put(key, key.encode() * 100)
    return made


def files(kept):
    return sorted(path.name for path in kept._path.iterdir())


def test_devices_in_use_stay_as_they_are():
    n_devices, settings = jax.device_count(), jax.config.values["jax_num_cpu_devices"]
    programs.prepare_devices(n_devices + 1)
    assert (jax.device_count(), jax.config.values["jax_num_cpu_devices"]) == (n_devices, settings)


def test_sealed_programs_are_kept(kept):
    assert kept.get("a") == b"a" * 100 and kept.get("c") is None
    assert files(kept) == ["a-program", "b-program"]


def test_the_time_that_programs_take_to_compile_is_measured(tmp_path, monkeypatch):
    root = tmp_path / "programs"
    assert programs.compile_seconds(root) is None
    clock = iter((10.0, 13.0, 20.0, 21.0))
    monkeypatch.setattr(programs.time, "perf_counter", lambda: next(clock))
    made = Programs(root / programs._fingerprint() / "mine", SECRET)
    for key in ("a", "b"):
        assert made.get(key) is None
        made.put(key, b"program")
    assert programs.compile_seconds(root) == 2.0
    (root / programs._fingerprint() / "seconds").write_text("soon")
    assert programs.compile_seconds(root) is None


def test_every_flipped_bit_is_found(kept):
    victim = kept._path / "a-program"
    sound = victim.read_bytes()
    for place in range(0, len(sound), 11):
        victim.write_bytes(sound[:place] + bytes([sound[place] ^ 4]) + sound[place + 1 :])
        assert kept.get("a") is None and files(kept) == ["b-program"]
        kept.put("a", b"a" * 100)
        assert kept.get("a") == b"a" * 100


@pytest.mark.parametrize("content", [b"", b"a" * 10, b"\0" * 200])
def test_truncated_programs_and_those_of_others_are_removed(content, kept):
    (kept._path / "a-program").write_bytes(content)
    (kept._path / "c-program").write_bytes((kept._path / "b-program").read_bytes())  # sealed under another key
    assert kept.get("a") is None and kept.get("c") is None
    assert files(kept) == ["b-program"]


def test_a_seal_takes_the_secret(kept):
    forger = Programs(kept._path, bytes(32))
    forger.put("a", b"other code")
    assert kept.get("a") is None


def test_programs_of_another_machine_are_none_of_this_one(kept, monkeypatch):
    monkeypatch.setattr(programs, "_fingerprint", lambda: "another")
    assert kept.get("a") is None


def test_what_cannot_be_read_or_written_is_compiled(kept, tmp_path):
    (kept._path / "a-program").unlink()
    os.mkfifo(kept._path / "a-program")
    assert kept.get("a") is None
    (tmp_path / "file").write_text("")
    nowhere = Programs(tmp_path / "file", SECRET)
    nowhere.put("a", b"a")
    assert nowhere.get("a") is None


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    programs._secret.cache_clear()
    yield tmp_path / "state" / "pretrain" / "programs.key"
    programs._secret.cache_clear()


def secret():
    programs._secret.cache_clear()
    return programs._secret().key


def test_a_secret_is_made_once_and_for_its_user_alone(home):
    made = secret()
    assert secret() == made == home.read_bytes() and len(made) == 32
    assert home.stat().st_mode & 0o777 == 0o600 and [path.name for path in home.parent.iterdir()] == [home.name]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("fault", ["readable", "empty", "short", "long", "pipe"])
def test_a_secret_that_others_may_know_is_made_anew(fault, links, home, monkeypatch):
    made = secret()
    home.unlink()
    if fault == "pipe":
        os.mkfifo(home)
    else:
        home.write_bytes({"readable": made, "empty": b"", "short": made[:5], "long": made * 2}[fault])
        home.chmod(0o644 if fault == "readable" else 0o600)
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: os.stat("/no/links"))
    assert made != secret() == secret() == home.read_bytes() and home.stat().st_mode & 0o777 == 0o600
    home.unlink()
    assert secret() == home.read_bytes() and [path.name for path in home.parent.iterdir()] == [home.name]


def test_processes_that_start_at_once_have_one_secret(home):
    line = "from pretrain.store import programs; print(programs._secret().key.hex())"
    started = [subprocess.Popen([sys.executable, "-c", line], stdout=subprocess.PIPE) for _ in range(3)]
    assert len({process.communicate()[0] for process in started}) == 1


@pytest.mark.parametrize("fault", ["folder", "file", "relative"])
def test_programs_of_a_process_with_a_secret_of_its_own_are_not_kept(fault, home, tmp_path, monkeypatch):
    if fault == "folder":
        home.mkdir(parents=True)
    elif fault == "file":
        home.parent.parent.write_text("")
    else:
        monkeypatch.setenv("XDG_STATE_HOME", "state")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # of a user whom the system does not know
        monkeypatch.chdir(tmp_path)
    settings = {}
    monkeypatch.setattr(programs.jax.config, "update", settings.__setitem__)
    monkeypatch.setattr(programs.compilation_cache, "get_file_cache", None)
    assert len(secret()) == 32 and secret() != secret()
    programs.prepare(tmp_path / "programs")
    assert settings["jax_persistent_cache_min_compile_time_secs"] == float("inf")
    assert fault != "relative" or not list(tmp_path.iterdir())


def test_another_jax_keeps_no_programs(tmp_path, monkeypatch):
    settings = {}
    monkeypatch.setattr(programs.jax.config, "update", settings.__setitem__)
    for other in (None, object()):
        monkeypatch.setattr(programs, "compilation_cache", other)
        programs.prepare(tmp_path)
    assert not settings


COMPILE = """
import sys
from pathlib import Path
import jax
from pretrain.store import programs
programs.prepare(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
got = []
get = programs.Programs.get
programs.Programs.get = lambda self, key: got.append(get(self, key)) or got[-1]
print(float(jax.jit(lambda x: x * 2 + 1)(20.5)), sum(each is not None for each in got))
"""


def compiled(root):
    environment = {**os.environ, "PYTHONPATH": str(Path(programs.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", COMPILE, root], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and not done.stderr, done.stderr
    value, n_found = done.stdout.split()
    assert float(value) == 42
    return int(n_found)


def test_jax_runs_sealed_programs_alone(tmp_path):
    assert compiled(tmp_path) == 0
    n = compiled(tmp_path)
    assert n > 0
    for file in tmp_path.glob("*/*/*-program"):
        content = file.read_bytes()
        file.write_bytes(bytes.fromhex(sha256(content[32:])) + content[32:])  # as whoever knows no secret would seal it
    assert compiled(tmp_path) == 0
    assert compiled(tmp_path) == n


def test_programs_that_cannot_be_kept_are_only_read(tmp_path, monkeypatch):
    settings = {}
    monkeypatch.setattr(programs.jax.config, "update", settings.__setitem__)
    monkeypatch.setattr(programs.compilation_cache, "get_file_cache", None)
    programs.prepare(tmp_path, keep=False)
    assert settings["jax_compilation_cache_dir"].startswith(str(tmp_path))
    assert settings["jax_persistent_cache_min_compile_time_secs"] == float("inf")
    settings.clear()
    monkeypatch.delattr(programs.compilation_cache, "get_file_cache")
    programs.prepare(tmp_path)
    assert not settings


def test_programs_of_another_version_or_machine_lie_elsewhere(tmp_path, monkeypatch):
    before = programs._fingerprint()
    (tmp_path / before).mkdir()
    programs._fingerprint.cache_clear()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert programs._fingerprint() != before
    assert programs.stale(tmp_path) == [tmp_path / before]
    programs._fingerprint.cache_clear()
