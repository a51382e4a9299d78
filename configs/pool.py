"""How many unlabelled images does pretraining need? MNIST with 2,000 labels and a pool of up to 40,000 others.

    python launch.py pool

Pretrains Géron's encoder on the labelled images and on 0 to 40,000 images without a label, and trains a head on its
codes. Expect it to hurt below 4,000 unlabelled images and to help from there on, +1.2, +3.0 and +3.9 points at 4,000,
10,000 and 40,000. More images mean more updates, too: with 2,000 images there are 52 of them a layer.
"""

from pathlib import Path

import numpy as np

from pretrain import data
from pretrain.config import DataConfig, Experiment, FinetuneConfig

_SPLITS = {"train": 2000, "unlabelled": 40_000}  # images


def arrays() -> dict[str, np.ndarray]:
    """Returns MNIST with labels on 2,000 training images only."""
    mnist = data.load(DataConfig())
    found = {"val_images": mnist.validation.inputs, "val_labels": mnist.validation.labels}
    found |= {"test_images": mnist.test.inputs, "test_labels": mnist.test.labels, "train_labels": mnist.train.labels}
    start = 0
    for split, size in _SPLITS.items():
        found[f"{split}_images"] = mnist.train.inputs[start : start + size]
        start += size
    found["train_labels"] = found["train_labels"][: _SPLITS["train"]]
    return {name: array.reshape(-1, 28, 28) if name.endswith("images") else array for name, array in found.items()}


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds of pretrained and He weights, frozen, at five sizes of the pool."""
    sweep = {
        "finetune.encoder_init": ("pretrained", "he"),
        "data.unlabelled": (0, 1000, 4000, 10_000, 40_000),
    }
    source = DataConfig(name=f"{Path(__file__).resolve()}:arrays")
    finetune = FinetuneConfig(label_subset="first", frozen_layers="all")
    return Experiment(data=source, finetune=finetune, sweep=(sweep,))
