"""The lines of a program: arithmetic changes them, and the way in which code is written does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config.fields import ConfigError
from pretrain.plan.program_lines import digest_of, lines_of

# A program with everything that code may hold a number in.
SOURCE = """
import jax
import jax.numpy as jnp
import numpy as np

TABLE = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)


@jax.jit
def halved(values):
    return values * 0.5


@jax.custom_vjp
def clipped(values):
    return jnp.clip(values, -3, 3)


def forwards(values):
    return clipped(values), values


def backwards(values, slopes):
    return (slopes * 0.9,)


clipped.defvjp(forwards, backwards)


def program(kernel, images):
    def activate(sums):
        return jnp.tanh(sums)

    def loss(kernel):
        sums = clipped(images @ kernel + TABLE[0][None])
        codes = activate(sums) * 2.0 + halved(sums)
        noise = jax.random.normal(jax.random.key(0), codes.shape)

        def step(total, row):
            return total + jnp.sum(row @ TABLE), None

        total, _ = jax.lax.scan(step, 0.0, codes - noise)
        return jax.lax.cond(total > 1.5, lambda: total, lambda: total - 1.0)

    return jax.grad(loss)(kernel)
"""
ABSTRACT = jax.ShapeDtypeStruct((5, 8), jnp.float32), jax.ShapeDtypeStruct((3, 5), jnp.float32)

SAME = {
    "a comment and empty lines": ("def program", "# A comment.\n\n\ndef program"),
    "a docstring": ("    def activate(sums):\n", '    """Says nothing."""\n    def activate(sums):\n'),
    "a local variable": ("sums", "totals"),
    "an inner function": ("activate", "squashed"),
    "a jitted function": ("halved", "by_two"),
    "a function with a derivative of its own": ("clipped", "bounded"),
    "a rule of it": ("backwards", "pulled_back"),
    "a global constant": ("TABLE", "NUMBERS"),
    "the body of a loop": ("step", "one"),
    "a helper made": (
        "        codes = activate",
        "        product = lambda: activate(sums) * 2.0\n        codes = activate",
    ),
    "a helper moved": (
        "def program(kernel, images):\n    def activate(sums):\n        return jnp.tanh(sums)\n",
        "def activate(sums):\n    return jnp.tanh(sums)\n\n\ndef program(kernel, images):\n",
    ),
}
OTHER = {
    "a constant": ("* 2.0", "* 2.1"),
    "a constant in a jitted function": ("* 0.5", "* 0.6"),
    "a constant in a rule": ("* 0.9", "* 0.8"),
    "a constant in a branch": ("- 1.0", "- 1.1"),
    "the condition of a branch": ("> 1.5", "> 1.6"),
    "a bound": ("-3, 3", "-3, 4"),
    "an activation": ("jnp.tanh", "jax.nn.sigmoid"),
    "the order of operations": ("activate(sums) * 2.0", "activate(sums * 2.0)"),
    "the order of operands": ("total + jnp.sum(row @ TABLE)", "jnp.sum(row @ TABLE) + total"),
    "a sign": ("codes - noise", "codes + noise"),
    "an array": ("linspace(0, 1", "linspace(0, 2"),
    "a value of an array": ("reshape(8, 8)", "reshape(8, 8)\nTABLE[7, 7] = 0.5"),
    "the key of a draw": ("key(0)", "key(1)"),
    "a draw": ("random.normal", "random.uniform"),
    "a precision": ("images @ kernel", "jnp.dot(images, kernel, precision='highest')"),
    "where a loop starts": ("step, 0.0", "step, 0.5"),
    "the way of a loop": ("codes - noise)", "codes - noise, reverse=True)"),
}


def lines(function, *inputs):
    return list(lines_of(jax.make_jaxpr(function)(*inputs)))


def of_source(source):
    found = {}
    exec(compile(source, "somewhere.py", "exec"), found)
    return lines(found["program"], *ABSTRACT)


def edited(old, new):
    assert old in SOURCE
    return SOURCE.replace(old, new)


@pytest.mark.parametrize("edit", SAME)
def test_code_that_is_renamed_moved_or_commented_is_the_same_program(edit):
    assert of_source(edited(*SAME[edit])) == of_source(SOURCE)


@pytest.mark.parametrize("edit", OTHER)
def test_arithmetic_that_is_changed_is_another_program(edit):
    assert of_source(edited(*OTHER[edit])) != of_source(SOURCE)


def test_operands_have_places_and_variables_have_not():
    left, right = jnp.ones(3), jnp.ones(3)
    assert lines(lambda a, b: a - b, left, right) == lines(lambda b, a: b - a, left, right)
    assert lines(lambda a, b: a - b, left, right) != lines(lambda a, b: b - a, left, right)
    assert lines(lambda a, b: (a, b), left, right) != lines(lambda a, b: (b, a), left, right)


@pytest.mark.parametrize("wrap", [lambda function: function, jax.jit, jax.checkpoint, jax.vmap])
def test_arrays_that_a_program_closes_over_count_by_value(wrap):
    def adding(array):
        return lines(wrap(lambda values: values + array), jax.ShapeDtypeStruct((3, 500), jnp.float32))

    array = np.arange(500, dtype=np.float32)
    changed = array.copy()
    changed[250] += 1  # where a printed array would have an ellipsis
    if wrap is not jax.vmap:
        array, changed = array[None], changed[None]
    for kind in (np.asarray, jnp.asarray):
        assert adding(kind(array)) == adding(kind(array.copy()))
        assert adding(kind(array)) != adding(kind(changed))
    assert adding(array) != adding(array.astype(np.float16))


def test_shapes_and_types_are_distinguished():
    doubled = lambda values: values * 2
    kinds = [((3,), jnp.float32), ((4,), jnp.float32), ((3, 1), jnp.float32), ((3,), jnp.int32)]
    found = {tuple(lines(doubled, jax.ShapeDtypeStruct(*kind))) for kind in kinds}
    assert len(found) == len(kinds)


def test_a_program_that_calls_python_has_no_name():
    def program(values):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), jnp.float32), values)

    traced = jax.make_jaxpr(program)(jnp.ones(3))
    with pytest.raises(ConfigError, match=r"pure_callback.*write it in JAX"):
        list(lines_of(traced))


def test_names_of_outputs_are_part_of_a_program():
    def measured(name):
        return digest_of(lambda values: ({name: values.sum()}, values), (jax.ShapeDtypeStruct((3,), jnp.float32),))

    assert measured("loss") == measured("loss") != measured("mse")
