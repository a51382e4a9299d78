"""Fine-tuning of views: updates read changed rows, by draws of their own, and measurements rows as they are."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import Experiment, FinetuneConfig
from pretrain.learn.layers import scaled
from pretrain.learn.methods import finetuning
from pretrain.learn.metrics import Batch, taken
from pretrain.learn.randomness import Purpose, update_key
from pretrain.learn.stage import Layout
from pretrain.learn.train import Step
from pretrain.learn.views import changed
from tests.commands.lines import refused as refused_line
from tests.experiments import refused
from tests.learn.conftest import CLASSES, PIXELS, begun, dense, last, run
from tests.plan.test_own_views import SOURCE
from tests.small_sweep import make_plan, names, path, run_all

VIEWS = ("crop", "brightness", "noise")
close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
LAYOUT = Layout((5, 4, 1))


@pytest.fixture
def stage_of():
    """Returns a function from fields to a fine-tuning of two layers."""

    def make(**fields):
        section = FinetuneConfig(**{"labels": 60, "label_subset": "first", "batch_size": 12, "epochs": 2, **fields})
        stage, config = last(section, (PIXELS,), dense((9, 5), "elu"), CLASSES)
        return dataclasses.replace(stage, static=stage.static._replace(layout=LAYOUT)), config

    return make


@pytest.mark.parametrize("fields", [{}, {"first_logit_change": 0.3}])
def test_an_update_of_views_is_the_update_of_a_batch_that_was_changed_before(fields, stage_of, images):
    (stage, config), (plain, without) = stage_of(views=VIEWS, noise=0.2, **fields), stage_of(**fields)
    rows = taken(images.train, jnp.arange(12))
    state = begun((stage, config), images).state
    expected_state = begun((plain, without), images).state
    update, update_plain = (jax.jit(partial(finetuning.update, each.static)) for each in (stage, plain))
    for number in range(3):
        key = update_key(3, Purpose.AUGMENTATION, 0, jnp.int32(number))
        by_hand = changed(scaled(rows.inputs), key, VIEWS, FinetuneConfig(noise=0.2), LAYOUT)
        assert not np.allclose(by_hand, scaled(rows.inputs))
        step = Step(jnp.int32(number), jnp.float32(number / 10))
        of_plain = expected_state._replace(carry=state.carry)  # the first update's factor, which views change
        changed_before = Batch(by_hand, rows.labels)
        expected_state, expected = update_plain(without, of_plain, changed_before, jnp.uint32(3), step)
        state, values = update(config, state, rows, jnp.uint32(3), step)
        jax.tree.map(close, values, expected)
    jax.tree.map(close, state.params, expected_state.params)


def test_a_first_update_that_is_matched_changes_the_logits_of_its_views_by_what_is_asked(stage_of, images):
    stage, config = stage_of(views=VIEWS, noise=0.2, first_logit_change=0.3)
    *_, ran = [run((stage, config), images, stops=[1])]
    batch = taken(taken(images.train, ran.labelled), stage.rows.of_update(0, 0))
    batch = finetuning._augmented(stage.static, config.method, batch, jnp.uint32(0), jnp.int32(0))
    before, after = (stage.stack.logits(state.params, batch.inputs) for state in (ran.before, ran.state))
    assert np.sqrt(np.mean(np.square(after - before))) == pytest.approx(0.3, rel=1e-3)


def test_rows_and_held_out_measurements_stay_as_they_are(stage_of, images):
    of_views, plain = (run(stage_of(**fields), images, stops=[0]) for fields in ({"views": VIEWS}, {}))
    np.testing.assert_array_equal(of_views.labelled, plain.labelled)
    jax.tree.map(np.testing.assert_array_equal, of_views.before.params, plain.before.params)
    (stage, config), state = stage_of(views=VIEWS), of_views.before
    measured = [
        finetuning.measure(stage.static, given, state, images.validation, jnp.uint32(0))
        for given in (config, stage_of()[1])
    ]
    assert jax.tree.map(float, measured[0]) == jax.tree.map(float, measured[1])


def test_a_run_in_chunks_equals_a_run_in_one(stage_of, images):
    whole, chunked = (run(stage_of(views=VIEWS), images, stops=stops) for stops in ([8], [1, 7, 8]))
    jax.tree.map(np.testing.assert_array_equal, chunked.state, whole.state)
    jax.tree.map(np.testing.assert_array_equal, chunked.curves, whole.curves)


@pytest.mark.slow
def test_trials_of_unlike_levels_share_a_pack_and_equal_themselves_alone(experiment, dataset):
    sweep = ({"finetune.encoder_init": ("he",), "finetune.noise": (0.1, 0.4)},)
    finetune = {"views": ("flip", "noise"), "updates": 3}
    found = make_plan(experiment(sweep=sweep, seeds=2, encoder={"layers": (9,)}, finetune=finetune), dataset)
    assert len({job.stage for job in found.jobs.values()}) == 1 and len(found.jobs) == 4
    packed, alone = (run_all(found, dataset, memory=memory) for memory in (1 << 30, 1))
    jax.tree.map(np.testing.assert_array_equal, packed, alone)
    assert len({float(outcome[1]["loss"][-1]) for outcome in packed.values()}) == 4


def test_views_and_their_levels_name_stages_and_other_levels_are_in_no_program(planned):
    def ids(**finetune):
        return [job.id for job in path(planned(sweep=({"finetune.encoder_init": ("he",)},), finetune=finetune))]

    found = [ids(), ids(views=("flip",)), ids(views=("flip",), flip=0.25), ids(views=("flip", "noise"))]
    assert len({each[-1] for each in found}) == 4
    method = FinetuneConfig(views=("flip",)).of_method({})
    assert method.flip == 0.5 and method.noise is None and method.views == ("flip",)
    assert names(planned(finetune={"views": ("flip",), "frozen_layers": 1, "cache_codes": False}))[0] == "finetune"


@pytest.mark.parametrize(
    ("finetune", "fault"),
    [
        (
            {"views": ("flip",), "frozen_layers": 1},
            "views: 'flip' needs rows in every update, where codes of 1 frozen layer are computed once; set "
            "finetune.cache_codes to False, or finetune.frozen_layers to 0",
        ),
        ({"views": ("shift",)}, "views: 'shift' makes no sense of images; choose of crop, flip"),
        ({"views": ("hue",)}, "views: 'hue' needs images of three channels, not 1"),
        ({"views": ("flip", "flip")}, "views: 'flip flip' names a view twice"),
        ({"noise": 0.2}, "noise: 0.2 has no effect where views are none; leave it out, or name it in views"),
        ({"views": ("flip",), "noise": 0.2}, "noise: 0.2 has no effect where views are flip"),
        ({"views": ("absent.py:tilted",)}, "views: 'absent.py:tilted' names"),
    ],
)
def test_views_that_cannot_be_made_are_refused_in_one_line(finetune, fault, planned):
    refused(lambda: planned(finetune=finetune), f"finetune.{fault}")


def test_views_of_ones_own_are_named_by_what_they_compute(planned, tmp_path):
    def made(folder, *changed):
        (tmp_path / folder).mkdir(exist_ok=True)
        source = SOURCE
        for old, new in changed:
            source = source.replace(old, new)
        (tmp_path / folder / "my_views.py").write_text(source)
        views = ("flip", f"{tmp_path / folder}/my_views.py:tilted")
        return path(planned(sweep=({"finetune.encoder_init": ("he",)},), finetune={"views": views}))[-1].id

    before = made("here")
    assert made("here", ("ramp", "slope")) == made("there") == before != made("here", ("= 0.5", "= 0.25"))
    refused(lambda: made("here", ("STRENGTH *", "MISSING *")), "finetune.views: '", "fails with NameError")


def test_views_of_a_read_out_are_refused_and_beside_one_in_a_sweep_name_no_stage_of_it(planned):
    options = ["--finetune.views", "flip", "--finetune.readout", "ridge"]
    line = refused_line(*options, default=Experiment())
    assert (
        line == "finetune.views: ('flip',) has no effect where finetune.readout is 'ridge'; leave it out, or set that"
    )
    swept = {"finetune.encoder_init": ("he",), "finetune.readout": ("none", "ridge")}
    plain, of_views = (
        {path(planned(sweep=(swept,), finetune=finetune), number)[-1].id for number in range(2)}
        for finetune in ({}, {"views": ("noise",), "noise": 0.2})
    )
    assert len(plain) == len(of_views) == 2 and len(plain & of_views) == 1
