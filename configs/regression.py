"""Does pretraining help to predict a number? Diabetes: 442 rows of 10 measurements, progression after a year.

    python launch.py regression

Every seed has a cut of its own; each arm chooses its learning rate by validation, and fine-tuning ends when validation
loss falls no further. Expect no verdict, an R² of 0.42 with pretraining and 0.40 without it.
"""

from pathlib import Path

import numpy as np

from pretrain.config import (
    AdamConfig,
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PretrainConfig,
    StudyConfig,
)

_RATE = "finetune.optimizer.learning_rate"


def arrays() -> dict[str, np.ndarray]:
    """Returns scikit-learn's diabetes set: rows, and each one's progression."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    return {"X": found.data, "y": found.target}


def get_config() -> Experiment:
    """Returns the experiment: 16 seeds of pretrained and He weights, all layers trained, each arm tuned."""
    return Experiment(
        data=DataConfig(name=f"{Path(__file__).resolve()}:arrays", splits="fresh", validation=0.2),
        encoder=EncoderConfig(layers=(32, 16)),
        pretrain=PretrainConfig(epochs=50, batch_size=32, optimizer=AdamConfig(learning_rate=0.001)),
        finetune=FinetuneConfig(
            label_subset="first", labels=0, batch_size=20, updates=1000, stop="validation", validate_every=25
        ),
        sweep=({"finetune.encoder_init": ("pretrained", "he"), _RATE: (0.001, 0.003, 0.01, 0.03, 0.1)},),
        seeds=16,
        study=StudyConfig(tune=(_RATE,)),
    )
