"""What a run leaves to look at is what its stored parameters and its validation images say, in NumPy."""

import jax
import numpy as np
import pytest

from pretrain import data
from pretrain.config import RbmConfig, from_json
from pretrain.plan import plan as planning
from pretrain.runs import samples as module
from pretrain.runs.samples import of_run, take
from pretrain.store.store import Store
from pretrain.study import from_store, results
from tests.launching import copied
from tests.runs.test_sample_file import sampled
from tests.small_sweep import FINGERPRINTS


@pytest.fixture
def parts(run):
    """The plan of the first run, its store and its datasets."""
    experiment = from_json((run / "experiment.json").read_text())
    datasets = data.load_all(experiment)
    plan = planning.plan(experiment, datasets, FINGERPRINTS)
    store = Store(experiment.store, warn=pytest.fail, read_only=True)
    store.verified(plan.jobs)
    return plan, store, datasets


def test_a_run_leaves_filters_and_reconstructions_as_its_parameters_say(run, tiny_arrays):
    left = results.load_samples(run)
    trial = results.load_run(run).trials.to_pylist()[0]
    assert trial["finetune.encoder_init"] == "pretrained" and left.trial_id == trial["trial_id"]
    assert (left.seed, left.n_layers, left.n_units) == (0, 2, 12)
    params = from_store.load_params(run, left.trial_id, "pretrain/1")

    weights = params["encoder"]["layers_0"]["kernel"]
    assert left.filters.shape == (12, 6, 6, 1)
    for unit in range(12):
        np.testing.assert_array_equal(left.filters[unit].ravel(), weights[:, unit])

    held_out, labels = tiny_arrays["train_images"][:60], tiny_arrays["train_labels"][:60].tolist()
    assert left.labels == ("0", "1", "2")
    for number in range(3):
        np.testing.assert_array_equal(left.images[number, ..., 0], held_out[labels.index(number)] / np.float32(255))

    def elu(values):
        return np.where(values > 0, values, np.expm1(values))

    def layer(side, number, values):
        return values @ params[side][f"layers_{number}"]["kernel"] + params[side][f"layers_{number}"]["bias"]

    codes = elu(layer("encoder", 1, elu(layer("encoder", 0, left.images.reshape(3, -1)))))
    expected = layer("decoder", 0, elu(layer("decoder", 1, codes)))
    np.testing.assert_allclose(left.reconstructions.reshape(3, -1), expected, atol=1e-5)


def test_test_images_and_filters_beyond_the_first_are_not_taken(run, parts, tiny_arrays, monkeypatch):
    plan, store, datasets = parts
    trial = plan.trials[0]
    job = plan.jobs[trial.jobs[1]]
    left = take(trial, job, store, datasets[job.data]._replace(test=None, train=None))
    np.testing.assert_array_equal(left.images, results.load_samples(run).images)
    monkeypatch.setattr("pretrain.runs.samples.MOST_FILTERS", 5)
    monkeypatch.setattr("pretrain.runs.samples.MOST_IMAGES", 2)
    fewer = take(trial, job, store, datasets[job.data])
    np.testing.assert_array_equal(fewer.filters, left.filters[:5])
    assert fewer.n_units == 12 and fewer.labels == ("0", "1")


def test_a_class_without_validation_images_is_left_out(parts):
    plan, store, datasets = parts
    trial = plan.trials[0]
    job = plan.jobs[trial.jobs[1]]
    dataset = datasets[job.data]
    kept = dataset.validation.labels != 1
    split = type(dataset.validation)(dataset.validation.inputs[kept], dataset.validation.labels[kept])
    named = dataset._replace(validation=split, output_names=("zero", "one", "two"))
    assert take(trial, job, store, named).labels == ("zero", "two")


def test_the_first_pretraining_of_the_table_is_sampled(parts):
    plan, store, datasets = parts
    turned = planning.Plan(tuple(reversed(plan.trials)), plan.jobs)
    found = of_run(turned, store, datasets)
    pretrained = [trial for trial in turned.trials if len(trial.jobs) > 1]
    assert (found.trial_id, found.stage_id) == (pretrained[0].id, pretrained[0].jobs[1]) and found.seed == 1


def test_samples_are_taken_once_and_not_without_pretraining(parts, run):
    plan, store, datasets = parts
    kept = results.load_samples(run)
    assert of_run(plan, store, datasets, kept) is kept
    assert of_run(plan, store, datasets, sampled()).stage_id == kept.stage_id  # and not those of another experiment
    without = planning.Plan(tuple(trial for trial in plan.trials if len(trial.jobs) == 1), plan.jobs)
    assert without.trials and of_run(without, store, datasets, kept) is None


class Drawn:
    """A store in which the parameters of every stage are random, a machine's variance 4."""

    def __init__(self, plan):
        self.jobs = plan.jobs

    def params(self, job):
        rng = np.random.default_rng(0)

        def draw(path, leaf):
            return np.float32(4) if path[-1].key == "variance" else rng.normal(0, 0.1, leaf.shape).astype(np.float32)

        return jax.tree_util.tree_map_with_path(draw, self.jobs[job].stage.shapes)


def left_by(experiment, **settings):
    """The samples that a run would leave, and its plan."""
    found = experiment(**{"seeds": 1, "encoder": {"activation": "sigmoid"}, **settings})
    datasets = data.load_all(found)
    plan = planning.plan(found, datasets, FINGERPRINTS)
    return of_run(plan, Drawn(plan), datasets), plan, datasets


