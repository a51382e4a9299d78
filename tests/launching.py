"""Runs the launcher as its users do, on the tiny dataset: in this process, or in one of its own, to be killed."""

import contextlib
import io
import re
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from pretrain.commands.launch import main
from tests.undrawn import undrawn

ROOT = Path(__file__).parents[1]
UNDRAWN = Path(__file__).with_name("undrawn.py")
OPTIONS = [
    *("--data.validation", "60"),
    *("--encoder.layers", "12", "6"),
    *("--pretrain.epochs", "1"),
    *("--pretrain.batch-size", "20"),
    *("--finetune.labels", "100"),
    *("--finetune.batch-size", "20"),
    *("--finetune.epochs", "2"),
    *("--seeds", "2"),
]
LONG = ["--pretrain.epochs", "1500", "--save-every", "0"]  # phases that can be interrupted within
ONE_ARM = [
    *("--encoder.layers", "12"),
    *("--finetune.encoder-init", "pretrained"),
    *("--finetune.frozen-layers", "0"),
]  # four stages in two packs, which compile in half the time
N_STAGES, N_TRIALS = 12, 8  # two seeds of two phases, shared by two of the four fine-tunings
TABLES = {f"{name}.parquet" for name in ("trials", "curves", "stages", "timings", "classes", "rows")}
DRAWN = ("differences", "filters", "first_batches", "phase_losses", "reconstructions", "shares", "slopes")
DRAWN += ("calibration", "codes", "confusion", "first_layer")
FIGURES = {f"figures/{name}.{kind}" for name in DRAWN for kind in ("png", "svg")}
LISTED = ("arms", "classes", "comparisons", "pretraining", "shares", "speeds")
LATEX = {f"tables/{name}.tex" for name in LISTED}
FILES = (
    {
        "manifest.json",
        "experiment.json",
        "inputs.json",
        "findings.json",
        "answer.json",
        "report.html",
        "samples.npz",
        "looks.npz",
    }
    | {".run.json", ".lock"}
    | FIGURES
    | LATEX
    | TABLES
)
OUTLOOK = r"\d+ seeds? (settles? nothing, at least \d+ can: use --seeds \d+|cannot show any effect .*)"
DETERMINISTIC = ("trials.parquet", "curves.parquet")


class Site(NamedTuple):
    """A directory to run in; its stores share the programs compiled by whichever came first."""

    path: Path
    data: str
    programs: Path

    def argv(self, *options):
        return ["geron", "--data.name", self.data, *OPTIONS, *map(str, options)]

    def command(self, *options, launcher=ROOT / "launch.py", drawn=False):
        """A launch as a process of its own, whose figures are blank but where they are ``drawn``."""
        starter = [] if drawn else [str(UNDRAWN)]
        return [sys.executable, *starter, str(launcher), *self.argv(*options)]

    def at(self, name):
        """Options for a run and a store of a name, which exist from now on as far as programs need it."""
        store = self.path / f"{name}-store"
        store.mkdir(exist_ok=True)
        if not (store / "programs").exists():
            (store / "programs").symlink_to(self.programs)
        return ["--run-dir", self.path / f"{name}-run", "--store", store]

    def launch(self, *options, drawn=False):
        """A launch in this process."""
        return call(self.argv(*options), self.path, drawn=drawn)


def call(argv, path, configs=ROOT / "configs", drawn=False):
    """Runs the launcher in a directory, in this process, which keeps the programs that it compiles.

    Its figures are blank but where they are ``drawn``: drawing takes two thirds of a small run.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(path))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        if not drawn:
            stack.enter_context(undrawn())
        try:
            code = main(list(map(str, argv)), configs=configs)
        except SystemExit as ended:  # --help
            code = ended.code or 0
        except Exception:
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess(argv, code, out.getvalue(), without_outlook(err.getvalue()))


def execute(command, path, timeout=900, **options):
    """Runs a command as a process of its own."""
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=timeout, **options)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, without_outlook(done.stderr))


def on_mnist(*options):
    """A launch on MNIST as a process of its own, which compiles as users do: training outlasts compilation there."""
    return ["env", "-u", "XLA_FLAGS", sys.executable, str(ROOT / "launch.py"), "geron", *options]


def without_outlook(stderr):
    """What a launch reported, but for the warning that so few seeds show nothing, which most launches of tests earn."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not re.fullmatch(OUTLOOK, line.rstrip("\n")))


def misjudge(*_):
    """A fault, in the place of judging."""
    raise RuntimeError("judging")


def contents(path):
    """The content of every file under a directory, and the name of every directory."""
    return {
        place.relative_to(path).as_posix(): place.read_bytes() if place.is_file() else None for place in path.rglob("*")
    }


def results(run):
    return {name: (run / name).read_bytes() for name in DETERMINISTIC}


def n_run(done):
    """How many stages a run says it ran."""
    return int(re.search(r"^\d+ trials, (\d+) of \d+ stages run", done.stdout, re.MULTILINE)[1])


def copied(site, name):
    """Options for a run with a copy of the first run's stages."""
    options = site.at(name)
    shutil.copytree(site.path / "first-store" / "packs", site.path / f"{name}-store" / "packs")
    return options


def refused(done, *parts):
    """Checks that a run was refused in one line, which holds the parts."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.endswith("\n")
    for part in parts:
        assert part in done.stderr


def packs(store):
    return sorted((store / "packs").glob("*"))


@contextlib.contextmanager
def started(command, path, **options):
    """Starts a command in the background; whatever happens, it is gone at the end."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=path, text=True, **pipes, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def at_once(commands, path):
    """Runs commands side by side; returns their processes, with what each printed."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(started(command, path)) for command in commands]
        printed = [process.communicate(timeout=200) for process in processes]
    ended = zip(processes, printed, strict=True)
    return [
        subprocess.CompletedProcess(process.args, process.returncode, out, without_outlook(err))
        for process, (out, err) in ended
    ]


def wait_until(process, is_time):
    """Waits until it is time, or the process ends."""
    while process.poll() is None and not is_time():
        time.sleep(0.002)


def kill_when(command, path, is_time):
    """Starts a command, kills it as soon as it is time, and returns its exit code."""
    with started(command, path) as process:
        wait_until(process, is_time)
        process.kill()
        process.communicate()
    return process.returncode
