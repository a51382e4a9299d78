"""Whatever is killed, damaged or full: nothing is lost, nothing is silent, and the end is the same to the bit."""

import json
import os
import random
import re
import shutil
import signal
import socket
import time

import pytest

from pretrain import load_run
from pretrain.runs import run_files
from tests.launching import (
    FILES,
    LONG,
    N_STAGES,
    ONE_ARM,
    ROOT,
    at_once,
    call,
    copied,
    execute,
    kill_when,
    n_run,
    packs,
    refused,
    results,
    started,
    wait_until,
)

LONG_ARM = [*LONG, *ONE_ARM]


@pytest.fixture(scope="module")
def long_run(site, run):
    """The directory of a run whose phases are long enough to be interrupted within, and were not."""
    done = site.launch(*site.at("long"), *LONG_ARM)
    assert (done.returncode, n_run(done)) == (0, 4), done.stderr
    return site.path / "long-run"


def kill_at_random(site, run, n_kills, seed):
    """Kills launches at random moments until so many died; each store is resumed until it is complete, and compared."""
    moments, kills, stores = random.Random(seed), 0, 0
    while kills < n_kills:
        options = [*site.at(f"killed-{seed}-{stores}"), "--save-every", "0"]
        code = -signal.SIGKILL
        while code == -signal.SIGKILL and kills < n_kills:
            until = time.monotonic() + moments.uniform(0.5, 4.5)
            code = kill_when(site.command(*options), site.path, lambda until=until: time.monotonic() > until)
            kills += code == -signal.SIGKILL
        done = site.launch(*options)
        assert (done.returncode, len(packs(site.path / f"killed-{seed}-{stores}-store"))) == (0, 4), done.stderr
        assert results(site.path / f"killed-{seed}-{stores}-run") == results(run)
        stores += 1


POINTS = [
    "before .run.json",
    "after .run.json",
    "before begun",  # a pack in training is saved
    "after begun",
    "within a chunk",
    "before packs",  # the first pack is stored
    "after packs",
    "between packs",
    "before .complete",  # the run's files are committed
    "after .complete",
    "before curves.parquet",  # they move into place in the order of their names
    "before report.html",
    "after trials.parquet",
    "before manifest.json",
    "after manifest.json",
]
# One of each kind: in training, within a chunk, between packs, while files move into place, and after the last.
KINDS = ["before begun", "within a chunk", "between packs", "before report.html", "after manifest.json"]

