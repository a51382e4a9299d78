"""What is it about pretrained weights? A ladder of controls from He's to pretrained ones, on Géron's encoder.

    python launch.py controls

Each control keeps another property of the pretrained layers: the mean and deviation of their weights; the weights, but
not their places; their singular values, but not the directions. Beside them stand principal components and an encoder
pretrained on images whose pixels are shuffled. Expect that, frozen, none of them does what pretraining does: test
accuracies near 0.880 pretrained, 0.837 He, and from 0.760 to 0.832 for the others; and that all are alike once they
are trained.
"""

from pretrain.config import Experiment, FinetuneConfig


def get_config() -> Experiment:
    """Returns the experiment: 16 seeds of seven encoders, frozen and trainable."""
    ladder = ("he", "matched", "permuted", "rotated", "pretrained", "pca", "wrong_data")
    grid = {"finetune.encoder_init": ladder, "finetune.frozen_layers": ("all", 0)}
    return Experiment(finetune=FinetuneConfig(label_subset="first"), sweep=(grid,), seeds=16)
