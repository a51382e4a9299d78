"""Does contrast help on images? Two views of digits (Chen et al., 2020), a dense and a convolutional encoder.

    python launch.py contrastive

Expect contrast to help, the more the fewer labels: +1.2 points [+0.8, +1.8] of the dense encoder and +1.6 [+0.7, +2.4]
of the convolutional one at 1,000 labels, +7.3 [+4.8, +9.7] and +8.9 [+7.3, +10.5] at 100, where networks from scratch
still improve when they end, after 300 updates.
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


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds of two encoders at two label budgets; learning rate and freezing tuned."""
    networks = {
        "finetune.encoder_init": ("pretrained", "he"),
        "encoder.layers": ((300, 100), ("8c5s2", "16c5s2", 64)),
        "finetune.labels": (1000, 100),
        _FROZEN: (0, "all"),
        _RATE: (0.0005, 0.002, 0.008),
    }
    return Experiment(
        data=DataConfig(validation=1000),
        encoder=EncoderConfig(activation="relu"),
        pretrain=PretrainConfig(
            training="end_to_end",
            updates=500,
            batch_size=100,
            validate_every=250,
            method=ContrastiveConfig(),
            optimizer=AdamConfig(learning_rate=0.001),
            l2=0.0,
        ),
        finetune=FinetuneConfig(
            updates=300, batch_size=32, stop="validation", validate_every=30, patience=4, label_subset="balanced"
        ),
        sweep=(networks,),
        study=StudyConfig(tune=(_RATE, _FROZEN)),
    )
