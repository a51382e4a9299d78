"""Workers, launchers and nodes that are killed at named points: the same command ends as if nobody had been.

Bits are promised of programs that are compiled as users do, so that whatever trains here is a process of its own.
"""

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pretrain.engines import queue as queues
from pretrain.engines.queue import Queue
from pretrain.engines.signs import SILENT
from pretrain.engines.standing import Standing
from tests.launching import ONE_ARM, OPTIONS, ROOT, results, wait_until

pytest.importorskip("submitit", reason="an extra")

KILLED = Path(__file__).with_name("killed.py")
RUN, STORE = Path("run"), Path("store")
SLURM = ["--engine", "slurm", "--engine.address", "local", "--engine.cpus", "1", "--engine.memory", "2"]
SLURM += ["--engine.parallel", "1"]
NEVER = "pretrain.engines.queue:Queue.finish before 1000"
RETRIES = "5"


def environment():
    """Of processes that compile as users do."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}


class Place:
    """A folder with a run and a store of its own."""

    def __init__(self, path, data, extra=()):
        self.path, self.queue = path, Queue(path / RUN / queues.FOLDER)
        # Fifty updates of pretraining, of which the first chunk's twenty are saved.
        self.argv = ["geron", "--data.name", data, *OPTIONS, *ONE_ARM, "--pretrain.epochs", "5", "--save-every", "0"]
        self.argv += ["--run-dir", str(RUN), "--store", str(STORE), *extra]

    def start(self, point, program, *arguments):
        """A process that is killed at a point."""
        command = [sys.executable, str(KILLED), point, program, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.path, env=environment(), **pipes)

    def ended(self, point, program, *arguments):
        """Waits for a process that is killed at a point; returns its exit code and what it reported."""
        with self.start(point, program, *arguments) as process:
            try:
                _, reported = process.communicate(timeout=300)
            finally:
                process.kill()
        return process.returncode, reported

    def work(self, point=NEVER, name="one"):
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        return self.ended(point, "worker", RUN / queues.FOLDER, name, RETRIES, cores)

    def launch(self, point, *options):
        return self.ended(point, "launch", *self.argv, *options)

    def silence(self):
        """Lets a minute and a half pass, without a sign of life of those that are gone."""
        then = time.time() - SILENT
        for worker in (self.path / RUN / queues.FOLDER / "workers").glob("*"):
            os.utime(worker, (then, then))

    def check(self, reference):
        """Checks that what is there is what a run that was never killed leaves, and nothing else."""
        assert results(self.path / RUN) == reference
        rows = pq.read_table(self.path / RUN / "trials.parquet")["trial_id"].to_pylist()
        assert len(rows) == len(set(rows)) > 0
        manifests = [json.loads(file.read_text()) for file in self.path.glob("store/packs/*/manifest.json")]
        stages = collections.Counter(stage for manifest in manifests for stage in manifest["stages"])
        assert set(stages.values()) == {1}
        left = [name for name in ("begun", "drafts", "damaged") if any((self.path / STORE).glob(f"{name}/*"))]
        left += [path.name for path in (self.path / RUN).glob("*queue*")]
        assert left == []


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_path, programs):
    """Returns a function that makes an empty place."""

    def make(name, *options):
        place = Place(tmp_path_factory.mktemp("places") / name, tiny_path, options)
        (place.path / STORE).mkdir(parents=True)
        (place.path / STORE / "programs").symlink_to(programs)
        return place

    return make


@pytest.fixture(scope="module")
def launched():
    """Returns a function that launches in a place, in a process that compiles as users do; returns what it printed."""
    command, pipes = (
        [sys.executable, str(KILLED), "", "launches"],
        {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE},
    )
    with subprocess.Popen(command, env=environment(), text=True, **pipes) as process:

        def launch(place, *options):
            process.stdin.write(json.dumps([str(place.path), [*place.argv, *options]]) + "\n")
            process.stdin.flush()
            code, out, reported = json.loads(process.stdout.readline())
            assert code == 0, reported
            return out

        yield launch


@pytest.fixture(scope="module")
def at_hiring(places):
    """A place whose launcher was killed when all packs waited and no worker was hired, and a copy of it."""
    place = places("place")
    code, reported = place.launch("pretrain.engines.remote:_Watch._hire before 1", *SLURM)
    assert code == -signal.SIGKILL, reported
    assert {state: len(names) for state, names in place.queue.states().items() if names} == {"waiting": 2}
    return place, shutil.copytree(place.path, place.path.with_name("copy"), symlinks=True)


@pytest.fixture
def filled(at_hiring):
    """The place as it was then; always the same one, for workers are given its path."""
    place, copy = at_hiring
    shutil.rmtree(place.path)
    shutil.copytree(copy, place.path, symlinks=True)
    return place


@pytest.fixture(scope="module")
def unkilled(places, launched):
    """The tables of the same command without a queue, and without a kill."""
    place = places("unkilled")
    assert "4 of 4 stages run" in launched(place)
    return results(place.path / RUN)


QUEUE, STORED, WORK = "pretrain.engines.queue:Queue", "pretrain.store.store:Store", "pretrain.engines.worker"
AMID, SEALED = "pretrain.store.sealed", "pretrain.store.manifests"
TRAINED = f"{STORED}.save before 1"  # from there on a finished pack is stored, no progress
SECOND = f"{QUEUE}.claim after 2"
WORKER_POINTS = {
    "before it gives a sign of life": ["pretrain.engines.signs:Signs.beat before 1"],
    "between signs of life, from their thread": [f"{QUEUE}.claim after 1, pretrain.engines.signs:Signs.beat after 5"],
    "before it looks after its former life": [f"{QUEUE}.lose before 1"],
    "before its first claim": [f"{QUEUE}.claim before 1"],
    "between the rename and the reading of a claim": ["pretrain.engines.queue:_content before 1"],
    "after its first claim": [f"{QUEUE}.claim after 1"],
    "after its second claim": [SECOND],
    "before it reads the experiment": [f"{QUEUE}.experiment before 1"],
    "before it reads data": ["pretrain.data:load before 1"],
    "before it derives a pack": ["pretrain.engines.message:Deriver.pack before 1"],
    "after it derived a pack": ["pretrain.engines.message:Deriver.pack after 2"],
    "before it opens the pack of parents": [f"{SECOND}, {STORED}.open before 1"],
    "before it checks parents": [f"{SECOND}, {STORED}.verified before 1"],
    "amid the parents' parameters": ["pretrain.store.parents:params before 4"],
    "before it trains": ["pretrain.engines.work:train before 1"],
    "before the first chunk": ["pretrain.execute.execute:run before 1"],
    "before a chunk is saved": [f"{STORED}.save_progress before 1"],
    "in the draft of a saved chunk": [f"{AMID}:save_arrays before 1"],
    "after a saved chunk": [f"{STORED}.save_progress after 1"],
    "before a trained pack is stored": [TRAINED],
    "in the draft, before arrays": [f"{TRAINED}, {AMID}:save_arrays before 1"],
    "in the draft, after arrays": [f"{TRAINED}, {AMID}:save_arrays after 1"],
    "in the draft, before the manifest": [f"{TRAINED}, {SEALED}:write before 1"],
    "in the draft, before it is on the disk": [f"{TRAINED}, {SEALED}:sync before 1"],
    "before the seal's rename": [f"{TRAINED}, {AMID}:_commit before 1"],
    "after the seal's rename": [f"{TRAINED}, {AMID}:_commit after 1"],
    "before progress is forgotten": [f"{TRAINED}, {STORED}._forget_progress before 1"],
    "before the stored pack is opened": [f"{TRAINED}, {STORED}._open before 1"],
    "before the result": [f"{QUEUE}.finish before 1"],
    "between result and move": [f"{QUEUE}.finish before 1, {QUEUE}._move before 1"],
    "after the move": [f"{QUEUE}.finish after 1"],
    "after the last result": [f"{QUEUE}.finish before 2, {QUEUE}._move before 1"],
    "before it takes leave": ["pretrain.engines.signs:Signs.part before 1"],
    "before a release": [f"pretrain.execute.execute:run before 1 SIGTERM, {QUEUE}.release before 1"],
    "after a release": [f"pretrain.execute.execute:run before 1 SIGTERM, {QUEUE}.release after 1"],
    "twice in a row": [f"{STORED}.save_progress after 1", f"{QUEUE}.finish before 1"],
    "amid the cut of progress": [f"{STORED}.save_progress after 1"] * 2,
    "between the halves": [f"{STORED}.save_progress after 1", f"{STORED}.save after 1"],
    "in the second half": ["pretrain.engines.work:train before 1", "pretrain.engines.work:train before 2"],
    "after the halves, before the result": ["pretrain.engines.work:train before 1", f"{QUEUE}.finish before 1"],
    "as it looks after its former life": [f"{QUEUE}.claim after 1", f"{QUEUE}._note_fault before 1"],
    "as its former life's pack is put back": [f"{QUEUE}.claim after 1", f"{QUEUE}._note_fault after 1"],
    "once more than a pack survives, less one": ["pretrain.engines.work:train before 1"] * 5,
}
QUICK = {"after a saved chunk", "before the seal's rename", "between result and move"}  # one of each kind


def marked(points, mark=pytest.mark.cluster):
    return [pytest.param(point, marks=mark if point in QUICK else pytest.mark.slow) for point in points]


@pytest.mark.parametrize("point", marked(WORKER_POINTS))
def test_a_worker_that_is_killed_costs_nothing(point, filled, launched, unkilled):
    place = filled
    for kill in WORKER_POINTS[point]:
        code, reported = place.work(kill)
        assert code == -signal.SIGKILL, (code, reported)
    if list(WORKER_POINTS).index(point) % 2:  # another takes its place
        place.queue.lose("one", int(RETRIES))
        assert place.work(name="other") == (0, "")
    else:  # the same is started again
        assert place.work() == (0, "")
    assert place.queue.is_over() and Standing(place.queue).counts().done == 2
    assert "0 of 4 stages run" in launched(place, *SLURM)
    place.check(unkilled)


TAKEN_OVER = {
    "after a saved chunk",
    "after the seal's rename",
    "before progress is forgotten",
    "between result and move",
    "amid the cut of progress",
    "between the halves",
    "as it looks after its former life",
}


@pytest.mark.slow
@pytest.mark.parametrize("point", sorted(TAKEN_OVER))
def test_a_launch_takes_over_from_a_worker_that_is_killed(point, filled, launched, unkilled):
    for kill in WORKER_POINTS[point]:
        assert filled.work(kill)[0] == -signal.SIGKILL
    filled.silence()
    launched(filled, *SLURM)
    filled.check(unkilled)


REMOTE, HIRE = "pretrain.engines.remote", "pretrain.engines.slurm_engine:_Crew"
WRITTEN, REPORT = "pretrain.engines.queue:written_whole", "pretrain.report.outcome"
REMOVED = f"{QUEUE}.remove before 1"
LAUNCHER_POINTS = {
    "before the queue is made": f"{QUEUE}.make before 1",
    "after the queue is made": f"{QUEUE}.make after 1",
    "before packs are cut": f"{REMOTE}:cut before 1",
    "before the experiment is written": f"{WRITTEN} before 1",
    "before the index": f"{WRITTEN} before 2",
    "after the index": f"{WRITTEN} before 3",
    "between messages": f"{WRITTEN} before 4",
    "after messages": f"{QUEUE}.add after 1",
    "as workers are hired": f"{HIRE}.hire before 1",
    "after workers are hired, before they are noted": f"{HIRE}._note before 1",
    "after workers are hired": f"{HIRE}.hire after 1",
    "in the watch, while nothing is done": f"{REMOTE}:_Watch._see after 2",
    "in the watch, as a worker has ended": f"{QUEUE}.lose before 1",
    "when all is done": f"{REMOTE}:_Watch.until_over after 1",
    "before the queue is removed": REMOVED,
    "before the queue's folder is moved away": f"{REMOVED}, shutil:rmtree after 1",
    "amid the removal": f"{REMOVED}, os:rmdir before 3",
    "after the removal": f"{QUEUE}.remove after 1",
    "before it judges": "pretrain.running:_judged before 1",
    "before it notes what it judged": "pretrain.store.judged:note before 1",
    "before the report": f"{REPORT}:write before 1",
    "amid the figures": "pretrain.report.drawing:save before 3",
    "amid the report's files": f"{REPORT}:write before 1, os:replace before 2",
    "after the report": f"{REPORT}:write after 1",
}


@pytest.mark.slow
@pytest.mark.parametrize("point", LAUNCHER_POINTS)
def test_a_launcher_that_is_killed_costs_nothing(point, places, launched, unkilled):
    place = places("killed")
    code, reported = place.launch(LAUNCHER_POINTS[point], *SLURM)
    assert code == -signal.SIGKILL, (code, reported)
    launched(place, *SLURM)
    place.check(unkilled)


NODE = [*SLURM, "--engine.workers", "2"]
MOMENTS = {
    "workers have claimed": lambda place: len(place.queue.states()["running"]) > 1,
    "a chunk is saved": lambda place: any(place.path.glob("store/begun/*")),
    "a draft is written": lambda place: any(place.path.glob("store/drafts/*")),
    "a pack is stored": lambda place: any(place.path.glob("store/packs/*")),
    "a pack is done": lambda place: place.queue.states()["done"],
    "the last pack runs": lambda place: place.queue.index() and not place.queue.has_waiting(),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_node_that_is_lost_with_its_launcher_costs_nothing(moment, places, launched, unkilled):
    place = places("killed")
    with place.start(NEVER, "launch", *place.argv, *NODE) as process:
        try:
            wait_until(process, lambda: MOMENTS[moment](place))
        finally:
            lost = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for each in lost:  # the launcher first, which would look after the others
                each.kill()
            psutil.wait_procs(lost[1:], timeout=2)
    assert process.returncode == -signal.SIGKILL
    place.silence()
    launched(place, *NODE)
    place.check(unkilled)


OWN = """
import flax.linen as nn
import jax


