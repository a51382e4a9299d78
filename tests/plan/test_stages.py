"""What a point's trials go through: the stages of every method, and what each of them is."""

import dataclasses

import numpy as np
import pytest

from pretrain import data
from pretrain.config import AutoencoderConfig, RbmConfig
from pretrain.config.fields import ConfigError
from pretrain.plan import plan as planning
from tests.small_sweep import FINGERPRINTS, names, of_kind, path

SIGMOID = {"activation": "sigmoid"}


def activations(stage):
    return tuple(layer.activation for layer in stage.stack.layers)


def decoders(stage):
    return [stage.stack.companion("decoder", layer) for layer in range(len(stage.stack.layers))]


def one_line(call, *parts):
    with pytest.raises(ConfigError) as error:
        call()
    assert str(error.value).splitlines() == [str(error.value)]
    for part in parts:
        assert part in str(error.value)


# Of 200 images, in batches of 20: ten updates an epoch.
def test_layers_have_their_own_length_optimizer_and_numbers(planned):
    per_layer = {
        "pretrain.epochs": (1, 3),
        "pretrain.batch_size": (20, 40),
        "pretrain.optimizer.kind": ("adam", "sgd"),
        "pretrain.optimizer.learning_rate": (0.1, 0.2),
        "finetune.unfreeze_at": (5, 3),
        "finetune.rate_factor": (0.25, 0.5),
    }
    lowest, above, last = path(planned(per_layer=per_layer))
    assert [job.stage.n_updates for job in (lowest, above)] == [10, 15]
    assert [job.stage.config.optimizer.kind for job in (lowest, above)] == ["adam", "sgd"]
    assert [job.config.optimizer.learning_rate for job in (lowest, above)] == [0.1, 0.2]
    method = last.config.method
    assert (method.unfreeze_at, method.rate_factor) == ((5.0, 3.0), (0.25, 0.5))
    assert last.stage == path(planned())[-1].stage  # numbers are no part of the program
    alike = path(planned(finetune={"unfreeze_at": 4, "rate_factor": 0.5}))[-1].config.method
    assert (alike.unfreeze_at, alike.rate_factor) == ((4.0, 4.0), (0.5, 0.5))


def test_activations_of_layers_are_those_of_their_stages_and_of_what_is_reconstructed(planned):
    lowest, above, last = path(planned(per_layer={"encoder.activation": ("tanh", "relu")}))
    assert (activations(lowest.stage), activations(above.stage)) == (("tanh",), ("tanh", "relu"))
    assert activations(last.stage) == ("tanh", "relu")
    assert [decoder.activation for decoder in decoders(above.stage)] == ["identity", "tanh"]


def test_fine_tuning_trains_its_layers_with_an_activation_of_its_own(planned):
    lowest, above, last = path(planned())
    own = {"activation": "tanh"}
    same_below, same_above, other = path(planned(finetune=own))
    assert (lowest.id, above.id) == (same_below.id, same_above.id) and other.id != last.id
    assert activations(last.stage) == ("elu", "elu") and activations(other.stage) == ("tanh", "tanh")
    held = path(planned(finetune={**own, "frozen_layers": 1}))[-1]
    assert activations(held.stage) == ("elu", "tanh")
    for alike in ({"frozen_layers": "all"}, {"readout": "ridge"}):
        assert path(planned(finetune={**own, **alike}))[-1].id == path(planned(finetune=alike))[-1].id
    assert path(planned(finetune={"activation": "elu"}))[-1].id == last.id
    tokens = {"layers": ("6p3", "t2", "mean", 5)}
    assert [each.stage.name for each in path(planned(encoder=tokens))][:-1] == [
        "pretrain/0",
        "pretrain/1",
        "pretrain/3",
    ]
    assert path(planned(encoder=tokens, finetune=own))[-1].stage.stack.layers[3].activation == "tanh"


