"""Does pretraining help on a small table? Breast cancer: 569 rows of 30 measurements, 100 of them labelled.

    python launch.py tabular

Every seed has a cut of its own; each arm chooses its learning rate by validation, and
fine-tuning ends when validation loss falls no further. Expect no verdict, -0.1 points [-0.8, +0.5] at a test accuracy
of 0.96.
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
    """Returns scikit-learn's breast cancer set: rows, and whether each tumour is benign."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    return {"X": found.data, "y": found.target_names[found.target].astype(str)}


def get_config() -> Experiment:
    """Returns the experiment: 16 seeds of pretrained and He weights, all layers trained, each arm tuned."""
    return Experiment(
        data=DataConfig(name=f"{Path(__file__).resolve()}:arrays", splits="fresh", validation=0.2),
        encoder=EncoderConfig(layers=(32, 16)),
        pretrain=PretrainConfig(epochs=50, batch_size=32, optimizer=AdamConfig(learning_rate=0.001)),
        finetune=FinetuneConfig(
            labels=100, label_subset="random", batch_size=20, updates=1000, stop="validation", validate_every=25
        ),
        sweep=({"finetune.encoder_init": ("pretrained", "he"), _RATE: (0.0003, 0.001, 0.003, 0.01, 0.03)},),
        seeds=16,
        study=StudyConfig(tune=(_RATE,)),
    )
