"""Small trials: 20 updates of pretraining and 20 of fine-tuning of 64-16-8-10, on images of 8 x 8.

python launch.py tests/bench/small_trials.py --data.name rows.npz
"""

from pathlib import Path

import numpy as np

from pretrain.config import DataConfig, EncoderConfig, Experiment, FinetuneConfig, PretrainConfig

ROWS, VALIDATION, LABELS, EPOCHS, UPDATES = 1000, 200, 200, 4, 20
LAYERS = 16, 8


def get_config() -> Experiment:
    """Returns the experiment, of one arm."""
    return Experiment(
        data=DataConfig(validation=VALIDATION),
        encoder=EncoderConfig(layers=LAYERS),
        pretrain=PretrainConfig(
            training="end_to_end", epochs=EPOCHS, batch_size=(ROWS - VALIDATION) * EPOCHS // UPDATES
        ),
        finetune=FinetuneConfig(labels=LABELS, epochs=EPOCHS, batch_size=LABELS * EPOCHS // UPDATES),
        seeds=64,
    )


def write_rows(path: Path) -> None:
    """Writes images of ten classes that differ in their means."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, ROWS)
    images = rng.normal(100, 30, (10, 8, 8))[labels] + rng.normal(0, 30, (ROWS, 8, 8))
    np.savez(path, x_train=images.clip(0, 255).astype(np.uint8), y_train=labels)
