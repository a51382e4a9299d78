"""Does masked pretraining help a small vision transformer? Two blocks on 16 patches of MNIST's digits, by label budget.

    python launch.py vit

Not run yet: no answer is known.
"""

from pretrain.config import (
    AdamConfig,
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    MaskedConfig,
    PretrainConfig,
    StudyConfig,
)

_RATE = "finetune.optimizer.learning_rate"


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds of two label budgets, all layers trained, at a learning rate that is tuned."""
    networks = {
        "finetune.encoder_init": ("pretrained", "he"),
        "finetune.labels": (2000, 200),
        _RATE: (0.001, 0.003),
    }
    return Experiment(
        data=DataConfig(validation=1000),
        encoder=EncoderConfig(layers=("48p7", "t3", "t3", "norm", "mean")),
        pretrain=PretrainConfig(
            training="end_to_end",
            updates=2000,
            batch_size=128,
            validate_every=1000,
            method=MaskedConfig(),
            optimizer=AdamConfig(learning_rate=0.001),
            l2=0.0,
        ),
        finetune=FinetuneConfig(
            updates=300,
            batch_size=50,
            stop="validation",
            validate_every=25,
            patience=4,
            label_subset="balanced",
            frozen_layers=0,
        ),
        sweep=(networks,),
        study=StudyConfig(tune=(_RATE,)),
    )