def test_a_precision_is_of_every_stage_and_the_default_of_none(planned):
    plain, rounded = path(planned()), path(planned(encoder={"precision": "bfloat16"}))
    assert all(one.id != other.id for one, other in zip(plain, rounded, strict=True))
    assert {job.stage.stack.precision for job in rounded} == {"bfloat16"}
    exact = {"precision": "float32"}
    assert [job.id for job in path(planned(encoder=exact))] == [job.id for job in plain]


def test_a_dense_layer_reads_vectors_and_a_convolution_images(planned):
    assert {job.stage.stack.example for job in planned().jobs.values()} == {(36,)}
    lowest, above, last = path(planned(encoder={"layers": ("4c3s2", 6)}, finetune={"frozen_layers": "all"}))
    assert {job.stage.stack.example for job in (lowest, above, last)} == {(6, 6, 1)}
    assert [shapes.outputs for shapes in last.stage.stack.shapes] == [(3, 3, 4), (6,)]
    assert [decoder.module.shape for decoder in decoders(above.stage)] == [(6, 6, 1), (3, 3, 4)]
    assert (above.stage.stack.encoded, last.stage.stack.encoded, last.stage.stack.start) == (1, 2, 2)
    assert last.stage.static.trained == ("head",)


def test_steps_are_counted_on_over_stages_of_different_lengths(planned):
    settings = {"pretrain": {"carry_step_count": True, "training": "greedy_then_end_to_end", "end_to_end_epochs": 5}}
    three = {"layers": (12, 8, 6)}
    per_layer = {"pretrain.epochs": (1, 3, 2), "pretrain.batch_size": (20, 40, 20)}
    *greedy, whole, _ = path(planned(encoder=three, per_layer=per_layer, **settings))
    assert [job.stage.static.steps_before for job in greedy] == [0, 10, 10 + 15]
    assert whole.stage.static.steps_before == 10 + 15 + 20 and whole.stage.n_updates == 50
    # Components take no updates.
    kinds = {"pretrain.method.kind": ("autoencoder", "pca", "autoencoder")}
    *greedy, whole, _ = path(planned(encoder=three, per_layer=per_layer | kinds, **settings))
    assert [job.stage.static.steps_before for job in greedy] == [
        0,
        0,
        10,
    ] and whole.stage.static.steps_before == 10 + 20
    apart = {**settings["pretrain"], "carry_step_count": False}
    found = planned(encoder=three, per_layer=per_layer, pretrain=apart)
    assert {job.stage.static.steps_before for job in path(found)[:-1]} == {0}


def test_all_layers_are_trained_at_once_after_greedy_stages_or_without_them(planned):
    settings = {"encoder": SIGMOID, "finetune": {"encoder_init": "pretrained"}}
    then = planned(pretrain={"training": "greedy_then_end_to_end", **of_kind("rbm")}, seeds=2, **settings)
    assert names(then) == sorted(["pretrain/0", "pretrain/1", "pretrain/all", "finetune"] * 2)
    _, above, whole, last = path(then)
    assert whole.parent == above.id and last.parent == whole.id
    assert (whole.stage.stack.start, whole.stage.config.method.kind) == (0, "autoencoder")
    # As the machines left it: the transposed kernel decodes.
    assert whole.stage.stack.companions == above.stage.stack.companions
    assert {decoder.kernel for decoder in decoders(whole.stage)} == {"tied"}
    greedy = planned(pretrain=of_kind("rbm"), seeds=2, **settings)
    assert [job.id for job in path(greedy)[:2]] == [job.id for job in path(then)[:2]]

    only = planned(pretrain={"training": "end_to_end", "end_to_end_epochs": 3}, **settings)
    whole, last = path(only)
    assert (whole.stage.name, whole.parent, last.parent) == ("pretrain/all", None, whole.id)
    assert whole.stage.n_updates == 30
    order = [pack.stage.name for pack in planning.packs(then.jobs.values(), (), 1 << 30, 2)]
    assert order == ["pretrain/0", "pretrain/1", "pretrain/all", "finetune"]


