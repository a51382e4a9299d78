"""Which method of two views helps? Barlow Twins, VICReg and BYOL on digits.

    python launch.py redundancy

Expect VICReg to help, +1.0 points [+0.6, +1.4] at 1,000 labels and +3.6 [+1.8, +5.2] at 100, Barlow Twins at 1,000,
+0.5 [+0.2, +0.8], and BYOL to stay open, +0.4 [-0.1, +0.9] and +1.3 [-0.2, +2.5]; in half of the comparisons an arm
still improves when it ends, after 300 updates.
"""

from pretrain.config import (
    AdamConfig,
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PretrainConfig,
    RedundancyConfig,
    StudyConfig,
)

_RATE, _FROZEN = "finetune.optimizer.learning_rate", "finetune.frozen_layers"


def get_config() -> Experiment:
    """Returns the experiment: 16 seeds of three methods at two label budgets; learning rate and freezing tuned."""
    networks = {
        "finetune.encoder_init": ("pretrained", "he"),
        "pretrain.method.kind": ("redundancy", "variance", "teacher"),
        "finetune.labels": (1000, 100),
        _FROZEN: (0, "all"),
        _RATE: (0.0005, 0.002, 0.008),
    }
    return Experiment(
        data=DataConfig(validation=1000),
        encoder=EncoderConfig(layers=(300, 100), activation="relu"),
        pretrain=PretrainConfig(
            training="end_to_end",
            updates=500,
            batch_size=100,
            validate_every=250,
            method=RedundancyConfig(),
            optimizer=AdamConfig(learning_rate=0.001),
            l2=0.0,
        ),
        finetune=FinetuneConfig(
            updates=300, batch_size=32, stop="validation", validate_every=30, patience=4, label_subset="balanced"
        ),
        sweep=(networks,),
        seeds=16,
        study=StudyConfig(tune=(_RATE, _FROZEN)),
    )