KILLER = """
import os, runpy, signal, sys, threading
from pathlib import Path
from pretrain.execute import execute
from pretrain.engines import work

moment, _, name = sys.argv.pop(1).partition(" ")  # or "at", a directory, and a number of renames into it
name, _, number = name.partition("#")
renames = []
rename, replace, advance, train = Path.rename, Path.replace, execute.LOOP, work.train

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def killing(function):
    def moved(path, target):
        is_it = name in (Path(target).name, Path(target).parent.name)
        if is_it and moment == "before":
            kill()
        if moment == "at" and str(target).startswith(name):
            if len(renames) == int(number):
                kill()
            renames.append(target)
        found = function(path, target)
        if is_it and moment == "after":
            kill()
        return found
    return moved

def advanced(*arguments):
    threading.Timer(0.001, kill).start()
    return advance(*arguments)

trained = []
def train_killed(*arguments):
    if trained:
        kill()
    trained.append(1)
    return train(*arguments)

Path.rename, Path.replace = killing(rename), killing(replace)
if moment == "within":
    execute.LOOP = advanced
if moment == "between":
    work.train = train_killed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def killed_at(point, command):
    """The same launch, which is killed as it comes to a point."""
    executable, *argv = command
    return ["env", f"PYTHONPATH={ROOT}", executable, "-c", KILLER, point, *argv]


# All points need more packs than the two of one arm, for some end with one stored.
@pytest.mark.parametrize(
    ("points", "more", "n_packs"),
    [(KINDS, LONG_ARM, 2), pytest.param(POINTS, LONG, 4, marks=pytest.mark.slow)],
    ids=["kinds", "points"],
)
def test_a_run_killed_at_every_kind_of_moment_in_turn_ends_the_same_to_the_bit(points, more, n_packs, site, run):
    name, whole = f"killed-at-{n_packs}", f"whole-{n_packs}"
    assert site.launch(*site.at(whole), *more).returncode == 0
    options = [*site.at(name), *more]
    for point in points:
        n_before = len(packs(site.path / f"{name}-store"))
        done = execute(killed_at(point, site.command(*options)), site.path)
        assert done.returncode == -signal.SIGKILL, (point, done.stderr)
        if point == "between packs":
            assert len(packs(site.path / f"{name}-store")) == n_before + 1
            assert not (site.path / f"{name}-run" / "trials.parquet").exists()
    done = site.launch(*options)
    assert (done.returncode, n_run(done), len(packs(site.path / f"{name}-store"))) == (0, 0, n_packs), done.stderr
    assert results(site.path / f"{name}-run") == results(site.path / f"{whole}-run")


@pytest.mark.slow
def test_a_second_experiment_killed_at_every_rename_leaves_one_of_the_two(site, run):
    options, directory = copied(site, "renamed"), site.path / "renamed-run"
    assert site.launch(*options).returncode == 0
    first, other = load_run(directory), [*options, "--finetune.encoder-init", "he"]
    kept, seen = shutil.copytree(directory, site.path / "renamed-kept"), []
    for number in range(100):
        shutil.rmtree(directory)
        shutil.copytree(kept, directory)
        done = execute(killed_at(f"at {directory}#{number}", site.command(*other)), site.path)
        loaded = load_run(directory)
        is_first = loaded.experiment == first.experiment
        assert is_first == loaded.trials.equals(first.trials) == loaded.curves.equals(first.curves)
        assert run_files.opened(directory).faults() == []
        seen.append(is_first)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert number > len(FILES) // 2 and seen[0] and not seen[-1] and seen == sorted(seen, reverse=True)


@pytest.mark.slow
def test_a_run_killed_at_100_random_moments_ends_the_same_to_the_bit(site, run):
    kill_at_random(site, run, 100, seed=1)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(site, run):
    options, store = site.at("killed"), site.path / "killed-store"
    assert kill_when(site.command(*options), site.path, lambda: packs(store)) == -signal.SIGKILL
    assert 0 < len(packs(store)) < 4
    assert not (site.path / "killed-run" / "trials.parquet").exists()
    done = site.launch(*options)
    assert done.returncode == 0
    assert 0 < n_run(done) < N_STAGES
    assert results(site.path / "killed-run") == results(run)


SHORT_CHUNKS = """
import runpy, sys
from pretrain.execute import execute