def test_a_single_layer_trained_all_at_once_is_a_greedy_stage_like_any_other(planned):
    one = {"layers": (12,)}
    greedy = planned(encoder=one, pretrain={"epochs": 3})
    whole = planned(encoder=one, pretrain={"training": "end_to_end", "epochs": 1, "end_to_end_epochs": 3})
    assert greedy.jobs.keys() == whole.jobs.keys() and names(whole) == ["finetune", "pretrain/0"]


def test_components_are_found_once_for_all_seeds_and_repeats(planned):
    found = planned(sweep=({"finetune.encoder_init": ("pca", "pretrained")},), seeds=3)
    before = [job for job in found.jobs.values() if job.stage.name != "finetune"]
    assert [job.stage.config.method.kind for job in before].count("pca") == 2 and len(before) == 2 + 2 * 3
    assert len({trial.jobs[-1] for trial in found.trials}) == 6
    by_kind = planned(pretrain=of_kind("pca"), seeds=3)
    assert by_kind.jobs.keys() < found.jobs.keys()  # however they are asked for
    # Above a layer that has a seed, they have it, too.
    above = planned(per_layer={"pretrain.method.kind": ("autoencoder", "pca")}, seeds=3)
    assert names(above).count("pretrain/1") == 3
    repeated = planned(seeds=2, repeats=2, pretrain=of_kind("pca"))
    assert names(repeated) == [*["finetune"] * 4, "pretrain/0", "pretrain/1"]


@pytest.mark.parametrize("training", ["greedy", "end_to_end", "greedy_then_end_to_end"])
def test_every_encoder_that_needs_pretraining_has_it_however_layers_are_trained(training, planned):
    inits = ("pretrained", "matched", "permuted", "rotated", "pca", "wrong_data", "he")
    found = planned(sweep=({"finetune.encoder_init": inits},), pretrain={"training": training})
    stages = {trial.point["finetune.encoder_init"]: path(found, n) for n, trial in enumerate(found.trials)}
    trained = {"greedy": ["pretrain/0", "pretrain/1"], "end_to_end": ["pretrain/all"]}
    trained["greedy_then_end_to_end"] = trained["greedy"] + trained["end_to_end"]
    expected = {name: trained["greedy"] if name == "pca" else trained[training] for name in inits} | {"he": []}
    assert {name: [job.stage.name for job in jobs[:-1]] for name, jobs in stages.items()} == expected
    assert {job.stage.config.method.kind for job in stages["pca"][:-1]} == {"pca"}
    # Controls are made of the pretrained weights themselves, and each is an arm of its own.
    before = {name: [job.id for job in jobs[:-1]] for name, jobs in stages.items()}
    assert before["matched"] == before["permuted"] == before["rotated"] == before["pretrained"]
    assert not {*before["wrong_data"]} & {*before["pretrained"]}
    assert len({jobs[-1].id for jobs in stages.values()}) == len(inits)
    assert len({jobs[-1].stage.updating for jobs in stages.values()}) == 1


def test_wrong_images_are_for_pretraining_alone(planned, experiment):
    *before, last = path(planned(finetune={"encoder_init": "wrong_data"}, sweep=()))
    own = experiment().data
    assert {job.data for job in before} == {dataclasses.replace(own, shuffled_pixels=True)}
    assert last.data == own
    # The same stages as of a run on those images.
    shuffled = dataclasses.replace(experiment(sweep=(), seeds=1), data=before[0].data)
    again = path(planning.plan(shuffled, data.load_all(shuffled), FINGERPRINTS))
    assert [job.id for job in again[:-1]] == [job.id for job in before]
    assert again[-1].id != last.id


def test_supervised_stages_depend_on_what_is_labelled_and_others_do_not(planned):
    ways = {"finetune.labels": (40, 80), "finetune.label_subset": ("first", "balanced")}
    kinds = {"pretrain.method.kind": ("autoencoder", "supervised")}
    unsupervised = planned(sweep=(ways,), seeds=2)
    assert names(unsupervised).count("pretrain/1") == 2
    found = planned(sweep=(ways,), seeds=2, per_layer=kinds)
    assert (names(found).count("pretrain/0"), names(found).count("pretrain/1")) == (2, 4 * 2)
    top = [job for job in found.jobs.values() if job.stage.name == "pretrain/1"]
    assert {(job.stage.rows.n, *job.stage.rows.subset) for job in top} == {
        (labels, labels, way, 3) for labels in (40, 80) for way in ("first", "balanced")
    }
    assert len({job.stage for job in top}) == 4 and len({job.stage.updating for job in top}) == 2
    assert {job.stage.stack.companion("classifier", 1).module.features for job in top} == {3}
    assert {job.stage.n_updates for job in top} == {4, 8}  # 2 epochs of 40 and of 80 images, in batches of 20


