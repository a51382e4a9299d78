#!/usr/bin/env python3
"""Stands in for Slurm's commands, so far as submitit uses them: jobs are processes of this machine.

Linked under the names of the commands. Jobs, their states and their logs are files of ``$FAKE_SLURM``.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["FAKE_SLURM"])


def sbatch(script):
    """Submits an array, whose tasks another process runs one after another."""
    text = Path(script).read_text()
    if re.search(r"^#SBATCH --partition=nowhere$", text, re.MULTILINE):
        sys.exit("sbatch: error: invalid partition specified: nowhere")
    number = len(list(ROOT.glob("*.sh"))) + 1
    (ROOT / f"{number}.sh").write_text(text)
    array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)
    tasks = [f"{number}_{task}" for task in range(int(array[1]) + 1)] if array else [str(number)]
    for task in tasks:
        (ROOT / f"{task}.state").write_text("PENDING")
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen([sys.executable, Path(__file__).resolve(), "run", *tasks], start_new_session=True, **quiet)
    print(f"Submitted batch job {number}")


def run(*tasks):
    """Runs tasks, each again for as long as it was queued again while it ran; none while the machine is paused."""
    while (ROOT / "paused").exists():
        time.sleep(0.05)
    for task in tasks:
        number, _, index = task.partition("_")
        identity = {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
        if index:
            identity |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
        state, again = ROOT / f"{task}.state", True
        while again and state.read_text() != "CANCELLED":
            state.write_text("RUNNING")
            with (ROOT / f"{task}.log").open("a") as log:
                ended = subprocess.run(
                    ["bash", ROOT / f"{number}.sh"], env={**os.environ, **identity}, stdout=log, stderr=log
                )
            again = (ROOT / f"{task}.requeued").exists()
            (ROOT / f"{task}.requeued").unlink(missing_ok=True)
            state.write_text("FAILED" if ended.returncode else "COMPLETED")


def srun(*words):
    """Becomes the command, which begins at the first word that is no option and no option's value."""
    begin = next(place for place, word in enumerate(words) if "python" in word)
    os.environ |= {"SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    (ROOT / f"{os.environ['SLURM_JOB_ID']}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}.pid").write_text(
        str(os.getpid())
    )
    os.execvp(words[begin], words[begin:])


def sacct(*_):
    """Prints all states."""
    print("JobID|State|NodeList")
    for state in sorted(ROOT.glob("*.state")):
        print(f"{state.stem}|{state.read_text()}|here")


def scontrol(command, task):
    """Queues a task again, when it ends; or shows the configuration."""
    if command == "show":
        return print("MaxArraySize            = 5")
    for mark in ("requeued", "was-requeued"):
        (ROOT / f"{task}.{mark}").touch()


def scancel(task, *_):
    """Cancels a task that waits."""
    (ROOT / f"{task}.state").write_text("CANCELLED")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    if name == Path(__file__).resolve().name:
        name, *arguments = arguments
    {"sbatch": sbatch, "run": run, "srun": srun, "sacct": sacct, "scontrol": scontrol, "scancel": scancel}[name](
        *arguments
    )
