"""Why does the pretrained, frozen network start slowly? A full factorial between the two networks, in 32 cells.

    python launch.py why

Between Géron's He, trainable network and a pretrained, frozen one lie five changes: where the encoder comes from,
whether it is frozen, whether its codes are standardised, whether the first update is matched in its effect on the
logits, and whether the head starts from a ridge regression. All 32 combinations run, and the gap at each batch is split
into the five (Shapley values), beside diagnostics of the updates. Expect freezing to make all of the slow start, by
updates that move the logits 25 times less, and a fitted head or a matched first update to take it away.
"""

from pretrain.config import Experiment, FinetuneConfig


def get_config() -> Experiment:
    """Returns the experiment: 16 seeds of every cell, measured often over the first 40 updates."""
    often = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40)
    finetune = FinetuneConfig(label_subset="first", validate_at=often, diagnose_at=(1, 2, 5, 10, 20, 40))
    factors = {
        "finetune.encoder_init": ("he", "pretrained"),
        "finetune.frozen_layers": (0, "all"),
        "finetune.codes": ("raw", "standardised"),
        "finetune.first_logit_change": (0.0, 1.0),
        "finetune.head_init": ("random", "ridge"),
    }
    return Experiment(finetune=finetune, sweep=(factors,), seeds=16)
