"""The ids of the stages of every config and of a few more plans, as golden numbers.

    python -m tests.stage_ids --record

Run it in the commit that means to alter ids, and say there why: all that any store holds of them is trained again.
"""

import json
import os
import platform
import runpy
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden" / "stage_ids.json"
OVERRIDES = {  # two values of many, whose programs take seconds to trace
    "label_budget": ["--sweep", "finetune.labels=50,20000"],
    "pool": ["--sweep", "data.unlabelled=0,40000"],
    "variations": ["--sweep", "data.name=rectangles"],
}
SMALL = ["--data.validation", "60", "--pretrain.batch-size", "20", "--finetune.labels", "100"]
TABLE = ["--data.name", "table.csv", "--data.target", "kind", *SMALL]
OTHERS = {  # more plans of geron, on data that are written first
    "table": TABLE,
    "tuned": [*TABLE, "--tune", "finetune.optimizer.learning_rate=0.001,0.01"],
    "supervised": [*TABLE, "--pretrain.method.kind", "supervised"],
    "convolution": [
        *("--data.name", "images.npz", *SMALL, "--encoder.layers", "8c3s2", "r8"),
        *("--pretrain.training", "greedy_then_end_to_end"),
    ],
    "contrast": [*TABLE, "--pretrain.method.kind", "contrastive"],
    "views of images": [*("--data.name", "images.npz", *SMALL), "--pretrain.method.kind", "variance"],
    "teacher": [*TABLE, "--pretrain.method.kind", "teacher"],
    "augmentation": [
        *("--data.name", "images.npz", *SMALL, "--finetune.views", "crop", "noise", "--finetune.cache-codes", "False"),
        *("--finetune.optimizer.clip-norm", "1"),
    ],
    "masks": [*("--data.name", "images.npz", *SMALL), "--pretrain.method.kind", "masked"],
    "hidden tokens": [
        *("--data.name", "images.npz", *SMALL, "--encoder.layers", "8p3", "t2", "--pretrain.method.kind", "masked"),
    ],
    "swapped values": [*TABLE, "--pretrain.method.kind", "vime"],
    "own layers": [*TABLE, "--encoder.layers", "layers.py:layers", "6"],
}
LAYERS = """
from flax import linen as nn


class Doubled(nn.Module):
    features: int

    @nn.compact
    def __call__(self, inputs):
        return nn.tanh(2 * nn.Dense(self.features)(inputs))

    def decoder(self, shape):
        return nn.Dense(shape[-1])


def layers():
    return Doubled(12)
"""


def versions() -> dict[str, str]:
    """The versions by which programs, and so ids, may differ."""
    from pretrain.plan import identity

    return {**identity.versions(), "python": ".".join(platform.python_version_tuple()[:2])}


def in_clean_process() -> dict:
    """Versions and ids, in a process of its own that none of this one's settings reaches."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "tests.stage_ids"]
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def all_ids() -> dict[str, dict[str, str]]:
    """A digest of the ids of each kind of stage, and of the trials, of one seed of every plan.

    Writes the data of those that are not of the gallery into the working directory.
    """
    from pretrain.plan.identity import Fingerprints

    _write_data()
    paths = sorted({*ROOT.glob("configs/*.py")} - {ROOT / "configs" / "checkpoint.py"})  # which has no weights here
    configs = {path.stem: _config(path) for path in paths}
    fingerprints = Fingerprints()
    found = {
        name: _ids(experiment, OVERRIDES.get(name, []), fingerprints) for name, experiment in sorted(configs.items())
    }
    return found | {name: _ids(configs["geron"], options, fingerprints) for name, options in OTHERS.items()}


def _config(path):
    return runpy.run_path(str(path))["get_config"]()


def _ids(experiment, options, fingerprints):
    from pretrain.commands.command_line import parse
    from pretrain.config.digests import sha256_of_json
    from pretrain.plan import fitting
    from pretrain.plan.plan import plan

    asked = parse(["--seeds", "1", *options], experiment, "", "")
    loaded = fitting.load(asked.experiment, asked.chosen)
    planned = plan(loaded.experiment, loaded.datasets, fingerprints)
    ids = defaultdict(list, trials=[trial.id for trial in planned.trials])
    for job in planned.jobs.values():
        ids[job.stage.name].append(job.id)
    return {name: f"{len(of_one)} {sha256_of_json(sorted(of_one))[:16]}" for name, of_one in sorted(ids.items())}


def _write_data():
    rng = np.random.default_rng(0)
    patterns, labels = rng.integers(0, 200, (3, 6, 6)), rng.integers(0, 3, 400)
    images = np.clip(patterns[labels] + rng.integers(-40, 40, (400, 6, 6)), 0, 255).astype(np.uint8)
    all_rows = {"images": images, "labels": labels}
    splits = {"train": slice(300), "test": slice(300, None)}
    arrays = {f"{split}_{name}": array[rows] for split, rows in splits.items() for name, array in all_rows.items()}
    np.savez("images.npz", **arrays)
    rows = [[*map(str, row[:5]), f"kind {label}"] for row, label in zip(images.reshape(400, -1), labels, strict=True)]
    Path("table.csv").write_text("\n".join(map(",".join, [["a", "b", "c", "d", "e", "kind"], *rows])) + "\n")
    Path("layers.py").write_text(LAYERS)


if __name__ == "__main__":
    if "--record" in sys.argv:
        GOLDEN.write_text(json.dumps(in_clean_process(), indent=1) + "\n")
    else:
        from pretrain.plan import environment

        environment.fix()
        print(json.dumps({"versions": versions(), "ids": all_ids()}))
