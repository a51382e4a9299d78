"""Memory that a dry run states against memory that the run takes, by shapes of data and sweeps.

    python -m tests.bench.memory [shape ...]

Every launch is a process of its own: a dry run with an empty store, the run, whose stages make three updates each, for
memory hardly depends on their number, and a dry run with the store, which has noted temporaries of programs by then.
Printed are megabytes: stated at first, stated then, taken (the largest resident set); and the last two as a ratio.
"""

import argparse
import dataclasses
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
UPDATES = 3
RATES = ",".join(f"{rate:.6f}" for rate in np.geomspace(1e-4, 1e-1, 64))
CONVOLUTIONS = ["--encoder.layers", "32c5s2", "64c5s2", "128"]
TRAINABLE = ["--finetune.frozen-layers", "0"]
FROM_SCRATCH = [*TRAINABLE, "--finetune.encoder-init", "he"]
# Rows, their shape, and options; without rows, MNIST.
SHAPES = {
    "small": (1000, (8, 8), ["--data.validation=200", "--finetune.labels=200", "--seeds=2"]),
    "convolutions": (3000, (28, 28), [*CONVOLUTIONS, "--data.validation=500", "--finetune.labels=1000", "--seeds=16"]),
    "convolutions on MNIST": (None, (), [*CONVOLUTIONS, "--seeds=8"]),
    "500,000 rows": (500_000, (100,), ["--seeds=2"]),
    "10,956 columns": (5000, (10_956,), ["--data.validation=500", "--finetune.labels=1000", "--seeds=2"]),
    "geron, 64 seeds": (None, (), ["--seeds=64"]),
    "64 trainable arms": (None, (), [*TRAINABLE, "--seeds=1", "--sweep", f"finetune.optimizer.learning_rate={RATES}"]),
    "256 x 256 x 3": (
        *(400, (256, 256, 3)),
        ["--encoder.layers", "50", "20", "--data.validation=50", "--finetune.labels=100", "--seeds=2"],
    ),
}


def data(shape, directory):
    """Writes the data of a shape, and returns the options that name them."""
    n_rows, size, _ = SHAPES[shape]
    if n_rows is None:
        return []
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n_rows)
    if len(size) > 1:
        path = Path(directory, "data.npz")
        np.savez(path, x_train=rng.integers(0, 256, (n_rows, *size), np.uint8), y_train=labels)
        return ["--data.name", str(path)]
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {f"c{number}": rng.normal(size=n_rows) for number in range(*size)}
    path = Path(directory, "data.parquet")
    pq.write_table(pa.table({**columns, "class": labels}), path)
    return ["--data.name", str(path), "--data.target", "class"]


def launch(argv):
    """Launches in this process, with stages of few updates."""
    from pretrain.commands.process import run
    from pretrain.plan import builders

    def shortened(build):
        def built(*arguments, **options):
            stage, config = build(*arguments, **options)
            n_updates = min(UPDATES, stage.n_updates)
            return dataclasses.replace(stage, static=stage.static._replace(n_updates=n_updates)), config

        return built

    builders.pretraining, builders.last = map(shortened, (builders.pretraining, builders.last))
    code = run(argv, ROOT / "configs")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6:,.0f} MB")
    return code


def launched(argv):
    """Returns what a launch in a process of its own prints."""
    command = [sys.executable, "-m", "tests.bench.memory", "--launch", *argv]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{argv}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def megabytes(pattern, text):
    """Returns the megabytes after a pattern."""
    return int(re.search(rf"{pattern} ([\d,]+) MB", text)[1].replace(",", ""))


def measured(shape):
    """Returns the megabytes that a shape's dry run states, first and once noted, and those that its run takes."""
    with tempfile.TemporaryDirectory() as directory:
        places = ["--run-dir", f"{directory}/run", "--store", f"{directory}/store"]
        argv = ["geron", *SHAPES[shape][2], *data(shape, directory), *places]
        first = megabytes("at least", launched([*argv, "--dry-run"]))
        taken = megabytes("peak", launched(argv))
        then = megabytes("at most", launched([*argv, "--dry-run"]))
    return first, then, taken


def main():
    """Prints a row a shape."""
    if sys.argv[1:2] == ["--launch"]:
        sys.exit(launch(sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", choices=[[], *SHAPES], default=list(SHAPES))
    for shape in parser.parse_args().shapes or SHAPES:
        first, then, taken = measured(shape)
        print(f"{shape:24} {first:8,} {then:8,} {taken:8,} {then / taken:6.2f}", flush=True)


if __name__ == "__main__":
    main()
