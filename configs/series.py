"""Does contrast help on series? Digits as series of 40 steps (Greydanus and Kobak, 2024, "MNIST-1D"), by label budget.

    pip install -e '.[gallery]'
    python launch.py series

Expect contrast to help by far where labels are few: +33 points at 600 labels, which are then worth 2,046 without it,
+24 at 100, and nothing that is certain at 3,500 (0.914 against 0.896).
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
    """Returns the set as its package makes it: 4,000 training and 1,000 test series."""
    from mnist1d.data import make_dataset  # pip install -e '.[gallery]'

    made = make_dataset()
    return {"train_x": made["x"], "train_y": made["y"], "test_x": made["x_test"], "test_y": made["y_test"]}


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds of three label budgets, learning rate and freezing tuned."""
    method = ContrastiveConfig(
        views=("shift", "slope", "offset"),
        shift=0.225,
        slope=1.35,
        offset=0.52,
        projector=(125, 16),
        negatives="other_view",
    )
    networks = {
        "finetune.encoder_init": ("pretrained", "he"),
        "finetune.labels": (0, 600, 100),
        _FROZEN: (0, "all"),
        _RATE: (0.0003, 0.001, 0.004, 0.016),
    }
    return Experiment(
        data=DataConfig(name=f"{__file__}:load", inputs="series", validation=500),
        encoder=EncoderConfig(layers=("25c5s2p1", "25c3s2p1", "25c3s2p1"), activation="relu"),
        pretrain=PretrainConfig(
            training="end_to_end",
            end_to_end_epochs=200,
            batch_size=100,
            validate_every=350,
            method=method,
            optimizer=AdamConfig(learning_rate=0.01),
            l2=0.0,
        ),
        finetune=FinetuneConfig(
            updates=1000, stop="validation", validate_every=25, patience=8, label_subset="balanced"
        ),
        sweep=(networks,),
        study=StudyConfig(tune=(_RATE, _FROZEN)),
    )
