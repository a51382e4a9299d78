"""Does pretraining slow a network down? Géron's stacked autoencoder on MNIST, four ways to use it.

    python launch.py geron

Greedily pretrains a 784-300-150 encoder, then fine-tunes a classifier on 2,000 labels from each corner of encoder
weights (pretrained or He) and encoder layers (frozen or trainable). Expect test accuracies near 0.87 for all but the
frozen He encoder (0.84), and a slow start wherever the encoder is frozen, pretrained or not.
"""

from pretrain.config import Experiment, FinetuneConfig


def get_config() -> Experiment:
    """Returns the experiment; the first 2,000 labels for every seed, and otherwise every field at its default."""
    corners = {"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": ("all", 0)}
    return Experiment(finetune=FinetuneConfig(label_subset="first"), sweep=(corners,))
