"""At which label budgets does pretraining help? Géron's encoder with 50 to 20,000 labels, with and without pretraining.

    python launch.py label_budget

Fine-tunes all layers from pretrained and from He weights at nine label budgets, for the same 600 updates at each, so
that budgets differ in labels only. All budgets of a seed share one pretraining.
"""

from pretrain.config import Experiment, FinetuneConfig


def get_config() -> Experiment:
    """Returns the experiment: 16 seeds at 9 budgets, with labels drawn evenly over the classes."""
    budgets = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
    finetune = FinetuneConfig(updates=600, label_subset="balanced")
    sweep = {"finetune.encoder_init": ("pretrained", "he"), "finetune.labels": budgets}
    return Experiment(finetune=finetune, sweep=(sweep,), seeds=16)