execute.CHUNK_SECONDS = 0.1
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def stop_in_training(site, name, number):
    """Launches the long run, and stops it by a signal when a phase is in training."""
    options, store = [*site.at(name), *LONG_ARM], site.path / f"{name}-store"
    executable, *argv = site.command(*options)
    command = ["env", f"PYTHONPATH={ROOT}", executable, "-c", SHORT_CHUNKS, *argv]
    with started(command, site.path) as process:
        wait_until(process, lambda: any(store.glob("begun/*")))
        process.send_signal(number)
        _, reported = process.communicate(timeout=60)
    assert process.returncode == 75, reported
    assert f"{number.name}: stopping at the end of this chunk" in reported
    assert re.search(r"stopped with \d+ of 4 stages stored; the same command goes on from here", reported)
    assert "Traceback" not in reported
    assert list(store.glob("begun/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_run_saves_says_so_and_goes_on_within_the_stage(number, site, long_run):
    name = number.name
    stop_in_training(site, name, number)
    store, damaged = site.path / f"{name}-store", site.at(f"damaged-{name}")
    shutil.copytree(store / "begun", damaged[-1] / "begun")
    done = site.launch(*site.at(name), *LONG_ARM)
    assert (done.returncode, list(store.glob("begun/*"))) == (0, [])
    assert results(site.path / f"{name}-run") == results(long_run)

    # Damaged progress is named and begun again.
    files = [file for file in damaged[-1].glob("begun/**/*") if file.is_file()]
    victim = max(files, key=lambda file: file.stat().st_size)
    os.truncate(victim, victim.stat().st_size // 2)
    done = site.launch(*damaged, *LONG_ARM)
    assert done.returncode == 0 and str(victim) in done.stderr and "begin again" in done.stderr
    assert results(damaged[1]) == results(long_run)


def test_a_run_directory_has_one_launcher_at_a_time_and_names_it_to_the_others(site, run):
    options = [*site.at("locked"), "--pretrain.epochs", "100000"]
    directory = site.path / "locked-run"
    with started(site.command(*options), site.path) as holder:
        wait_until(holder, lambda: (directory / ".lock").exists() and (directory / ".lock").read_text())
        refused(site.launch(*options), f"run_dir: '{directory}'", f"process {holder.pid} on {socket.gethostname()}")
        assert holder.poll() is None
        holder.kill()
        holder.communicate()
    # The lock of a dead process holds nobody up.
    assert json.loads((directory / ".lock").read_text())["process"] == holder.pid
    assert site.launch(*site.at("locked")).returncode == 0


@pytest.mark.slow
def test_launchers_that_start_together_use_a_run_directory_in_turn(site, run):
    launched = at_once([site.command(*site.at("together"))] * 3, site.path)
    for done in launched:
        if done.returncode:
            refused(done, "run_dir: ", "is in use by")
    assert 0 in {done.returncode for done in launched}
    assert results(site.path / "together-run") == results(run)


def test_two_runs_may_fill_one_store_at_once(site, run):
    _, one, *store = site.at("shared")
    two = site.path / "shared-too-run"
    with started(site.command("--run-dir", one, *store), site.path) as other:
        wait_until(other, lambda: (one / ".lock").exists())
        done = site.launch("--run-dir", two, *store)
        _, reported = other.communicate(timeout=200)
    assert (done.returncode, other.returncode) == (0, 0), (done.stderr, reported)
    assert results(one) == results(two) == results(run)
    checked = call(["store", *store, "--verify"], site.path)
    assert checked.returncode == 0 and "every file" in checked.stdout
    assert not (store[1] / "damaged").exists()


@pytest.mark.parametrize("kilobytes", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_full_disk_is_named_and_what_was_stored_before_is_kept(kilobytes, site, run):
    copied(site, f"full-{kilobytes}")
    options = [*site.at(f"full-{kilobytes}"), "--finetune.l2", "0.25", "--finetune.frozen-layers", "0"]
    # No file may grow beyond this. The limit is a shell's, since a process that runs JAX must not fork.
    limited = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", *site.command(*options)]
    done = execute(limited, site.path)
    assert done.returncode == 1, done.stderr
    assert str(site.path) in done.stderr.splitlines()[-1]
    done = site.launch(*site.at(f"full-{kilobytes}"))
    assert done.returncode == 0 and n_run(done) == 0
    assert results(site.path / f"full-{kilobytes}-run") == results(run)


def test_damaged_packs_are_named_and_run_again(site, run):
    options, store = copied(site, "damaged"), site.path / "damaged-store"
    cut, altered, *_ = packs(store)
    largest = max(
        (file for file in (cut / "params").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
    )
    os.truncate(largest, largest.stat().st_size // 2)
    curves = altered / "curves.parquet"
    content = bytearray(curves.read_bytes())
    content[len(content) // 2] ^= 1
    curves.write_bytes(content)

    done = site.launch(*options)
    assert done.returncode == 0
    for file in (largest, curves):
        assert str(file) in done.stderr
    assert done.stderr.count("will run again") == 2
    assert 0 < n_run(done) < N_STAGES
    assert results(site.path / "damaged-run") == results(run)
    assert {pack.name for pack in packs(store)} >= {cut.name, altered.name}

    healed = site.launch(*options)
    assert (n_run(healed), healed.stderr) == (0, "")
