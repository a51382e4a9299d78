"""Does masked pretraining help? Two layers predict hidden patches of MNIST's digits (He et al., 2022), by label budget.

    python launch.py masked

Expect a small gain at 500 labels, +1.0 points [+0.3, +1.8], and no certain one at 2,000, +0.1 [-0.3, +0.5], and at 100,
+1.7 [-0.1, +4.1]: trainable encoders from scratch come as far. Frozen codes gain, +11.0 [+10.2, +11.8] at 100 labels.
Some arms still improve when they end, after 600 updates.
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

_RATE, _FROZEN = "finetune.optimizer.learning_rate", "finetune.frozen_layers"


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds of three label budgets, learning rate and freezing tuned."""
    networks = {
        "finetune.encoder_init": ("pretrained", "he"),
        "finetune.labels": (2000, 500, 100),
        _FROZEN: (0, "all"),
        _RATE: (0.0003, 0.001, 0.004),
    }
    return Experiment(
        data=DataConfig(validation=1000),
        encoder=EncoderConfig(layers=(300, 150), activation="relu"),
        pretrain=PretrainConfig(
            training="end_to_end",
            updates=4000,
            batch_size=128,
            validate_every=1000,
            method=MaskedConfig(),
            optimizer=AdamConfig(learning_rate=0.001),
            l2=0.0,
        ),
        finetune=FinetuneConfig(
            updates=600, batch_size=50, stop="validation", validate_every=50, patience=4, label_subset="balanced"
        ),
        sweep=(networks,),
        study=StudyConfig(tune=(_RATE, _FROZEN)),
    )
