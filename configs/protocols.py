"""Which protocol uses a pretrained encoder best? Frozen, read out, fine-tuned, or probed first and then fine-tuned.

    python launch.py protocols

Six ways to get a classifier of 2,000 labels out of Géron's encoder, each from pretrained and from He weights. Expect
nearest neighbours of pretrained codes to be best (test accuracy 0.924, He 0.895) and to gain most with the other ways
that leave the encoder as it is: a trained head 0.895 against 0.863, logistic regression 0.891 against 0.871, ridge
regression 0.868 against 0.846; and no gain where all layers are trained, at once (0.901, 0.900) or after 200 updates of
the head alone (0.908, 0.908).
"""

from pretrain.config import AdamConfig, Experiment, FinetuneConfig

_PROBED = 200  # of 800 updates


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds of six protocols, each from pretrained and from He weights."""
    used = ("frozen_layers", "readout", "unfreeze_at")
    ways = (
        ("all", "none", 0),
        ("all", "ridge", 0),
        ("all", "logistic", 0),
        ("all", "knn", 0),
        (0, "none", 0),
        (0, "none", _PROBED),
    )
    sweep = tuple(
        {
            "finetune.encoder_init": ("pretrained", "he"),
            **{f"finetune.{name}": (value,) for name, value in zip(used, way, strict=True)},
        }
        for way in ways
    )
    finetune = FinetuneConfig(epochs=20, label_subset="balanced", optimizer=AdamConfig(learning_rate=0.003))
    return Experiment(finetune=finetune, sweep=sweep)
