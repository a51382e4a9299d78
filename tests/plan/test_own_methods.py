"""Stages of methods of one's own: named by what their functions trace to, and refused where these fail."""

import pytest

from pretrain.config.fields import ConfigError
from tests.experiments import one_line
from tests.own_method import written
from tests.small_sweep import path

EDITED = ("/ config.temperature", "/ (2 * config.temperature)")


@pytest.fixture
def jobs(planned, tmp_path):
    """Returns a function from changes of the file, and fields, to the jobs of a trial."""

    def make(*changed, folder="here", **fields):
        kind = written(tmp_path / folder, *changed)
        return path(planned(pretrain={"method": {"kind": kind, **fields}}, encoder={"layers": (9,)}))

    return make


def test_a_stage_of_ones_own_is_named_by_what_it_computes(jobs):
    def ids(*changed, **settings):
        return [job.id for job in jobs(*changed, **settings)]

    before = ids()
    assert len(before) == 2 and ids() == before
    renamed = (
        ("losses", "total"),
        ("Returns the projection", "Gives the projection"),
        ("import optax", "import optax\n"),
    )
    assert ids(*renamed) == ids(*renamed, folder="elsewhere") == before
    measured = ids(('"accuracy": mean_of(correct', '"share": mean_of(correct'))
    for other in (ids(EDITED), ids(temperature=0.2), ids(projected=8), measured):
        assert all(old != new for old, new in zip(before, other, strict=True))


def test_a_method_whose_functions_fail_is_refused_in_one_line(jobs):
    for changed, parts in {
        ("noisy = corrupted", "noisy = inputs if config.temperature > 1 else corrupted"): (
            "TracerBoolConversionError: it takes a traced number for a plain one; give its field a static type",
            "my_method.py:",
        ),
        ("jnp.mean(losses), {", "jnp.mean(missing), {"): ("NameError: name 'missing' is not defined", "my_method.py:"),
        ("Dense(config.projected)", "Dense(config.width)"): ("AttributeError", "width", "my_method.py:"),
        ("return train_step(", "return state or train_step("): ("fails with",),
        ("update, measure,", "start.pretraining, measure,"): ("fails with TypeError",),
        ('{"loss": mean_of(losses', '{"error": mean_of(losses'): (
            "update returns no 'loss'; return it, or give Method",
        ),
        (
            "return train_step(state, batch, loss, optimizer_of(static, config))",
            "state, values = train_step(state, batch, loss, optimizer_of(static, config))\n"
            "    return state, {**values, 'each': jnp.arange(3.0)}",
        ): ("update or measure returns each of shape (3,), where every value is one number",),
    }.items():
        with pytest.raises(ConfigError) as error:
            jobs(changed)
        one_line(error, "pretrain.method.kind: '", *parts)


def test_python_in_a_compiled_program_is_refused(jobs):
    called = "jax.pure_callback(lambda x: x, correct, correct)"
    with pytest.raises(ConfigError) as error:
        jobs(("mean_of(correct,", f"mean_of({called},"))
    one_line(error, "own code: 'pure_callback' calls Python from its compiled program")
