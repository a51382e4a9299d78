"""What a worker spends beside training, measured on this machine; and a real run beside the simulation of it."""

import functools
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench.seed_job import ROOT
from tests.bench.small_trials import get_config, write_rows

LISTED, CLAIMED, REPEATS, TIMES = 10_000, 300, 5, 2
COUNTED, MARK, SEAL, OPEN = "counted", "mark", "seal_ops", "open_ops"
# What names a file or syncs one; reads and writes go to the file's own server.
OPERATIONS = (
    "openat,open,mkdir,rename,renameat2,unlink,unlinkat,rmdir,link,getdents64,stat,newfstatat,statx,fsync,fdatasync"
)


class Bench(NamedTuple):
    """Packs of small trials, one a stage, and what was done of them."""

    packs: list
    dataset: object
    seconds: Callable[[], list[float]]  # does all packs; CPU seconds of each
    outcomes: list


def bench(directory: Path, n_trials: int) -> Bench:
    """Plans small trials in this process, which keeps compiled programs below the directory."""
    from pretrain import data
    from pretrain.config.fields import replace_all
    from pretrain.execute import execute
    from pretrain.plan import arrays, environment
    from pretrain.plan import plan as planning
    from pretrain.plan.identity import Fingerprints
    from pretrain.store import programs

    programs.prepare_devices(1)
    programs.prepare(directory / "programs")
    if not (directory / "rows.npz").exists():
        write_rows(directory / "rows.npz")
    values = {"data.name": str(directory / "rows.npz"), "seeds": n_trials}
    experiment = replace_all(get_config(), values)
    datasets = data.load_all(experiment)
    jobs = planning.plan(experiment, datasets, Fingerprints()).jobs.values()
    by_stage: dict = {}
    for job in jobs:
        by_stage.setdefault(job.stage, []).append(job)
    packs = [planning.Pack(stage, tuple(members)) for stage, members in by_stage.items()]
    outcomes: list = []

    def seconds() -> list[float]:
        outcomes.clear()
        taken, params, digests = [], {None: None}, {None: None}
        for pack in packs:
            began = time.process_time()
            parents = [params[job.parent] for job in pack.jobs]
            of_parents = [digests[job.parent] for job in pack.jobs]
            with environment.one_thread():
                ran = execute.run(pack, datasets[pack.data], parents, lambda step, progress: None, digests=of_parents)
            taken.append(time.process_time() - began)
            outcomes.append(ran)
            for lane, job in enumerate(pack.jobs):
                params[job.id] = arrays.lane_of(ran.params, lane)
                digests[job.id] = {side: int(values[lane]) for side, values in ran.digests.items()}
        return taken

    return Bench(packs, datasets[packs[0].data], seconds, outcomes)


def measured(few: int = 64, many: int = 256) -> dict[str, float]:
    """Returns the costs that can be measured here, by their names in ``Costs``; and, beside them, what a disk does."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        by_size, n_stages = {}, 0
        for n_trials in (few, many):
            small = bench(directory, n_trials)
            n_stages = len(small.packs)
            cold = sum(small.seconds())
            by_size[n_trials] = statistics.median(sum(small.seconds()) for _ in range(REPEATS))
            found["compile"] = (cold - by_size[n_trials]) / n_stages
        _forget_programs()
        found["cached"] = (sum(small.seconds()) - by_size[many]) / n_stages
        found["trial"] = (by_size[many] - by_size[few]) / (many - few)
        found["pack"] = max(0.0, by_size[few] - few * found["trial"]) / n_stages
        found["seal"], found["open"], found["files"] = _stored(small, directory)
        found["name"], found["claim_seconds"] = _listed(directory), _claimed(directory)
        found["start"] = _started(directory)
        found |= _operations(directory)
    return found


def _forget_programs() -> None:
    from pretrain.execute import lanes

    for program in (lanes.INIT, lanes.LOOP, lanes.FINISH, lanes.FIT):
        program.clear()


def _stored(small: Bench, directory: Path) -> tuple[float, float, int]:
    """Returns the wall seconds of sealing the last pack, and of opening it as a parent's; and its files."""
    from pretrain.store.store import Store

    pack, outcome = small.packs[-1], small.outcomes[-1]
    sealing, opening, files = [], [], 0
    for number in range(REPEATS):
        root = directory / f"store-{number}"
        store = Store(root, print)
        sealing.append(wall(functools.partial(store.write, pack, outcome)))
        opening.append(wall(functools.partial(open_pack, root, pack)))
        files = sum(path.is_file() for path in (root / "packs").rglob("*"))
    return statistics.median(sealing), statistics.median(opening), files


