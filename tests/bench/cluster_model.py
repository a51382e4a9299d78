"""A cluster as a discrete-event simulation: workers that pull packs, a metadata server, a shared disk.

Nothing but a clock and waiting is asked of the simulation, so the clock is a heap of generators, each of which yields
the seconds until it goes on. Two designs run on it: ``pulled``, workers that live as long as the run and pull packs
from a queue, and ``submitted``, a job a pack and a barrier at each depth, of which each plans the whole experiment.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tests.bench.cluster_events import Clock, Process, Ready, Server

MOST_TRIALS = 1024  # of a pack
SECONDS = 20.0  # of a pack, at most as long as it has more than one trial
OLD_MOST_TRIALS = 64
BEAT = 10.0  # seconds between two signs of life of a worker
PAUSES = 0.05, 2.0  # seconds between two looks for a pack that is ready, from the shortest to the longest
CHUNKS = 8  # of a pass over data that are streamed
GOLDEN = 0.6180339887498949  # whose multiples spread starts, lengths and places to look from evenly
JITTER = 0.2  # by which starts differ at most, up and down


class Costs(NamedTuple):
    """Seconds and operations that a worker spends on what is not training."""

    start: float  # of a process: imports, data
    compile: float  # of the programs of a stage, tracing included
    cached: float  # of the same from the shared cache
    trial: float  # of a small trial, both its stages
    pack: float  # of a pack, whatever it holds: inputs to the device, results from it
    name: float  # of a name in a listing
    open: float  # of a parent's pack by its name
    seal: float  # of a pack
    open_ops: int  # operations of the metadata server
    seal_ops: int
    claim_ops: int = 1
    message_ops: int = 3  # to write one, and to read it
    done_ops: int = 4  # a result, written whole, and a rename
    plan_trial: float = 0.04e-3  # of planning
    plan_point: float = 1.7e-3
    old_open: float = 0.53e-3  # of a pack of a store that is opened whole
    old_open_ops: int = 2


class Cluster(NamedTuple):
    """A cluster of workers on a shared file system."""

    workers: int
    operations: float = 12_000.0  # of the metadata server (1/s)
    latency: float = 0.5e-3  # of an operation (s)
    listed: int = 1_000  # names that an operation lists
    disk: float = 5e9  # of the shared disk in all (bytes/s)
    client: float = 1e9  # of it, to one worker (bytes/s)
    own_disk: float = 2e9  # of a worker's own (bytes/s)
    is_staged: bool = False  # whether data are copied to a worker's own disk first
    varied: float = 0.1  # by which packs take longer or shorter at most, or all would come at once
    is_spread: bool = True  # whether workers look for a free pack from different places of the list


class Level(NamedTuple):
    """The jobs of one depth; job j has parent j modulo the number of jobs of the level before."""

    jobs: int
    seconds: float  # of a job in training
    read: float = 0.0  # of the data, in a pass (bytes)
    passes: int = 0


class Sweep(NamedTuple):
    """What is to be trained."""

    levels: tuple[Level, ...]
    points: int = 1

    @property
    def trials(self) -> int:
        return self.levels[-1].jobs

    @property
    def seconds(self) -> float:
        """Of training, of all jobs."""
        return sum(level.jobs * level.seconds for level in self.levels)


class Pack(NamedTuple):
    """Jobs that a worker does at once."""

    level: int
    jobs: int
    seconds: float
    parents: tuple[int, ...]  # numbers of packs


class Spent(NamedTuple):
    """What a run took."""

    wall: float  # seconds
    seconds: Counter  # of all workers, by what they did
    packs: int
    operations: int
    metadata: float  # share of the wall clock in which the metadata server was busy
    disk: float  # the same of the shared disk

    def share(self, kind: str = "training") -> float:
        """Returns a share of the workers' seconds."""
        return self.seconds[kind] / max(sum(self.seconds.values()), 1e-12)

    @property
    def most_lost(self) -> str:
        """What took most of the workers' time beside training."""
        return max((kind for kind in self.seconds if kind != "training"), key=self.seconds.__getitem__, default="")


