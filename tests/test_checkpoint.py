"""An encoder of digits that PyTorch trained on other rows: configs/checkpoint.py says whether it helps."""

import re
import shlex

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from sklearn.datasets import load_digits

import pretrain
from pretrain.commands.command_line import parse
from pretrain.config.config_file import load
from pretrain.config.overrides import override
from pretrain.plan import fitting
from tests.launching import ROOT

INIT, FROZEN = "finetune.encoder_init", "finetune.frozen_layers"


def encoder_of(rows, labels):
    """An encoder 64-32-16, trained as the lower part of a classifier."""
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16), torch.nn.ReLU())
    network = torch.nn.Sequential(encoder, torch.nn.Linear(16, 10))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(rows), labels).backward()
        optimizer.step()
    return encoder


def test_pretraining_that_goes_on_from_it_is_an_arm_beside_it():
    values = {"pretrain.encoder_init": "weights", "encoder.layers": (32, 16), "finetune.weights": "encoder.pt"}
    config = load(ROOT / "configs" / "checkpoint.py", "checkpoint")
    found = override(config, values, sweep={INIT: ("weights", "pretrained", "he")}).experiment
    of_points = [(point.settings.finetune.encoder_init, point.settings.goes_on) for point in found.points]
    assert set(of_points) == {("weights", False), ("pretrained", True), ("he", False), ("none", False)}
    assert all(
        point.settings.reads_checkpoint == (each[0] not in ("he", "none"))
        for point, each in zip(found.points, of_points, strict=True)
    )


def test_the_recipe_of_the_readme_makes_the_codes_of_its_encoder(tmp_path, monkeypatch):
    section = (ROOT / "configs" / "README.md").read_text().partition("## A checkpoint of your own")[2]
    recipe, command = (re.search(rf"```{kind}\n(.*?)```", section, re.S)[1] for kind in ("python", "sh"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 8, 8)).astype(np.uint8)
    labels = rng.integers(0, 3, 300)
    arrays = {"train_images": images[:200], "train_labels": labels[:200], "test_images": images[200:]}
    np.savez("my.npz", **arrays, test_labels=labels[200:])
    exec(recipe, {})
    words = shlex.split(command.replace("\\\n", " "))[3:]
    config = load(ROOT / "configs" / "checkpoint.py", "checkpoint")

    def said(words):
        asked = parse(words, config, "checkpoint", "")
        return [str(each) for each in fitting.load(asked.experiment, asked.chosen).findings]

    (agreed,) = (line for line in said(words) if "codes agree" in line)
    assert float(re.search(r"agree to (\S+)", agreed)[1]) < 1e-5 and "over 64 rows" in agreed
    per_layer = "encoder.activation=relu,relu,relu,relu"
    at = words.index("--encoder.activation")
    assert agreed in said([*words[:at], *words[at + 2 :], "--per-layer", per_layer])
    without = [*words[:at], *words[at + 2 : words.index("--finetune.reference")]]
    (doubt,) = (line for line in said(without) if "elu is the default" in line)
    assert "give --encoder.activation, and --finetune.reference" in doubt


@pytest.mark.slow
def test_an_encoder_of_pytorch_helps_where_labels_are_few(tmp_path):
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)
    elsewhere, here = slice(0, 1000), slice(1000, None)
    scaled = torch.from_numpy(images.reshape(-1, 64).astype(np.float32) / 255)
    encoder = encoder_of(scaled[elsewhere], torch.from_numpy(digits.target[elsewhere]))
    torch.save({f"encoder.{name}": each for name, each in encoder.state_dict().items()}, tmp_path / "encoder.pt")
    codes = encoder(scaled[:50]).detach().numpy()
    np.savez(tmp_path / "codes.npz", x=images[:50], codes=codes)
    np.savez(tmp_path / "rows.npz", X=images[here], y=digits.target[here])
    run = pretrain.run(
        ROOT / "configs" / "checkpoint.py",
        {
            "data.name": str(tmp_path / "rows.npz"),
            "encoder.layers": (32, 16),
            "encoder.activation": "relu",
            "finetune.weights": str(tmp_path / "encoder.pt"),
            "finetune.weights_names": ("layers_0=encoder.0", "layers_1=encoder.2"),
            "finetune.reference": str(tmp_path / "codes.npz"),
            "finetune.updates": 200,
            "finetune.labels": 20,
            "seeds": 10,
            "run_dir": str(tmp_path / "run"),
            "store": str(tmp_path / "store"),
            "tune": {"finetune.optimizer.learning_rate": (0.01, 0.03), FROZEN: (0, "all")},
        },
    )
    (compared,) = (each for each in run.comparisons if each["treatment"] == "weights")
    assert compared["verdict"] == "helps" and compared["difference"]["low"] > 0.02
    assert "encoder.pt helps" in run.answer.sentence
    # Of a frozen encoder, codes of rows are those of the person's own code.
    frozen = run.trials.filter((pc.field("finetune.encoder_init") == "weights") & (pc.field(FROZEN) == 2))
    model = run.model(frozen["trial_id"][0].as_py())
    np.testing.assert_allclose(model.encode(images[:50]), codes, atol=1e-4)
