"""Do the weights of a deep belief net help? Restricted Boltzmann machines, one on another (Hinton et al., 2006).

    python launch.py dbn

Trains three machines of 500 hidden units by contrastive divergence (CD-1), each on the probabilities that the one below
gives its units, then fine-tunes all layers, or the head alone, on 2,000 labels. Expect pretraining to help where all
layers are trained, test accuracies near 0.936 against 0.896, and still more where none is: 0.922 against next to
nothing (0.12).
"""

from pretrain.config import (
    AdamConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PretrainConfig,
    RbmConfig,
    SgdConfig,
)


def get_config() -> Experiment:
    """Returns the experiment: 8 seeds of pretrained and He weights, trainable and frozen."""
    rule = SgdConfig(learning_rate=0.1, momentum=0.5)
    corners = {"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": ("all", 0)}
    return Experiment(
        encoder=EncoderConfig(layers=(500, 500, 500), activation="sigmoid"),
        pretrain=PretrainConfig(method=RbmConfig(gibbs_steps=1), optimizer=rule, l2=2e-4, batch_size=100),
        finetune=FinetuneConfig(label_subset="first", epochs=20, l2=0.0, optimizer=AdamConfig(learning_rate=0.001)),
        sweep=(corners,),
    )
