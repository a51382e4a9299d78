"""At which label budgets does pretraining help? Géron's encoder with 50 to 20,000 labels, with and without pretraining.

    python launch.py label_budget

Fine-tunes from pretrained and from He weights at nine label budgets, with all layers trainable or all frozen, for the
same 600 updates at each, so that budgets differ in labels only. The learning rate is a tenth of Géron's, at which
trainable networks do not collapse. All budgets of a seed share one pretraining. Expect gains of 3 to 5 points at every
budget where the encoder is frozen, and none, or a loss of half a point, where it is trained.
"""

from pretrain.config import AdamConfig, Experiment, FinetuneConfig


def get_config() -> Experiment:
    """Returns the experiment: 16 seeds at 9 budgets, with labels drawn evenly over the classes."""
    optimizer = AdamConfig(learning_rate=0.001)
    finetune = FinetuneConfig(updates=600, label_subset="balanced", optimizer=optimizer)
    sweep = {
        "finetune.encoder_init": ("pretrained", "he"),
        "finetune.frozen_layers": (0, "all"),
        "finetune.labels": (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000),
    }
    return Experiment(finetune=finetune, sweep=(sweep,), seeds=16)
