"""What saturates first as a cluster grows: sweeps on workers that pull packs, by simulation with measured costs.

    python -m tests.bench.cluster [--operations 12000] [--disk 5] [--client 1] [--seconds 20]
    python -m tests.bench.cluster --measure          # the costs, on this machine, beside those that are simulated
    python -m tests.bench.cluster --check 2000       # so many real packs on Ray here, beside what is simulated

Workers live as long as the run: each lists the queue, claims a pack that is ready, opens its parents' packs by name,
trains it, seals the outcome and marks it as done. `a job a pack` is the design before: each starts a process, plans the
whole experiment and opens the whole store, and a depth begins where the one before has ended. Times of workers on one
machine are measured there; of a cluster, only the metadata server's rate and latency and the disk's bandwidth are
assumed, and are options: 12,000 operations a second is a step in which Amazon FSx for Lustre is sold (1,500 to
192,000).
"""

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.bench.cluster_model import SECONDS, Cluster, Costs, Level, Spent, Sweep, pulled, submitted

# Measured by `python -m tests.bench.cluster --measure` on two cores of an AMD EPYC; planning, and opening a whole store
# per pack, by tests/bench/sweep.py. Operations on files that are open are not counted.
COSTS = Costs(
    start=7.4,
    compile=5.1,
    cached=0.72,
    trial=2.1e-3,
    pack=8e-3,
    name=0.3e-6,
    open=30e-3,
    seal=0.16,
    open_ops=67,
    seal_ops=265,
)
SUFFICIENT = 0.8  # of workers' time in training, below which something counts as saturated
MOST_BUSY = 0.7  # of a server's time, from which on waiting for it counts as its own

SMALL = "10⁶ trials of {trial:.1f} ms"
GPU = "10⁵ trials of a GPU-minute"
DATA = "10 TB read, {how}"
CAUSES = {
    "starting": "start of workers",
    "compiling": "compilation",
    "metadata": "operations on files",
    "storing": "opening, sealing",
    "reading": "reading data",
    "waiting": "packs too few",
    "planning": "planning in jobs",
}


class Scenario(NamedTuple):
    """A sweep on clusters of several sizes."""

    title: str
    design: Callable[[Sweep, Cluster, Costs], Spent]
    sweep: Sweep
    sizes: tuple[int, ...]
    changed: dict  # of ``Cluster``


def scenarios(costs: Costs, seconds: float = SECONDS) -> Iterator[Scenario]:
    """Yields the scenarios of the table.

    Args:
      costs: measured.
      seconds: of a pack.
    """

    def pull(sweep: Sweep, cluster: Cluster, costs: Costs) -> Spent:
        return pulled(sweep, cluster, costs, seconds)

    small = Sweep((Level(10_000, costs.trial / 2), Level(1_000_000, costs.trial)), points=100)
    large = Sweep((Level(1_000, 60.0), Level(100_000, 60.0)), points=100)
    # 200 packs of five passes over 10 GB, at 0.5 GB/s where nothing holds them up.
    streamed = Sweep((Level(200, 100.0, read=10e9, passes=5),))
    many, gpus, nodes = (10, 30, 100, 300, 1_000, 3_000, 10_000), (1, 10, 100, 1_000, 10_000), (1, 3, 10, 30, 100, 200)
    title = SMALL.format(trial=1e3 * costs.trial)
    yield Scenario(title, pull, small, many, {})
    yield Scenario(f"{title}, all claiming from the front", pull, small, many, {"is_spread": False})
    yield Scenario(f"{title}, a job a pack", submitted, small, many, {})
    yield Scenario(GPU, pull, large, gpus, {})
    yield Scenario(f"{GPU}, a job a pack", submitted, large, gpus, {})
    yield Scenario(DATA.format(how="from a shared disk"), pull, streamed, nodes, {})
    yield Scenario(DATA.format(how="staged to nodes"), pull, streamed, nodes, {"is_staged": True})


def cause(spent: Spent) -> str:
    """Returns in words what takes the workers' time, where that is much."""
    if spent.share() >= SUFFICIENT:
        return "nothing"
    words = CAUSES[spent.most_lost]
    busy = {"metadata": spent.metadata, "reading": spent.disk}.get(spent.most_lost, 0.0)
    return f"{words}: server full" if busy >= MOST_BUSY else words


def first_saturated(by_size: dict[int, Spent]) -> str:
    """Returns in words from which size on something is saturated, and what."""
    for size, spent in by_size.items():
        if spent.share() < SUFFICIENT:
            return f"at {size:,}: {cause(spent)}"
    return f"nothing up to {max(by_size):,}"


def duration(seconds: float) -> str:
    """Returns seconds in words, to three digits at most."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def report(
    made: Iterator[Scenario], cluster: Cluster, costs: Costs, is_markdown: bool = False
) -> Iterator[Table | str]:
    """Yields a table a scenario, or its lines in Markdown, each as soon as it is simulated."""
    columns = "workers", "wall", "packs", "training", "most of the rest", "of it", "metadata", "disk"
    for scenario in made:
        by_size = {}
        for size in scenario.sizes:
            one = cluster._replace(workers=size, **scenario.changed)
            by_size[size] = scenario.design(scenario.sweep, one, costs)
        title = f"{scenario.title}; saturated first {first_saturated(by_size)}"
        rows = [
            (
                f"{size:,}",
                duration(spent.wall),
                f"{spent.packs:,}",
                f"{spent.share():.1%}",
                CAUSES[spent.most_lost],
                f"{spent.share(spent.most_lost):.1%}",
                f"{spent.metadata:.0%} busy",
                f"{spent.disk:.0%} busy",
            )
            for size, spent in by_size.items()
        ]
        if is_markdown:
            yield "\n".join([f"\n{title}\n", *("| " + " | ".join(row) + " |" for row in [columns, ["---"] * 8, *rows])])
            continue
        table = Table(*columns, title=title, box=None, pad_edge=False, title_justify="left")
        for row in rows:
            table.add_row(*row)
        yield table


def main() -> None:
    """Prints the tables, the costs of this machine, or a real run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=float, default=Cluster(1).operations, help="of the metadata server (1/s)")
    parser.add_argument("--latency", type=float, default=1e3 * Cluster(1).latency, help="of an operation (ms)")
    parser.add_argument("--disk", type=float, default=5.0, help="bandwidth of the shared disk in all (GB/s)")
    parser.add_argument("--client", type=float, default=1.0, help="bandwidth of it to one worker (GB/s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a pack (s)")
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.add_argument("--measure", action="store_true", help="measure the costs on this machine, in a minute")
    parser.add_argument("--check", type=int, metavar="N", help="run so many real packs on Ray here")
    parser.add_argument("--memory", default="", help="with --check: memory of a worker, by which packs are cut (GB)")
    options = parser.parse_args()
    out = Console(highlight=False, soft_wrap=True, width=120)
    if options.measure or options.check:
        from tests.bench import cluster_check, cluster_costs

        found = cluster_costs.measured()
        for line in cluster_costs.in_words(found):
            out.print(line)
        if options.check:
            costs = COSTS._replace(**{name: value for name, value in found.items() if name in Costs._fields})
            for line in cluster_check.compared(cluster_check.checked(options.check, costs, memory=options.memory)):
                out.print(line)
        return
    shared = {"disk": 1e9 * options.disk, "client": 1e9 * options.client, "latency": options.latency / 1e3}
    cluster = Cluster(1, operations=options.operations, **shared)
    for table in report(scenarios(COSTS, options.seconds), cluster, COSTS, options.markdown):
        out.print(table)
        out.print()


if __name__ == "__main__":
    main()
