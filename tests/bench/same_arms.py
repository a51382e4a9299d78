"""How often ``does_it_help`` calls an effect between arms that are alike: He weights, and He weights of another draw.

    python -m tests.bench.same_arms [--answers 1000]

Pretraining of one update at a rate of 1e-12 leaves its layers as they were drawn, as the arm from scratch draws them;
``permuted`` puts their weights into random places, which is as good as another draw, for He weights are drawn one by
one alike and biases are zero. Arms of a seed share label subset, head and batches, so that nothing but which draw is
which separates them. Of made sets with a real signal, each gives 50 answers of eight seeds, each seed on a split of
its own; an arm chooses its rate and whether its encoder is frozen by validation rows. No two answers share a training.
"""

import argparse
import dataclasses
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretrain import running
from pretrain.commands import process
from pretrain.config import Experiment, config_file
from pretrain.config.fields import with_values
from pretrain.store import programs
from pretrain.study.answer import answer
from pretrain.study.comparisons import Comparison
from tests.launching import ROOT

SEEDS = 8  # of an answer, each on a split of its own
ANSWERS = 50  # on a made set
ROWS, COLUMNS = 240, 6
RATES = (0.003, 0.02, 0.1)


def made(number: int, split: int) -> dict[str, np.ndarray]:
    """A split of a set of 240 rows in two classes, which a small network separates better than a line does."""
    rng = np.random.default_rng(number)
    inputs = rng.normal(size=(ROWS, COLUMNS))
    score = inputs @ rng.normal(size=COLUMNS) + 1.5 * inputs[:, 0] * inputs[:, 1]
    labels = (score + rng.normal(size=ROWS) > 0).astype(int)
    rows = np.random.default_rng((number, split)).permutation(ROWS)
    cut = {"train": rows[:120], "val": rows[120:180], "test": rows[180:]}
    return {f"{name}_{role}": array[those] for name, those in cut.items() for role, array in _roles(inputs, labels)}


def _roles(inputs: np.ndarray, labels: np.ndarray) -> tuple[tuple[str, np.ndarray], ...]:
    return ("inputs", inputs), ("labels", labels)


def experiment(data: Path, seeds: int) -> Experiment:
    """The config, small: a layer, three rates, 60 updates, and pretraining that moves no weight by more than 1e-11."""
    config = config_file.load(ROOT / "configs" / "does_it_help.py", "does_it_help")
    networks = {**config.sweep[0], "finetune.encoder_init": ("permuted", "he"), config.study.tune[0]: RATES}
    small = dataclasses.replace(config, sweep=(networks,))
    changes = {
        "data.name": str(data),
        "encoder.layers": (12,),
        "pretrain.updates": 1,
        "pretrain.stop": "none",
        "pretrain.validate_every": 0,
        "pretrain.patience": 0,
        "pretrain.batch_size": 30,
        "pretrain.optimizer.learning_rate": 1e-12,
        "finetune.updates": 60,
        "finetune.batch_size": 30,
        "finetune.validate_every": 10,
        "finetune.patience": 0,
        "seeds": seeds,
        "run_dir": str(data.with_suffix("")),
        "store": str(data.parent / "store"),
    }
    asked = with_values(small, changes)
    asked.__post_init__()
    return asked


def tables(number: int, split: int, seeds: int, directory: Path) -> tuple[pa.Table, pa.Table]:
    """Returns the trials and curves of all seeds on a split of a made set."""
    data = directory / f"{number}-{split}.npz"
    np.savez(data, **made(number, split))
    prepared = running.prepare(experiment(data, seeds))
    with running.occupied(prepared) as note:
        trained = running.train(prepared, note=note)
    return trained.tables["trials"], trained.tables["curves"]


def answers(number: int, n: int, directory: Path) -> Iterator[Comparison]:
    """Yields the comparison of each of ``n`` answers on a made set: of seed i on split 0, seed i + 1 on split 1, …

    There are at least eight.
    """
    by_split = [tables(number, split, n, directory) for split in range(SEEDS)]
    study = experiment(directory / "none.npz", n).study
    for first in range(n):
        parts = [_of_seed(*each, (first + split) % n) for split, each in enumerate(by_split)]
        trials, curves = (pa.concat_tables(each) for each in zip(*parts, strict=True))
        (compared,) = answer(trials, curves, study).comparisons
        yield compared


def _of_seed(trials: pa.Table, curves: pa.Table, seed: int) -> tuple[pa.Table, pa.Table]:
    those = trials.filter(pc.equal(trials["seed"], seed))
    return those, curves.filter(pc.is_in(curves["trial_id"], those["trial_id"].combine_chunks()))


def share(called: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Returns the share of answers that call an effect and its standard error, answers of one set as one draw."""
    by_set = np.array([np.mean(each) for each in called])
    return float(by_set.mean()), float(by_set.std(ddof=1) / math.sqrt(len(by_set))) if len(by_set) > 1 else math.nan


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=1000)
    n = parser.parse_args(arguments).answers
    process.set_up_jax()
    called, at_chance, differ = [], 0, 0
    with tempfile.TemporaryDirectory() as directory:
        programs.prepare(Path(directory, "store", "programs"))
        for number in range(math.ceil(n / ANSWERS)):
            found = list(answers(number, ANSWERS, Path(directory)))
            called.append([each.verdict in ("helps", "hurts") for each in found])
            at_chance += sum(each.both_at_chance for each in found)
            differ += sum(int(np.any(each.treated != each.untreated)) for each in found)
            rate, error = share(called)
            n_answers = sum(map(len, called))
            binomial = math.sqrt(rate * (1 - rate) / n_answers)
            print(
                f"{n_answers} answers on {number + 1} sets: {100 * rate:.1f} % call an effect (standard error "
                f"{100 * error:.1f} over sets, {100 * binomial:.1f} over answers); {at_chance} at chance, "
                f"{n_answers - differ} without any difference",
                flush=True,
            )


if __name__ == "__main__":
    main()
