"""Published results of VIME on MNIST, with its protocol.

python -m pytest --optimised -m slow tests/test_known_results_of_tables.py
"""

import numpy as np
import pytest

import pretrain
from pretrain.config import (
    AdamConfig,
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PretrainConfig,
    VimeConfig,
)

pytestmark = pytest.mark.slow
RATE = AdamConfig(learning_rate=0.001)  # of Keras


def accuracies(path, start, *fields):
    """Returns the test accuracies of an encoder's start, by three draws of labels beside one pretraining."""
    experiment = Experiment(
        *fields,
        sweep=({"finetune.encoder_init": (start,)},),
        seeds=1,
        repeats=3,
        run_dir=str(path / "run-{id}"),
        store=str(path / "store"),
    )
    found = np.array([row["test_accuracy"] for row in pretrain.run(experiment).trials.to_pylist()])
    print(start, found)  # shown where an assertion fails
    return found


def test_vime_beats_a_perceptron_by_few_labels(tmp_path):
    """Yoon et al. (2020), tutorial_vime.ipynb of github.com/jsyoon0823/VIME, one run: a perceptron of two layers of 100
    tests at .8935 with 1,000 labels, a tenth of which stop it, and at .9037 on the codes of 784 units of VIME-self,
    after ten epochs of 54,000 images. Theirs trains by RMSprop with a sigmoid decoder, ours by Adam with a linear one;
    6,000 validation rows stop ours where 100 stop theirs.
    """
    data = DataConfig(inputs="columns", validation=6000)
    vime = PretrainConfig(
        method=VimeConfig(swap=0.3, reconstruction_weight=2.0), epochs=10, batch_size=128, optimizer=RATE, l2=0.0
    )
    shared = {"labels": 900, "epochs": 100, "batch_size": 100, "sampling": "epoch", "l2": 0.0, "optimizer": RATE}
    shared |= {"stop": "validation", "patience": 50, "label_subset": "random"}
    relu = {"activation": "relu"}
    scratch = accuracies(tmp_path, "he", data, EncoderConfig((100, 100), **relu), vime, FinetuneConfig(**shared))
    on_codes = FinetuneConfig(**shared, frozen_layers=1, fresh_layers=2)  # above codes as they are
    lowest = {"pretrain.epochs": (10, 1, 1)}
    found = accuracies(tmp_path, "pretrained", data, EncoderConfig((784, 100, 100), **relu), vime, on_codes, lowest)
    assert scratch.mean() == pytest.approx(0.8935, abs=0.015)
    assert found.mean() == pytest.approx(0.9037, abs=0.015)
    assert found.mean() > scratch.mean()