def size(level: Level, seconds: float = SECONDS, most: int = MOST_TRIALS) -> int:
    """Returns the jobs of a pack: a power of two that takes at most so many seconds."""
    fitting = min(most, seconds / level.seconds) if level.seconds else most
    return 1 << max(0, int(fitting).bit_length() - 1)


def cut(sweep: Sweep, sizes: tuple[int, ...]) -> list[Pack]:
    """Returns the packs of a sweep, parents before children."""
    packs: list[Pack] = []
    before: tuple[int, int, int] | None = None  # first pack, packs' size and jobs of the level before
    for number, (level, n_jobs) in enumerate(zip(sweep.levels, sizes, strict=True)):
        first = len(packs)
        for at in range(0, level.jobs, n_jobs):
            n = min(n_jobs, level.jobs - at)
            packs.append(Pack(number, n, n * level.seconds, _parents(at, n, before)))
        before = first, n_jobs, level.jobs
    return packs


def _parents(at: int, n: int, before: tuple[int, int, int] | None) -> tuple[int, ...]:
    """Returns the packs that hold the parents of n jobs from the one at a place."""
    if before is None:
        return ()
    first, n_jobs, n_parents = before
    n_packs = -(-n_parents // n_jobs)
    if n >= n_parents:
        return tuple(range(first, first + n_packs))
    begin, end = at % n_parents, (at + n - 1) % n_parents
    spans = [(begin, end)] if begin <= end else [(begin, n_parents - 1), (0, end)]
    numbers = {pack for one, other in spans for pack in range(one // n_jobs, other // n_jobs + 1)}
    return tuple(sorted(first + number for number in numbers))


class _Run:
    """What all workers of a run share."""

    def __init__(self, sweep: Sweep, cluster: Cluster, costs: Costs, packs: list[Pack]):
        self.sweep, self.cluster, self.costs, self.packs = sweep, cluster, costs, packs
        self.clock, self.seconds = Clock(), Counter[str]()
        self.metadata = Server(max(1.0, cluster.operations - cluster.workers / BEAT))
        self.disk = Server(cluster.disk)
        self.n_trained = 0
        self.compiled: dict[int, float] = {}  # when a level's programs are in the shared cache

    def spend(self, kind: str, seconds: float) -> float:
        self.seconds[kind] += seconds
        return seconds

    def operate(self, operations: float, own: float = 0.0) -> float:
        """Spends a row of operations, each of which waits for the one before, and seconds of one's own."""
        served = self.metadata.wait(self.clock.now, operations)
        return self.spend("metadata", served + operations * self.cluster.latency) + self.spend("storing", own)

    def compile(self, level: int, known: set[int]) -> float:
        """Spends what it takes until a worker has a level's programs."""
        if level in known:
            return 0.0
        known.add(level)
        now, is_cached = self.clock.now, self.compiled.get(level, float("inf")) <= self.clock.now
        if not is_cached:
            self.compiled[level] = min(now + self.costs.compile, self.compiled.get(level, float("inf")))
        return self.spend("compiling", self.costs.cached if is_cached else self.costs.compile)

    def stage(self) -> Process:
        """Copies the data to a worker's own disk."""
        for amount in {level.read for level in self.sweep.levels} - {0.0}:
            for _ in range(CHUNKS):
                yield self.spend("reading", self._read(amount / CHUNKS))

    def train(self, pack: Pack) -> Process:
        """Trains a pack, whose data are read one chunk ahead."""
        level, cluster = self.sweep.levels[pack.level], self.cluster
        n_chunks = level.passes * CHUNKS if level.read else 1
        self.n_trained += 1
        seconds = pack.seconds * (1 + cluster.varied * (2 * (self.n_trained * GOLDEN % 1) - 1))
        for _ in range(n_chunks):
            amount, computing = level.read / CHUNKS if level.passes else 0.0, seconds / n_chunks
            read = amount / cluster.own_disk if cluster.is_staged else self._read(amount)
            self.seconds["training"] += computing
            self.seconds["reading"] += max(0.0, read - computing)
            yield max(read, computing)

    def _read(self, amount: float) -> float:
        return max(self.disk.wait(self.clock.now, amount), amount / self.cluster.client) if amount else 0.0

    def spent(self, wall: float) -> Spent:
        shares = [server.busy / max(wall, 1e-12) for server in (self.metadata, self.disk)]
        return Spent(wall, self.seconds, len(self.packs), round(self.metadata.served), *shares)


def pulled(
    sweep: Sweep, cluster: Cluster, costs: Costs, seconds: float = SECONDS, sizes: tuple[int, ...] = ()
) -> Spent:
    """Simulates workers that pull packs of a queue, each as soon as its parents' packs are done.

    Args:
      sweep: what is to be trained.
      cluster: the workers, and what they share.
      costs: of all else.
      seconds: of a pack, by which packs are cut.
      sizes: jobs of a pack at each level, in place of that.
    """
    packs = cut(sweep, sizes or tuple(size(level, seconds) for level in sweep.levels))
    run = _Run(sweep, cluster, costs, packs)
    clock, n_packs = run.clock, len(packs)
    children: list[list[int]] = [[] for _ in packs]
    for number, pack in enumerate(packs):
        for parent in pack.parents:
            children[parent].append(number)
    left = [len(pack.parents) + 1 for pack in packs]  # parents to be done, and the message to be written
    ready = Ready(n_packs)

    def freed(number: int) -> None:
        left[number] -= 1
        if not left[number]:
            ready.packs.append(number)

    def launch() -> Process:
        yield sweep.trials * costs.plan_trial + sweep.points * costs.plan_point
        for number in range(n_packs):  # all of them, before there are workers
            yield run.metadata.wait(clock.now, costs.message_ops) + costs.message_ops * cluster.latency
            freed(number)
        for number in range(cluster.workers):
            clock.start(work(number))

    def work(worker: int) -> Process:
        known: set[int] = set()
        place = worker * GOLDEN % 1
        yield run.spend("starting", costs.start * (1 + JITTER * (2 * place - 1)))
        if cluster.is_staged:
            yield from run.stage()
        pause = PAUSES[0]
        while ready.n_claimed < n_packs:
            yield run.operate(3 + n_packs / cluster.listed, n_packs * costs.name)
            taken = None
            for at in ready.candidates(clock.now, place if cluster.is_spread else 0.0):
                yield run.operate(costs.claim_ops)
                if ready.claim(at, clock.now):
                    number = ready.packs[at]
                    taken = packs[number]
                    break
            if taken is None:
                yield run.spend("waiting", pause)
                pause = min(2 * pause, PAUSES[1])
                continue
            pause, n_parents = PAUSES[0], len(taken.parents)
            yield run.operate(costs.message_ops + n_parents * (costs.open_ops + 2), n_parents * costs.open)
            yield run.compile(taken.level, known)
            yield from run.train(taken)
            yield run.operate(costs.seal_ops + costs.done_ops, costs.seal + costs.pack)
            for child in children[number]:
                freed(child)

    clock.start(launch())
    clock.run()
    return run.spent(clock.now)


def submitted(sweep: Sweep, cluster: Cluster, costs: Costs) -> Spent:
    """Simulates a job a pack, level by level; each plans all and opens the whole store.

    Packs have at most 64 trials, and fewer where there would be fewer packs than workers.
    """
    fair = tuple(-(-level.jobs // cluster.workers) for level in sweep.levels)
    packs = cut(sweep, tuple(min(OLD_MOST_TRIALS, each) for each in fair))
    run = _Run(sweep, cluster, costs, packs)
    clock, n_stored = run.clock, 0
    plan = sweep.trials * costs.plan_trial + sweep.points * costs.plan_point

    def work(todo: Iterator[Pack]) -> Process:
        nonlocal n_stored
        for pack in todo:
            yield run.spend("starting", costs.start)
            yield run.spend("planning", plan)
            own = n_stored * costs.old_open + len(pack.parents) * costs.open
            yield run.operate(n_stored * costs.old_open_ops + len(pack.parents) * costs.open_ops, own)
            yield run.compile(pack.level, set())
            yield from run.train(pack)
            yield run.operate(costs.seal_ops, costs.seal + costs.pack)
            n_stored += 1

    clock.now = plan
    for number in range(len(sweep.levels)):
        todo = iter([pack for pack in packs if pack.level == number])
        for _ in range(cluster.workers):
            clock.start(work(todo))
        clock.run()
    return run.spent(clock.now)
