"""Does contrast help on a small table? SCARF (Bahri et al., 2022) on breast cancer, 569 rows of 30 columns.

    python launch.py table_scarf

Expect no answer: 473 rows and 8 seeds leave -0.7 points [-1.9, +0.7] at 341 labels and +0.9 [-1.3, +4.7] at 40.
"""

from pretrain.config import (
    AdamConfig,
    ContrastiveConfig,
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PretrainConfig,
    StudyConfig,
)

_RATE, _FROZEN = "finetune.optimizer.learning_rate", "finetune.frozen_layers"


def load() -> dict:
    """Returns the rows that scikit-learn has."""
    from sklearn.datasets import load_breast_cancer

    inputs, labels = load_breast_cancer(return_X_y=True)
    return {"X": inputs, "y": labels}


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds, a cut each, of two label budgets; learning rate and freezing tuned."""
    method = ContrastiveConfig(views=("swap",), anchor="clean", temperature=1.0)
    networks = {
        "finetune.encoder_init": ("pretrained", "he"),
        "finetune.labels": (0, 40),
        _FROZEN: (0, "all"),
        _RATE: (0.001, 0.004, 0.016, 0.06),
    }
    return Experiment(
        data=DataConfig(name=f"{__file__}:load", inputs="columns", validation=0.2, splits="fresh"),
        encoder=EncoderConfig(layers=(64, 64), activation="relu"),
        pretrain=PretrainConfig(
            training="end_to_end",
            updates=2000,
            batch_size=128,
            stop="validation",
            validate_every=50,
            patience=10,
            method=method,
            optimizer=AdamConfig(learning_rate=0.001),
            l2=0.0,
        ),
        finetune=FinetuneConfig(
            updates=600, batch_size=20, stop="validation", validate_every=20, patience=8, label_subset="balanced"
        ),
        sweep=(networks,),
        study=StudyConfig(tune=(_RATE, _FROZEN)),
    )
