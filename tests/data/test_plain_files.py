"""Pipes, devices and files beyond memory are refused before they are opened, and files that change meanwhile named."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from pretrain.config.fields import ConfigError
from pretrain.config.own_code import contained
from pretrain.data import files, room
from tests.data.own_files import load, refused

NAMES = ("own.csv", "own.tsv", "own.parquet", "own.pq", "own.npz")


@pytest.mark.parametrize("name", [*NAMES, "X.npy"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device"])
def test_what_is_no_plain_file_is_not_opened(name, kind, tmp_path):
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "/dev/tty")
    if name == "X.npy":
        np.save(tmp_path / "y.npy", np.arange(9))
    refused(tmp_path if name == "X.npy" else path, "is no plain file", target="y" if name in NAMES[:4] else "")


def test_paths_with_a_nul_are_refused(tmp_path):
    for name in ("own\0.csv", "own.npz\0", "own\0"):
        refused(f"{tmp_path}/{name}", "NUL character")
    refused("cifar10", "data.dir", "NUL character", dir="own\0")


def test_sizes_are_checked_before_files_are_read(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1000, 50)), np.arange(1000) % 2
    np.savez(tmp_path / "own.npz", X=x, y=y)
    folder = tmp_path / "folder"
    folder.mkdir()
    np.save(folder / "X.npy", x)
    np.save(folder / "y.npy", y)
    table = pa.table({**{f"x{place}": x[:, place] for place in range(50)}, "y": y})
    pa.parquet.write_table(table, tmp_path / "own.parquet")
    pa.csv.write_csv(table, tmp_path / "own.csv")
    monkeypatch.setattr(room, "available", lambda with_swap: 500_000)
    for reader in ("read_npz", "read_npy"):
        monkeypatch.setattr(f"pretrain.data.formats.{reader}", lambda *_: pytest.fail("was read"))
    monkeypatch.setattr(pa.parquet, "read_table", lambda *_: pytest.fail("was read"))
    refused(tmp_path / "own.npz", "arrays, the largest of 1,000 × 50 float64", "0.0 GiB are free; take fewer rows")
    refused(folder, "arrays, the largest of 1,000 × 50 float64")
    refused(tmp_path / "own.parquet", "1,000 rows of 51 columns", target="y")
    refused(tmp_path / "own.csv", "a table of", "bytes as text", target="y")


def test_a_header_of_more_than_its_file_holds_is_damage(tmp_path):
    path = tmp_path / "X.npy"
    np.save(tmp_path / "y.npy", np.arange(9))
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10**3)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    refused(tmp_path, "unreadable array", "in 0 bytes")


def test_a_file_that_is_altered_while_it_is_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "own.npz"
    np.savez(path, X=np.zeros((9, 2)), y=np.arange(9) % 2)
    read = files.read_npz

    def slowly(*given):
        os.utime(path, ns=(1, 1))
        return read(*given)

    monkeypatch.setattr("pretrain.data.formats.read_npz", slowly)
    refused(path, "was altered while it was read")


OWN = """
import os, sys, time
import numpy as np

X = np.random.default_rng(0).normal(size=(200, 4))
DATA = {"X": X, "y": np.arange(200) % 2}

class Odd(BaseException):
    pass

class Hostile:
    def __array__(self, *_, **__):
        raise SystemExit(3)

def exits():
    sys.exit(0)

def interrupts():
    raise KeyboardInterrupt

def ends():
    raise GeneratorExit

def odd():
    raise Odd("in its own way")

def forks():
    os.fork()
    return DATA

def forks_late():
    if not os.fork():
        time.sleep(0.2)
    return DATA

def forks_and_fails():
    if not os.fork():
        raise ValueError
    return DATA

def hostile():
    return {"X": Hostile(), "y": DATA["y"]}
"""
FAULTS = {
    "exits": "SystemExit",
    "interrupts": "KeyboardInterrupt",
    "ends": "GeneratorExit",
    "odd": "Odd: in its own way",
    "forks": "a forked process that returns",
    "forks_late": "a forked process that returns",
    "forks_and_fails": "a forked process that returns",
    "hostile": "no array",
}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:os.fork:RuntimeWarning")
@pytest.mark.parametrize("function", FAULTS)
def test_functions_fail_in_a_line(function, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    refused(f"{tmp_path}/own.py:{function}", FAULTS[function])


LEAVING = """
import os, resource, sys
from pretrain.config.own_code import contained
resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))
for _ in range(1100):
    os.dup(0)  # so that descriptors are beyond those that select takes

def ends_its_child(leave):
    if not os.fork():
        leave()
    os.wait()
    return "once"

for leave in (lambda: os._exit(0), lambda: sys.exit(0), lambda: os.closerange(3, 2000)):
    print(contained(lambda: ends_its_child(leave)), flush=True)
"""


def test_children_that_leave_do_no_harm_and_none_goes_on():
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n" * 3, "")


def test_swap_is_memory_that_data_may_take(monkeypatch):
    monkeypatch.setattr(room.psutil, "virtual_memory", lambda: SimpleNamespace(available=100))
    monkeypatch.setattr(room.psutil, "swap_memory", lambda: SimpleNamespace(free=50))
    monkeypatch.setattr(room, "_LIMITS", [])
    assert (room.available(), room.available(with_swap=True)) == (100, 150)
    room.check("x.csv", 150, "rows")
    with pytest.raises(ConfigError, match="take fewer rows"):
        room.check("x.csv", 151, "rows")


def test_an_interruption_from_outside_is_none_of_a_functions(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        contained(lambda: os.kill(os.getpid(), 2))


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_mapped_from_files_are_copied(order, tmp_path):
    x = np.array(np.random.default_rng(0).normal(size=(200, 6)), order=order)
    np.save(tmp_path / "x.npy", x)
    lines = ["import numpy as np", f"x = np.load({str(tmp_path / 'x.npy')!r}, mmap_mode='r')"]
    parts = {"whole": ":", "rows": "20:180", "turned": "::-1, 1:5:2"}
    lines += [
        f"def {name}(): return dict(X=x[{part}], y=np.arange(len(x[{part}])) % 2)" for name, part in parts.items()
    ]
    (tmp_path / "own.py").write_text("\n".join(lines))
    for name in parts:
        found = load(f"{tmp_path}/own.py:{name}", 0.2, scaling="none")
        taken = x[{"whole": np.s_[:], "rows": np.s_[20:180], "turned": np.s_[::-1, 1:5:2]}[name]].astype(np.float32)
        rows = np.concatenate([split.inputs for split in (found.train, found.validation, found.test)])
        np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(taken, axis=0))
        assert [state.path for state in found.files] == [str(tmp_path / "x.npy")]
        with (tmp_path / "x.npy").open("r+b") as file:
            file.seek(200)
            before = file.read(400)
            file.seek(200)
            file.write(b"\0" * 400)
        assert files.altered(found.files) or os.stat(tmp_path / "x.npy").st_mtime_ns == found.files[0].modified
        np.testing.assert_array_equal(
            rows, np.concatenate([split.inputs for split in (found.train, found.validation, found.test)])
        )
        with (tmp_path / "x.npy").open("r+b") as file:
            file.seek(200)
            file.write(before)
