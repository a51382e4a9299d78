"""The seed job: one seed of the seed's protocol, pretrained and frozen against He and trainable.

python launch.py tests/bench/seed_job_config.py
"""

from pretrain.config import Experiment

ARMS = (
    {"finetune.encoder_init": ("pretrained",), "finetune.frozen_layers": (2,)},
    {"finetune.encoder_init": ("he",), "finetune.frozen_layers": (0,)},
)


def get_config() -> Experiment:
    """Returns the experiment, whose other fields have the defaults of the seed's protocol."""
    return Experiment(sweep=ARMS, seeds=1)
