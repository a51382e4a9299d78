"""Does pretraining help on your data? The best use of pretraining against the best network from scratch.

    python launch.py --data.name my.csv --data.target column

Each arm, pretrained or from He weights, chooses for each seed its learning rate and whether its encoder is frozen, all
on the same validation rows; pretraining and fine-tuning end where held-out rows say so. Label budgets, widths, batches,
splits and the metric follow the data, and a run says how. The question is of the largest budget; smaller ones explore.
Beside both arms stands a linear model of the raw inputs, which nothing is judged by.
"""

from pretrain.config import AdamConfig, Experiment, FinetuneConfig, PretrainConfig, StudyConfig

_RATE, _FROZEN = "finetune.optimizer.learning_rate", "finetune.frozen_layers"


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds, seven learning rates, frozen or trained encoders; the rest follows the data."""
    networks = {
        "finetune.encoder_init": ("pretrained", "he"),
        "finetune.labels": (0,),
        _FROZEN: (0, "all"),
        _RATE: (0.0003, 0.001, 0.004, 0.016, 0.06, 0.25, 1.0),
    }
    raw_inputs = {"finetune.encoder_init": ("none",), "finetune.readout": ("logistic",), "finetune.labels": (0,)}
    return Experiment(
        pretrain=PretrainConfig(
            updates=5000, stop="validation", validate_every=50, patience=10, optimizer=AdamConfig(learning_rate=0.001)
        ),
        finetune=FinetuneConfig(
            label_subset="random", updates=1000, stop="validation", validate_every=25, patience=8, validate_at=(1,)
        ),
        sweep=(networks, raw_inputs),
        defaults="data",
        study=StudyConfig(tune=(_RATE, _FROZEN)),
    )
