"""What is it about pretrained weights? A ladder of controls from He's to pretrained ones, on Géron's encoder.

python launch.py controls
"""

from pretrain.config import Experiment


def get_config() -> Experiment:
    """Returns the experiment: 16 seeds of seven encoders, frozen and trainable."""
    ladder = ("he", "matched", "permuted", "rotated", "pretrained", "pca", "wrong_data")
    return Experiment(sweep=({"finetune.encoder_init": ladder, "finetune.frozen_layers": (2, 0)},), seeds=16)
