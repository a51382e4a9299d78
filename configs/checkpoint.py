"""Does a checkpoint help on your data? The best use of its weights against the best network from scratch.

    python launch.py checkpoint --data.name my.npz --encoder.layers 300 150 --encoder.activation relu \\
        --finetune.weights encoder.safetensors

Each arm, from the checkpoint or from He weights, chooses for each seed its learning rate and whether its encoder is
frozen, all on the same validation rows. The question is of the largest label budget; two smaller ones explore. A linear
model of the raw inputs stands beside them. Layers, activation and the scale of inputs belong to a checkpoint as its
weights do: `--finetune.reference codes.npz` compares the codes of its own code with ours before anything trains.
`--sweep finetune.encoder_init=weights,pretrained,he` sets pretraining on your data beside it, which goes on from the
checkpoint under `--pretrain.encoder-init weights`.
"""

from pretrain.config import AdamConfig, Experiment, FinetuneConfig, PretrainConfig, StudyConfig

_RATE, _FROZEN = "finetune.optimizer.learning_rate", "finetune.frozen_layers"


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds, seven learning rates, frozen or trained encoders; the rest follows the data."""
    networks = {
        "finetune.encoder_init": ("weights", "he"),
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
            weights="encoder.safetensors",
            label_subset="random",
            updates=1000,
            stop="validation",
            validate_every=25,
            patience=8,
            validate_at=(1,),
        ),
        sweep=(networks, raw_inputs),
        defaults="data",
        study=StudyConfig(tune=(_RATE, _FROZEN)),
    )
