"""Published results on MNIST-1D (Greydanus and Kobak, 2024), each with its protocol, as means over three seeds.

python -m pytest --optimised -m slow tests/test_known_results_of_series.py
"""

import dataclasses

import numpy as np
import pytest

import pretrain
from configs.series import get_config
from pretrain.config import AdamConfig, FinetuneConfig

pytestmark = pytest.mark.slow
READOUT = FinetuneConfig(labels=0, readout="logistic", codes="standardised", l2=1e-3)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    path = tmp_path_factory.mktemp("series")
    return {"run_dir": str(path / "run-{id}"), "store": str(path / "store"), "seeds": 3}


def accuracies(places, finetune, sweep, **method):
    """Returns the test accuracy of each arm, mean over seeds, by the encoder's start."""
    config = get_config()
    own = dataclasses.replace(config.pretrain.method, **method)
    pretraining = dataclasses.replace(config.pretrain, method=own, validate_every=0)
    study = pretrain.config.StudyConfig()
    config = dataclasses.replace(config, pretrain=pretraining, finetune=finetune, sweep=(sweep,), study=study, **places)
    rows = pretrain.run(config).trials.to_pylist()
    inits = {row["finetune.encoder_init"] for row in rows}
    found = {
        init: np.mean([row["test_accuracy"] for row in rows if row["finetune.encoder_init"] == init]) for init in inits
    }
    print(found)  # shown where an assertion fails
    return found


def test_contrast_of_convolutions_beats_an_untrained_encoder_by_far(places):
    """notebooks/self-supervised-learning.ipynb: logistic regression of inputs .328, of codes after 200 epochs of
    InfoNCE through a projector .821, without projector .534. Their views subtract a series' own offset and slope
    first; ours add to them. By theirs, and inputs that are not standardised, one seed came to .722 here. Their codes of
    an untrained encoder are not published.
    """
    found = accuracies(places, READOUT, {"finetune.encoder_init": ("pretrained", "he", "none")})
    assert found["none"] == pytest.approx(0.33, abs=0.02)
    assert 0.78 <= found["pretrained"] <= 0.90
    assert found["pretrained"] >= found["he"] + 0.20
    without = accuracies(places, READOUT, {"finetune.encoder_init": ("pretrained", "he")}, projector=())
    assert without["pretrained"] <= found["pretrained"] - 0.10


def test_supervised_networks(places):
    """README: a convolutional network 94 ± 2, a perceptron 68 ± 3 (Adam at 0.01, batches of 100, the best of 8,000
    updates), in whole per cents. Their perceptron has a residual connection between its two layers of 256 units, ours
    none. Ours are the last of 6,000 updates, on 3,500 of their 4,000 series: .9197, as after 8,000, and .673.
    """
    trained = FinetuneConfig(labels=0, updates=6000, batch_size=100, sampling="epoch", l2=0.0, optimizer=AdamConfig())
    sweep = {"finetune.encoder_init": ("he",)}
    assert round(accuracies(places, trained, sweep)["he"], 2) == pytest.approx(0.94, abs=0.02)
    dense = {**sweep, "encoder.layers": ((256, 256),)}
    assert accuracies(places, trained, dense)["he"] == pytest.approx(0.68, abs=0.03)
