"""Sweeps as Slurm jobs: on stand-ins for Slurm's commands, and through submitit's local executor."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.launching import LONG, execute, refused, results, started, wait_until

pytest.importorskip("submitit", reason="an extra")

FAKE = Path(__file__).with_name("fake_slurm.py")
COMMANDS = ("sbatch", "srun", "sacct", "scontrol", "scancel")
WORKER = ["--engine", "slurm", "--engine.cpus", "1", "--engine.memory", "2", "--engine.parallel", "1"]


@pytest.fixture
def slurm(tmp_path):
    """The environment in which Slurm's commands are found, and the directory of its jobs."""
    commands, jobs = tmp_path / "bin", tmp_path / "jobs"
    commands.mkdir()
    jobs.mkdir()
    for name in COMMANDS:
        (commands / name).symlink_to(FAKE)
    path = os.pathsep.join([str(commands), os.path.dirname(sys.executable), os.environ["PATH"]])
    return {**os.environ, "FAKE_SLURM": str(jobs), "PATH": path}, jobs


@pytest.mark.cluster
def test_a_sweep_is_an_array_of_jobs_for_each_depth_of_stages(site, run, slurm):
    environment, jobs = slurm
    asked = ["--engine.partition", "short", "--engine.time-limit", "30"]
    flags = ["--engine.flags", "account=mine", "exclusive"]
    done = execute(site.command(*site.at("slurm"), *WORKER, *asked, *flags), site.path, env=environment)
    assert done.returncode == 0, done.stderr
    assert results(site.path / "slurm-run") == results(run)
    phases_and_tuning = [path.read_text() for path in sorted(jobs.glob("*.sh"))]
    for script in phases_and_tuning:
        for line in ("partition=short", "time=30", "cpus-per-task=1", "mem=2GB", "account=mine", "exclusive"):
            assert re.search(rf"^#SBATCH --{line}$", script, re.MULTILINE), line
    arrays = [re.search(r"^#SBATCH --array=(\S+)$", script, re.MULTILINE) for script in phases_and_tuning]
    assert [array and array[1] for array in arrays] == ["0-2%1", None, "0-1%1"]


@pytest.mark.slow
def test_a_preempted_job_is_queued_again_and_goes_on_within_its_stage(site, first, slurm):
    environment, jobs = slurm
    longer = [*LONG, "--pretrain.epochs", "5000"]
    assert site.launch(*site.at("unpreempted"), *longer).returncode == 0
    command, store = site.command(*site.at("preempted"), *WORKER, *longer), site.path / "preempted-store"
    with started(command, site.path, env=environment) as process:
        wait_until(process, lambda: any(store.glob("begun/*")))
        os.kill(int(next(jobs.glob("*.pid")).read_text()), signal.SIGUSR2)
        _, reported = process.communicate(timeout=200)
    assert process.returncode == 0, reported
    assert list(jobs.glob("*.was-requeued"))
    assert results(site.path / "preempted-run") == results(site.path / "unpreempted-run")


@pytest.mark.cluster
def test_what_slurm_refuses_is_reported_in_one_line(site, slurm):
    command = site.command(*site.at("refused"), *WORKER, "--engine.partition", "nowhere")
    refused(execute(command, site.path, env=slurm[0]), "engine.name: 'slurm'", "invalid partition specified: nowhere")


def test_without_slurm_its_engine_is_refused(site):
    refused(site.launch(*site.at("refused"), *WORKER), "engine.name: 'slurm'", "--engine.address local")
    refused(site.launch(*site.at("refused"), *WORKER, "--engine.address", "x"), "engine.address: 'x'")


@pytest.mark.slow
def test_jobs_may_be_processes_of_this_machine_and_ctrl_c_reaches_them(site, run):
    options, store = [*site.at("local-jobs"), *WORKER, "--engine.address", "local"], site.path / "local-jobs-store"
    with started(site.command(*options), site.path, start_new_session=True) as process:
        wait_until(process, lambda: any(store.glob("packs/*")))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, reported = process.communicate(timeout=100)
    assert process.returncode == 75 and "Traceback" not in reported, reported
    done = execute(site.command(*options), site.path)
    assert done.returncode == 0, done.stderr
    assert results(site.path / "local-jobs-run") == results(run)