def test_repeats_draw_labels_anew_for_supervised_stages_only(planned):
    assert names(planned(repeats=3)).count("pretrain/0") == 1
    supervised = planned(repeats=3, pretrain=of_kind("supervised"))
    assert names(supervised).count("pretrain/0") == names(supervised).count("finetune") == 3
    for trial in range(len(supervised.trials)):
        # The labelled subset of pretraining is that of fine-tuning.
        assert len({job.seed for job in path(supervised, trial)}) == 1
    above = planned(repeats=3, per_layer={"pretrain.method.kind": ("autoencoder", "supervised")})
    assert (names(above).count("pretrain/0"), names(above).count("pretrain/1")) == (1, 3)


def test_encoders_that_have_no_room_or_no_images_are_refused(planned, tiny_arrays, tmp_path):
    wide = {"layers": (12, 13)}
    parts = "encoder.layers: (12, 13) ", "13 units that reads 12 values"
    one_line(lambda: planned(encoder=wide, pretrain=of_kind("pca")), *parts)
    one_line(lambda: planned(encoder=wide, sweep=({"finetune.encoder_init": ("he", "pca")},)), *parts)
    one_line(lambda: planned(encoder={"layers": (37,)}, pretrain=of_kind("pca")), "37 units that reads 36 values")
    above = {"pretrain.method.kind": ("pca", "autoencoder")}
    assert planned(encoder=wide, per_layer=above) and planned(encoder={"layers": (36, 36)}, pretrain=of_kind("pca"))

    np.savez(tmp_path / "small.npz", **{n: a[:, 1:] if n.endswith("images") else a for n, a in tiny_arrays.items()})
    other = {"wrong_data": str(tmp_path / "small.npz")}
    wrong = {"encoder_init": "wrong_data"}
    one_line(lambda: planned((), pretrain=other, finetune=wrong), "pretrain.wrong_data: ", "30 values, not of 36")
    assert planned(pretrain=other)  # nothing is pretrained on it

    np.savez(tmp_path / "few.npz", **{n: a[:100] if n.startswith("train") else a for n, a in tiny_arrays.items()})
    few = {"wrong_data": str(tmp_path / "few.npz")}
    labels = "finetune.labels: 80 is more than the 40 training rows"
    assert planned((), pretrain=few, finetune=wrong)
    one_line(lambda: planned((), pretrain={**few, **of_kind("supervised")}, finetune=wrong), labels)


def test_images_of_another_shape_are_refused_where_a_convolution_reads_them(planned, tiny_arrays, tmp_path):
    long = {name: a.reshape(len(a), 4, 9) if name.endswith("images") else a for name, a in tiny_arrays.items()}
    np.savez(tmp_path / "long.npz", **long)
    settings = {"pretrain": {"wrong_data": str(tmp_path / "long.npz")}, "finetune": {"encoder_init": "wrong_data"}}
    assert planned((), **settings)  # a dense layer reads them as vectors
    one_line(lambda: planned((), encoder={"layers": ("4c3", 6)}, **settings), "pretrain.wrong_data: ", "36 values")


def test_layers_that_do_not_fit_the_codes_below_are_refused(planned):
    parts = "encoder.layers: '12 4c3' ", "Convolution fails on [12] values"
    one_line(lambda: planned(encoder={"layers": (12, "4c3")}), *parts)


