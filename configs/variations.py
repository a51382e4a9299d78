"""Do pretrained stacks beat one hidden layer on harder problems? Five sets of Larochelle et al. (2007).

    python launch.py variations

Sigmoid units and gradient descent as theirs, with three layers of 300 units, where they choose among 1,000 and more,
and fewer updates; each network chooses its rates on validation rows. configs/README.md has the published errors, and
those on two of the sets; the whole takes about an hour.
"""

from pretrain.config import (
    AutoencoderConfig,
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PretrainConfig,
    SgdConfig,
    StudyConfig,
)

_SETS = ("mnist_basic", "mnist_rot", "mnist_back_rand", "rectangles", "convex")
_UNITS = 300  # a layer; the papers choose among 1,000 and more
_RATE, _INIT = "finetune.optimizer.learning_rate", "finetune.encoder_init"
_PRETRAINING_RATE = "pretrain.optimizer.learning_rate"


def get_config() -> Experiment:
    """Returns the experiment: one and three layers from scratch, and three layers after each of three ways."""
    deep = (_UNITS,) * 3
    scratch = {_INIT: ("he",), "encoder.layers": ((_UNITS,), deep)}
    stacked = {
        _INIT: ("pretrained",),
        "pretrain.method.kind": ("autoencoder",),
        "pretrain.method.corruption": ("none", "masking"),
        _PRETRAINING_RATE: (0.05, 0.2),
    }
    belief = {_INIT: ("pretrained",), "pretrain.method.kind": ("rbm",), _PRETRAINING_RATE: (0.02, 0.1)}
    method = AutoencoderConfig(loss="cross_entropy", tied=True, corruption_level=0.25)
    return Experiment(
        data=DataConfig(name=_SETS[0]),
        encoder=EncoderConfig(layers=deep, activation="sigmoid"),
        pretrain=PretrainConfig(method=method, updates=10_000, batch_size=20, optimizer=SgdConfig(), l2=0.0),
        finetune=FinetuneConfig(
            labels=0,
            updates=12_000,
            batch_size=20,
            stop="validation",
            validate_every=300,
            patience=10,
            optimizer=SgdConfig(),
            l2=0.0,
        ),
        sweep=tuple({"data.name": _SETS, _RATE: (0.1, 0.3), **grid} for grid in (scratch, stacked, belief)),
        seeds=3,
        study=StudyConfig(tune=(_RATE, _PRETRAINING_RATE)),
    )
