"""Does masked pretraining help a small vision transformer? Two blocks on 16 patches of MNIST's digits, by label budget.

    python launch.py vit

Expect it to help at 200 labels, +8.9 points [+5.2, +11.9], and to be inconclusive at 2,000, +3.7 [+1.0, +6.4]:
accuracies are .67 and .88 then, and some arms still improve after 300 updates.
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
        _RATE: (0.0003, 0.001, 0.003, 0.009),
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
