"""Sweeps on a real Ray cluster of this machine: the same results, whatever happens to its nodes."""

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq
import pytest

from pretrain.config import EngineConfig
from pretrain.config.fields import ConfigError
from tests.launching import LONG, N_TRIALS, execute, refused, results, started, wait_until

pytest.importorskip("ray", reason="an extra")

WORKER = ["--engine", "ray", "--engine.cpus", "1", "--engine.memory", "0.5"]


class Cluster(NamedTuple):
    """Three nodes; the first, the head, keeps the cluster's books and runs packs, too."""

    process: subprocess.Popen
    address: str

    def lose_a_node(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "removed\n"


@pytest.fixture
def cluster(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, str(Path(__file__).with_name("ray_nodes.py"))]
    with subprocess.Popen(command, text=True, cwd=tmp_path, **pipes) as process:
        yield Cluster(process, process.stdout.readline().strip())
        process.stdin.close()
        process.wait(timeout=60)


def launch_and(site, options, is_time, act):
    """Launches in the background, acts when it is time, and returns how the launch ended and what it printed."""
    with started(site.command(*options), site.path) as process:
        wait_until(process, is_time)
        assert process.poll() is None, process.communicate()
        act(process)
        printed = process.communicate(timeout=280)
    return process.returncode, *printed


def survives_a_lost_node(site, cluster, name, n_packs, seeds):
    """Removes a node, without its leave, when so many packs of a sweep are stored; returns the sweep's directory."""
    options = [*site.at(name), *WORKER, "--engine.address", cluster.address, "--seeds", seeds]
    store = site.path / f"{name}-store"
    is_time = lambda: len(list(store.glob("packs/*"))) >= n_packs
    code, _, reported = launch_and(site, options, is_time, lambda process: cluster.lose_a_node())
    assert code == 0, reported
    trials = pq.read_table(site.path / f"{name}-run" / "trials.parquet")["trial_id"].to_pylist()
    assert len(trials) == len(set(trials)) == seeds * N_TRIALS // 2
    return site.path / f"{name}-run"


@pytest.fixture(scope="module")
def six_seeds(site, run):
    done = site.launch(*site.at("six"), "--seeds", "6")
    assert done.returncode == 0, done.stderr
    return results(site.path / "six-run")


REQUESTS = {
    "cpus: 2": ["--engine.cpus", "2"],
    "gpus: 1.0": ["--engine.cpus", "1", "--engine.gpus", "1"],
    "memory: 1000000.0": ["--engine.cpus", "1", "--engine.memory", "1e6"],
}


def check_refused(site, cluster, requests):
    """Checks that requests that no node can meet are each refused in one line."""
    address = ["--engine", "ray", "--engine.address", cluster.address]
    launches = [site.command(*site.at("room"), *address, *REQUESTS[name]) for name in requests]
    for done, name in zip([execute(launch, site.path) for launch in launches], requests, strict=True):
        refused(done, f"engine.{name} is more than any node has")


@pytest.mark.slow
def test_any_request_that_no_node_can_meet_is_reported_in_one_line(site, cluster):
    check_refused(site, cluster, REQUESTS)


@pytest.mark.cluster
def test_a_cluster_refuses_what_no_node_can_meet_and_survives_the_loss_of_a_node(site, cluster, run):
    check_refused(site, cluster, ["gpus: 1.0"])
    assert results(survives_a_lost_node(site, cluster, "lost", 1, 2)) == results(run)


@pytest.mark.slow
@pytest.mark.parametrize("n_packs", range(5))
def test_a_sweep_survives_the_loss_of_a_node_at_any_time(n_packs, site, cluster, six_seeds):
    assert results(survives_a_lost_node(site, cluster, f"lost-{n_packs}", n_packs, 6)) == six_seeds


def kill_a_worker(cluster):
    """Kills a process of a cluster that runs a pack, as the kernel does when memory runs out."""
    for process in psutil.Process(cluster.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            if process.cmdline()[0].startswith("ray::_work"):
                return process.kill()
    raise AssertionError("no worker runs a pack")


@pytest.mark.slow
def test_a_pack_whose_worker_is_killed_runs_in_halves_once(site, cluster, first):
    long = [*LONG, "--pretrain.epochs", "3000", "--seeds", "6"]
    options = [*site.at("killed-worker"), *WORKER, "--engine.address", cluster.address, "--engine.retries", "0", *long]
    store = site.path / "killed-worker-store"
    is_time = lambda: any(store.glob("begun/*"))
    code, printed, reported = launch_and(site, options, is_time, lambda process: kill_a_worker(cluster))
    assert code == 0, reported
    lost = "pretrain/0: the worker of a pack of 6 trials was killed, maybe for its memory; the pack is cut in half"
    assert (printed + reported).count("cut in half") == (printed + reported).count(lost) == 1
    alone = site.launch(*site.at("killed-worker-alone"), *long)
    assert alone.returncode == 0, alone.stderr
    assert results(site.path / "killed-worker-run") == results(site.path / "killed-worker-alone-run")


@pytest.mark.slow
def test_without_an_address_ray_is_started_here_and_ctrl_c_saves_and_stops_it(site, run):
    options, store = [*site.at("here"), *WORKER], site.path / "here-store"
    interrupt = lambda process: process.send_signal(signal.SIGINT)
    code, _, reported = launch_and(site, options, lambda: any(store.glob("packs/*")), interrupt)
    assert code == 75, reported
    assert re.search(r"stopped with \d+ of 12 stages stored", reported) and "Traceback" not in reported
    done = execute(site.command(*options), site.path)  # Ray forks
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert results(site.path / "here-run") == results(run)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "auto", "127.0.0.1:99999999", "ray://127.0.0.1:1"])
def test_an_address_where_nobody_listens_is_reported_in_one_line(address, site):
    refused(site.launch(*site.at("nobody"), *WORKER, "--engine.address", address), f"engine.address: '{address}'")


def test_a_cluster_that_was_noted_and_is_gone_is_reported_in_one_line(monkeypatch):
    from pretrain.engines import ray_engine

    monkeypatch.setattr(ray_engine, "_noted_here", lambda: "127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"engine\.address: 'auto'"):
        ray_engine.check(EngineConfig(name="ray", address="auto"))
