"""Sweeps as Slurm jobs: on stand-ins for Slurm's commands, and through submitit's local executor."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.launching import LONG, ROOT, execute, refused, results, started, wait_until

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


def scripts(jobs):
    """What was submitted, in its order."""
    return [path.read_text() for path in sorted(jobs.glob("*.sh"), key=lambda path: int(path.stem))]


@pytest.mark.cluster
def test_a_sweep_is_one_array_of_workers_within_the_limit_of_the_site(site, run, slurm):
    environment, jobs = slurm
    asked = ["--engine.partition", "short", "--engine.time-limit", "30", "--engine.parallel", "8"]
    flags = ["--engine.flags", "account=mine", "exclusive"]
    done = execute(site.command(*site.at("slurm"), *WORKER, *asked, *flags), site.path, env=environment)
    assert done.returncode == 0, done.stderr
    assert results(site.path / "slurm-run") == results(run)
    (script,) = scripts(jobs)
    for line in ("partition=short", "time=30", "cpus-per-task=1", "mem=2GB", "account=mine", "exclusive"):
        assert re.search(rf"^#SBATCH --{line}$", script, re.MULTILINE), line
    assert re.search(r"^#SBATCH --array=0-3%4$", script, re.MULTILINE)  # for 6 packs, where 5 are too many
    assert not (site.path / "slurm-run" / "queue").exists()


@pytest.mark.cluster
def test_a_launcher_may_leave_and_a_last_job_writes_the_report(site, run, slurm):
    environment, jobs = slurm
    command = site.command(*site.at("left"), *WORKER, "--engine.workers", "2", "--detach")
    done = execute(command, site.path, env=environment)
    assert done.returncode == 0, done.stderr
    assert re.search(r"slurm: .*waiting; job 2 writes the report", done.stdout)
    workers, report = scripts(jobs)
    assert re.search(r"^#SBATCH --cpus-per-task=2$", workers, re.MULTILINE)
    assert re.search(r"^#SBATCH --mem=4GB$", workers, re.MULTILINE)
    assert re.search(r"^#SBATCH --dependency=afterany:1$", report, re.MULTILINE)
    deadline = time.monotonic() + 200
    while (jobs / "2.state").read_text() not in ("COMPLETED", "FAILED") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert results(site.path / "left-run") == results(run), (jobs / "2.log").read_text()
    assert not (site.path / "left-run" / "queue").exists()


@pytest.mark.slow
def test_the_same_command_looks_after_a_run_that_was_left(site, run, slurm):
    environment, jobs = slurm
    options = [*site.at("attached"), *WORKER]
    (jobs / "paused").touch()  # so that no job begins
    assert execute(site.command(*options, "--detach"), site.path, env=environment).returncode == 0
    listed = execute([sys.executable, "launch.py", "runs", str(site.path)], ROOT)
    assert re.search(r"attached-run +running .*0 packs done, 0 running, 6 waiting", " ".join(listed.stdout.split()))
    # One more seed joins, while the jobs of before wait still.
    with started(site.command(*options, "--seeds", "3"), site.path, env=environment) as process:
        wait_until(process, lambda: "8 waiting" in (site.path / "attached-run" / ".lock").read_text() or process.poll())
        (jobs / "paused").unlink()
        _, reported = process.communicate(timeout=200)
    assert process.returncode == 0, reported
    alone = site.launch(*site.at("attached-alone"), "--seeds", "3")
    assert alone.returncode == 0, alone.stderr
    assert results(site.path / "attached-run") == results(site.path / "attached-alone-run")


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