def test_batches_larger_than_what_a_stage_reads_are_refused(planned):
    per_layer = {"pretrain.batch_size": (20, 201)}
    one_line(lambda: planned(per_layer=per_layer), "pretrain.batch_size: 201 ", "200 training rows")
    sizes = {"pretrain.batch_size": (80, 81)}
    one_line(
        lambda: planned(per_layer=sizes, pretrain=of_kind("supervised")), "pretrain.batch_size: 81 ", "the 80 labels"
    )
    kinds = {"pretrain.method.kind": ("supervised", "autoencoder")}
    assert planned(per_layer=sizes | kinds)
    # A size that no layer has is no mistake, unless all layers are trained at once with it.
    sizes = {"pretrain.batch_size": (20, 20)}
    assert planned(per_layer=sizes, pretrain={"batch_size": 201})
    then = {"batch_size": 201, "training": "greedy_then_end_to_end"}
    one_line(lambda: planned(per_layer=sizes, pretrain=then), "pretrain.batch_size: 201 ", "200 training rows")


def test_a_layer_that_would_join_after_the_last_update_is_refused(planned):
    # 2 epochs of 80 images, in batches of 20: eight updates.
    assert planned(finetune={"unfreeze_at": 7})
    one_line(lambda: planned(finetune={"unfreeze_at": 8}), "finetune.unfreeze_at: 8 ", "the last of 8 updates")
    assert planned(finetune={"unfreeze_at": 8, "frozen_layers": "all"})


OWN = """
import flax.linen as nn


class Mixed(nn.Module):
    features: int
    activation: str = "relu"

    @nn.compact
    def __call__(self, inputs):
        return nn.relu(nn.Dense(self.features)(inputs.reshape(len(inputs), -1)))


class Shrunk(Mixed):
    def decoder(self, shape):
        return nn.Dense(3)


def two():
    return Mixed(9), Mixed(6)


def shrunk():
    return Shrunk(9)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A directory to launch from, with a file of layers."""
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"pretrain": {"method": RbmConfig()}}, ("pretrain.method.kind: 'rbm'", "dense layers", "Mixed")),
        ({"pretrain": {"method": AutoencoderConfig(tied=True)}}, ("pretrain.method.tied", "dense layers")),
        ({"pretrain": {"method": AutoencoderConfig(loss="cross_entropy")}}, ("method.loss", "not 'relu'")),
        ({"per_layer": {"pretrain.method.kind": ("rbm", "pca")}}, ("pretrain.method.kind: 'rbm'", "dense layers")),
        ({"per_layer": {"pretrain.epochs": (1, 2, 3)}}, ("per_layer pretrain.epochs", "2 layers")),
    ],
)
def test_layers_of_ones_own_are_checked_when_they_are_built(settings, parts, own, planned):
    one_line(lambda: planned(encoder={"layers": ("mine.py:two",)}, **settings), *parts)


def test_one_word_may_be_layers_enough_to_be_trained_at_once_after_one_by_one(own, planned):
    found = planned(encoder={"layers": ("mine.py:two",)}, pretrain={"training": "greedy_then_end_to_end"})
    assert names(found) == ["finetune", "pretrain/0", "pretrain/1", "pretrain/all"]


def test_a_layer_of_ones_own_is_the_same_below_whatever_stands_above_it(own, planned):
    first, second = (path(planned(encoder={"layers": ("mine.py:two", top)})) for top in (12, 16))
    assert [job.id for job in first[:2]] == [job.id for job in second[:2]] and first[2].id != second[2].id


def test_a_decoder_that_gives_other_values_than_were_read_is_refused(own, planned):
    one_line(lambda: planned(encoder={"layers": ("mine.py:shrunk",)}), "encoder.layers", "returns [3]", "not [6, 6, 1]")


def test_a_layer_of_ones_own_that_grows_is_another_layer_by_its_settings(own, tmp_path, planned):
    before = path(planned(encoder={"layers": ("mine.py:two",)}))
    (tmp_path / "mine.py").write_text(OWN.replace("Mixed(6)", "Mixed(16)"))
    after = path(planned(encoder={"layers": ("mine.py:two",)}))
    same = [old.settings_id == new.settings_id for old, new in zip(before, after, strict=True)]
    assert same == [True, False, False]