def test_the_first_pretraining_that_can_be_decoded_is_sampled(experiment):
    kinds = {"pretrain.method.kind": ("supervised", "rbm", "pca"), "finetune.encoder_init": ("he", "pretrained")}
    left, plan, _ = left_by(experiment, sweep=(kinds,))
    points = {trial.id: trial.point for trial in plan.trials}
    assert points[left.trial_id] == {"pretrain.method.kind": "rbm", "finetune.encoder_init": "pretrained"}
    assert plan.jobs[left.stage_id].stage.name == "pretrain/1" and left.n_layers == 2
    # A classifier anywhere in the stack leaves nothing that turns codes back into images.
    for lowest in ("supervised", "pca"):
        for highest in ("supervised", "pca"):
            per_layer = {"pretrain.method.kind": (lowest, highest)}
            left, *_ = left_by(experiment, sweep=(), per_layer=per_layer)
            can_be = lowest == highest == "pca"
            assert (left is not None) == can_be


def test_what_a_machine_of_gaussian_units_reconstructs_is_its_mean(experiment):
    settings = {"pretrain": {"method": RbmConfig(visible="gaussian")}, "sweep": ()}
    left, plan, _ = left_by(experiment, encoder={"layers": (5,), "activation": "sigmoid"}, **settings)
    params = Drawn(plan).params(left.stage_id)
    layer, visible = params["encoder"]["layers_0"], params["decoder"]["layers_0"]
    images = left.images.reshape(len(left.images), -1)
    hidden = 1 / (1 + np.exp(-(images @ layer["kernel"] + layer["bias"])))
    means = visible["bias"] + 4 * hidden @ layer["kernel"].T
    np.testing.assert_allclose(left.reconstructions.reshape(means.shape), means, atol=1e-5)


def convolved(images, layer, stride):
    """Convolution of [N, H, W, C] with SAME padding, window by window."""
    kernel, (height, width) = layer["kernel"], images.shape[1:3]
    window = len(kernel)
    size = [-(-side // stride) for side in (height, width)]
    padding = [max((out - 1) * stride + window - side, 0) for out, side in zip(size, (height, width), strict=True)]
    padded = np.pad(images, [(0, 0), *[(total // 2, total - total // 2) for total in padding], (0, 0)])
    sums = [
        [
            np.einsum("nhwc,hwcf->nf", padded[:, row : row + window, column : column + window], kernel)
            for column in range(0, size[1] * stride, stride)
        ]
        for row in range(0, size[0] * stride, stride)
    ]
    return np.moveaxis(np.array(sums), 2, 0) + layer["bias"]


def test_filters_of_a_convolution_are_its_windows(experiment):
    encoder = {"layers": ("4c3s2", 7), "activation": "relu"}
    left, plan, _ = left_by(experiment, sweep=(), encoder=encoder)
    params = Drawn(plan).params(left.stage_id)
    sides = {side: [params[side][f"layers_{number}"] for number in (0, 1)] for side in ("encoder", "decoder")}
    assert left.n_units == 4 and left.filters.shape == (4, 3, 3, 1)
    for unit in range(4):
        np.testing.assert_array_equal(left.filters[unit], sides["encoder"][0]["kernel"][..., unit])
    codes = np.maximum(convolved(left.images, sides["encoder"][0], 2), 0).reshape(len(left.images), -1)
    for side in ("encoder", "decoder"):
        codes = np.maximum(codes @ sides[side][1]["kernel"] + sides[side][1]["bias"], 0)
    wide = codes.reshape(-1, 3, 3, 4).repeat(2, axis=1).repeat(2, axis=2)
    expected = convolved(wide, sides["decoder"][0]["convolution"], 1)
    np.testing.assert_allclose(left.reconstructions, expected, atol=1e-5)


def test_a_layer_without_a_kernel_of_its_own_leaves_reconstructions_and_no_filters(experiment):
    left, *_ = left_by(experiment, sweep=(), encoder={"layers": ("r4s2", 5)})
    assert left.n_units == 4 and left.filters.shape == (0, 6, 6, 1) and left.reconstructions.shape == (3, 6, 6, 1)


def test_a_module_that_is_called_kernel_is_no_kernel():
    layer = {"kernel": {"kernel": np.zeros((36, 5), np.float32), "bias": np.zeros(5, np.float32)}}
    assert module._filters(layer, (6, 6, 1)).shape == (0, 6, 6, 1)
    assert module._filters(layer["kernel"], (6, 6, 1)).shape == (5, 6, 6, 1)


def test_samples_of_what_all_layers_came_to_and_of_wrong_images(experiment):
    settings = {"pretrain": {"training": "greedy_then_end_to_end"}, "finetune": {"encoder_init": "wrong_data"}}
    left, plan, datasets = left_by(experiment, sweep=(), **settings)
    job = plan.jobs[left.stage_id]
    assert job.stage.name == "pretrain/all" and job.data.shuffled_pixels
    wrong = datasets[job.data].validation
    rows = [wrong.labels.tolist().index(label) for label in range(3)]
    np.testing.assert_array_equal(left.images.reshape(3, -1), wrong.inputs[rows] / np.float32(255))


def test_a_repeated_run_names_damaged_samples(site, run):
    options = copied(site, "blurred")
    assert site.launch(*options).returncode == 0
    path = site.path / "blurred-run" / "samples.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    done = site.launch(*options)
    assert (done.returncode, done.stderr) == (0, f"{path}: fails its checksum; it is made again\n")
    assert path.read_bytes() == whole


def test_a_run_without_pretraining_leaves_no_samples_and_has_a_report(site, first):
    options = site.at("untrained")
    done = site.launch(*options, "--sweep", "finetune.encoder_init=he")
    assert done.returncode == 0, done.stderr
    directory = site.path / "untrained-run"
    assert not (directory / "samples.npz").exists()
    page = (directory / "report.html").read_text()
    assert "figure-first_batches" in page and "figure-filters" not in page and "figure-phase_losses" not in page
