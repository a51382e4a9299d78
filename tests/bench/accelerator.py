r"""A quarter of an hour on a GPU: what `pretrain` does there that no CPU can show, in one script.

    python -m tests.bench.accelerator [--seconds 800] [--only geron,bits] [--small]

`geron`'s stages as packs of several sizes, and the number of its seeds that are trained in the time in which PyTorch
trains one, eager, on the same device; a convolution; trials side by side (`vmap`) against one after another; memory
stated against memory taken; whether a lane has the same bits in packs of any size. A part that fails is a
line of the table. `--small` takes the same way on CPUs, in a minute or two. Results go to `$OUT/accelerator.json`, too,
part by part.

That every kind of stage can be lowered for CUDA and TPU is tested on CPUs, in tests/plan/test_export.py.

A machine that reaches no registry, but has Python 3.12, JAX 0.11 with CUDA, flax, optax, orbax-checkpoint, pyarrow,
scikit-learn and PyTorch, lacks a few small wheels. Where the repository is, once (pip names the one version of
pydantic-core that pydantic takes):

    echo /.whl/ >> .git/info/exclude
    python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d .whl \
        tyro docstring-parser pydantic pydantic-core==THAT_VERSION annotated-types typing-inspection

and there, with `.whl` carried along, in two commands of less than ten minutes each, the more important one first:

    python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target /tmp/site .whl/*.whl
    export PYTHONPATH=/tmp/site:. PYTHONUNBUFFERED=1
    python3 -m tests.bench.accelerator --programs /tmp/programs --seconds 420 --only geron,bits
    python3 -m tests.bench.accelerator --programs /tmp/programs --seconds 300 --only side_by_side,memory,convolution
"""

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.accelerator_parts import (
    FULL,
    SMALL,
    Row,
    Sizes,
    bits,
    convolution,
    geron,
    memory,
    side_by_side,
    stated,
)

SHORTEST = 20.0  # seconds for which a part is begun

PARTS: dict[str, Callable[[Sizes, Path], Iterator[Row]]] = {
    "geron": geron,
    "bits": bits,
    "side_by_side": side_by_side,
    "memory": memory,
    "convolution": convolution,
}


class OutOfTimeError(Exception):
    """The time that was given is spent."""


def guarded(names: list[str], sizes: Sizes, scratch: Path, seconds: float) -> Iterator[Row]:
    """Yields the rows of parts; of one that fails what it had, and why, and then the others until the time is out."""
    ends = time.monotonic() + seconds

    def out_of_time(number: int, frame: Any) -> None:
        raise OutOfTimeError(f"the {seconds:.0f} s are spent")

    signal.signal(signal.SIGALRM, out_of_time)
    for name in names:
        left = ends - time.monotonic()
        if left < min(SHORTEST, seconds / 2):
            yield {"part": name, "error": f"left out, with {max(0.0, left):.0f} s left"}
            continue
        try:
            signal.setitimer(signal.ITIMER_REAL, left)
            for row in PARTS[name](sizes, scratch):
                yield {"part": name, **row}
        except (Exception, SystemExit) as error:  # whatever it is, other parts go on
            yield {"part": name, "error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            gc.collect()


def line(row: Row) -> str:
    """Returns a row in words."""
    if "error" in row:
        return f"{row['part']:13} {row.get('name', '')} {row['error']}"
    shown = [f"{row['part']:13} {row['name']:44} {row.get('trials', ''):>4}"]
    units = {
        "seconds": "s",
        "compile": "s to compile",
        "update_us": "µs an update of a trial",
        "stated_mb": "MB stated",
    }
    units |= {"trial_mb": "MB a trial", "taken_mb": "MB taken", "ratio": "×", "goal": "is the goal"}
    shown += [f"{row[name]:,.4g} {unit}" for name, unit in units.items() if row.get(name) is not None]
    shown += [f"{row['equal']} lanes equal, {row['gap']:.1e} apart"] if "equal" in row else []
    return "  ".join([*shown, *([row["note"]] if row.get("note") else [])])


def prepare(programs_at: Path, is_small: bool) -> str:
    """Sets up this process; returns the device and the versions in a line."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch and packs in other processes want some
    import jax

    from pretrain.plan import environment
    from pretrain.store import programs

    environment.fix()
    programs.prepare_devices(1)
    programs.prepare(programs_at)
    device = jax.local_devices()[0]
    kind = "small sizes" if is_small else "full sizes"
    return f"{device.platform} {device.device_kind}, jax {jax.__version__}, Python {sys.version.split()[0]}, {kind}"


def main() -> int:
    """Prints a line a measurement; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=800, help="after which nothing more is begun")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by comma")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the script on CPUs")
    parser.add_argument("--programs", default="", help="directory of compiled programs; by default one for this run")
    parser.add_argument("--stated", choices=("dense", "convolution"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"--only {','.join(unknown)} is none of {', '.join(PARTS)}")
    sizes = SMALL if options.small else FULL
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        if options.programs:
            (scratch / "programs").symlink_to(Path(options.programs).resolve())
        where = prepare(scratch / "programs", options.small)
        if options.stated:
            print(json.dumps(stated(options.stated, sizes, scratch)))
            return 0
        print(where, flush=True)
        rows: list[Row] = []
        for row in guarded(names, sizes, scratch, options.seconds):
            rows.append(row)
            print(line(row), flush=True)
            if out := os.environ.get("OUT"):
                Path(out, "accelerator.json").write_text(json.dumps({"where": where, "rows": rows}, indent=1))
    return int(all("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