def open_pack(root: Path, pack) -> None:
    """Opens the only pack of a store, and reads the parameters of its jobs."""
    from pretrain.store.store import Store

    store = Store(root, print)
    assert len(store.verified([job.id for job in pack.jobs])) == len(pack.jobs)
    for job in pack.jobs:
        store.params(job.id)


def _listed(directory: Path) -> float:
    """Returns the seconds for each name of a folder that is listed, and sorted."""
    folder = directory / "listed"
    folder.mkdir()
    for number in range(LISTED):
        (folder / f"{number:06}").touch()
    return statistics.median(wall(lambda: sorted(os.listdir(folder))) for _ in range(REPEATS)) / LISTED


def _claimed(directory: Path) -> float:
    """Returns the seconds of making a file that nobody else has made."""
    folder = directory / "claimed"
    folder.mkdir()

    def claim() -> None:
        for number in range(CLAIMED):
            os.close(os.open(folder / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY))

    return wall(claim) / CLAIMED


def _started(directory: Path) -> float:
    """Returns the CPU seconds of a process that imports what a worker does, plans small trials and has their data."""

    before = _of_children()
    _work(directory, "start")
    return _of_children() - before


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _operations(directory: Path) -> dict[str, float]:
    """Returns the operations of sealing a pack and of opening one, as ``strace`` counts them where it is there."""
    if not shutil.which("strace"):
        return {}
    log = directory / "calls"
    _work(directory, "store", prefix=["strace", "-f", "-y", "-e", f"trace={OPERATIONS}", "-o", str(log)])
    return counted(log.read_text(errors="replace").splitlines(), str(directory / COUNTED))


def counted(lines: Iterable[str], below: str) -> dict[str, float]:
    """Returns the operations of sealing and opening a pack, of lines of ``strace`` with marks between the two.

    Args:
      lines: each a call, with the paths of its files; one that is interrupted is resumed in another line, and one of an
        empty name asks about a file that is open, which a client knows.
      below: the beginning of the paths that count.
    """
    counts, at = dict.fromkeys((SEAL, OPEN), 0.0), None
    for line in lines:
        if f"{below}-{MARK}" in line:
            at = next((each for each in counts if f"{MARK}-{each}" in line), None)
        elif at and below in line and "resumed>" not in line and ', ""' not in line:
            counts[at] += 1
    return {name: n / TIMES for name, n in counts.items()}


def _work(directory: Path, *what: str, prefix: Sequence[str] = ()) -> None:
    command = [*prefix, sys.executable, "-m", "tests.bench.cluster_costs", str(directory), *what]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def work(directory: str, what: str) -> None:
    """Starts as a worker does; where it is to ``store``, seals packs and opens them, with marks between the two."""
    from pretrain.store.store import Store

    small = bench(Path(directory), 64)
    if what == "start":
        return
    small.seconds()
    pack, outcome = small.packs[-1], small.outcomes[-1]
    roots = [Path(directory) / f"{COUNTED}-{number}" for number in range(1 + TIMES)]  # the first is to get ready
    Store(roots[0], print).write(pack, outcome)
    open_pack(roots[0], pack)
    Path(directory, f"{COUNTED}-{MARK}-{SEAL}").exists()
    for root in roots[1:]:
        Store(root, print).write(pack, outcome)
    Path(directory, f"{COUNTED}-{MARK}-{OPEN}").exists()
    for root in roots[1:]:
        open_pack(root, pack)
    Path(directory, f"{COUNTED}-{MARK}-end").exists()


def wall(function: Callable[[], object]) -> float:
    """Returns the seconds of a call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def in_words(found: Mapping[str, float]) -> Iterator[str]:
    """Yields a line a cost: measured, and as it stands in the file."""
    from tests.bench.cluster import COSTS

    for name, value in found.items():
        stands = getattr(COSTS, name, None)
        is_count = name.endswith(("ops", "files"))
        shown, stated = (
            "" if each is None else f"{each:.1f}" if is_count else f"{1e3 * each:.4g} ms" for each in (value, stands)
        )
        yield f"{name:14} {shown:>12} {stated:>12}"


if __name__ == "__main__":
    work(*sys.argv[1:])
