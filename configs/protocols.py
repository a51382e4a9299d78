"""Which protocol uses a pretrained encoder best? Frozen, read out, fine-tuned, or probed first and then fine-tuned.

python launch.py protocols
"""

from pretrain.config import Experiment, FinetuneConfig, OptimizerConfig

_PROBED = 200  # of 800 updates


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds of six protocols, each from pretrained and from He weights."""
    used = ("frozen_layers", "readout", "unfreeze_at")
    ways = ((2, "none", 0), (2, "ridge", 0), (2, "logistic", 0), (2, "knn", 0), (0, "none", 0), (0, "none", _PROBED))
    sweep = tuple(
        {
            "finetune.encoder_init": ("pretrained", "he"),
            **{f"finetune.{name}": (value,) for name, value in zip(used, way, strict=True)},
        }
        for way in ways
    )
    finetune = FinetuneConfig(epochs=20, label_subset="balanced", optimizer=OptimizerConfig(learning_rate=0.003))
    return Experiment(finetune=finetune, sweep=sweep)
