"""Does a deep belief net's weights help? Restricted Boltzmann machines, one on another (Hinton et al., 2006).

    python launch.py dbn
"""

from pretrain.config import EncoderConfig, Experiment, FinetuneConfig, ObjectiveConfig, OptimizerConfig, PretrainConfig


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds of pretrained and He weights, trainable and frozen."""
    objective = ObjectiveConfig(kind="rbm", gibbs_steps=1)
    rule = OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.5)
    corners = {"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": (3, 0)}
    return Experiment(
        encoder=EncoderConfig(widths=(500, 500, 500), activation="sigmoid"),
        pretrain=PretrainConfig(objective=objective, optimizer=rule, l2=2e-4, batch_size=100),
        finetune=FinetuneConfig(epochs=20, l2=0.0, optimizer=OptimizerConfig(learning_rate=0.001)),
        sweep=(corners,),
    )