def fails(x):
    raise ValueError("of this setting")


class Layer(nn.Module):
    is_sound: bool = True

    @nn.compact
    def __call__(self, x):
        if not self.is_sound and len(x) == 20:  # a batch; launchers try layers on other rows
            jax.debug.callback(fails, x[0, 0])
        return nn.relu(nn.Dense(8)(x))


def sound(): return Layer()
def raising(): return Layer(False)
"""


@pytest.mark.slow
def test_a_pack_that_always_fails_leaves_all_others_as_they_are(places, launched):
    alone, place = places("alone"), places("beside")
    for each in (alone, place):
        (each.path / "own.py").write_text(OWN)
    sound = ["--encoder.layers", "own.py:sound"]
    launched(alone, *sound)
    fixed = [word for word in place.argv if word not in ("--encoder.layers", "12", "6")]
    swept = ["--sweep", "encoder.layers=own.py:sound,own.py:raising", *SLURM]
    code, reported = place.ended("pretrain.engines.remote:_Watch._hire before 1", "launch", *fixed, *swept)
    assert code == -signal.SIGKILL, reported
    for _ in range(4):  # a worker that had two faults in a row believes that it is broken, and another comes
        if place.queue.has_waiting():
            assert place.work()[0] == 0
    assert place.queue.is_over()
    aside = place.queue.set_aside()
    assert len(aside) == 1
    (faults,) = [faults for faults in place.queue.faults().values() if faults]
    assert len(faults) == queues.MOST_FAULTS and all("of this setting" in fault["reason"] for fault in faults)
    place.queue.remove()
    assert "0 of 4 stages run" in launched(place, *sound)
    place.check(results(alone.path / RUN))
