"""Programs are compiled once for each combination of static values and shapes, by whichever thread comes first."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pretrain.execute import compiled
from pretrain.execute.compiled import Compiled

MAPS = Path("/proc/self/maps")


@pytest.fixture
def traces():
    """Traces of a function, each by its static value and shapes."""
    return []


@pytest.fixture
def scaled(traces):
    """A program of a static factor, a matrix and a tree of vectors."""

    def function(factor, matrix, vectors):
        traces.append((factor, matrix.shape))
        return {"product": matrix @ vectors["left"] * factor}, vectors["right"] + 1

    return Compiled(function, n_static=1)


def inputs(rows=3, columns=2, dtype=np.float32):
    vectors = {"left": np.arange(columns, dtype=dtype), "right": np.arange(4, dtype=np.int32)}
    return np.ones((rows, columns), dtype), vectors


def test_equal_shapes_are_compiled_once_and_others_anew(scaled, traces):
    for value in range(3):
        outputs, count = scaled(2, inputs()[0] * value, inputs()[1])
        np.testing.assert_array_equal(outputs["product"], [2 * value] * 3)
        np.testing.assert_array_equal(count, [1, 2, 3, 4])
    assert scaled.n_compiled == len(traces) == 1
    scaled(2, *inputs(rows=5))
    scaled(3, *inputs())
    scaled(2, *inputs(dtype=np.int32))
    assert scaled.n_compiled == len(traces) == 4
    assert scaled(2, *inputs())[0]["product"].dtype == jnp.float32
    assert scaled.n_compiled == len(traces) == 4


def test_programs_that_were_used_last_are_kept(scaled, monkeypatch):
    monkeypatch.setattr(compiled, "MOST_KEPT", 3)
    made = {rows: scaled.compile(2, *inputs(rows)) for rows in (1, 2, 3)}
    scaled(2, *inputs(1))
    scaled(2, *inputs(4))  # in the place of 2, which was used longest ago
    assert scaled.n_compiled == 3
    assert all(scaled.compile(2, *inputs(rows)) is made[rows] for rows in (1, 3))
    assert scaled.compile(2, *inputs(2)) is not made[2]
    assert scaled(2, *inputs(2))[0]["product"].shape == (2,)


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux lists and limits what a process maps")
def test_any_number_of_programs_maps_no_more_memory(scaled, monkeypatch):
    monkeypatch.setattr(compiled, "MOST_KEPT", 2)
    counts = []
    for rows in range(1, 41):
        scaled(2, *inputs(rows))
        counts.append(len(MAPS.read_text().splitlines()))
    assert counts[-1] <= counts[9] + 40  # 30 programs more, of a dozen and more pieces each


def test_lists_of_another_structure_are_another_program():
    program = Compiled(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), n_static=0)
    assert program({"a": np.zeros(2)}).keys() == {"a"}
    assert program({"b": np.zeros(2)}).keys() == {"b"}
    assert program.n_compiled == 2


def test_abstract_arrays_compile_the_program_that_concrete_ones_run(scaled, traces):
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), inputs())
    made = scaled.compile(2, *shapes)
    assert scaled.compile(2, *inputs()) is made
    assert scaled.compile(2, *jax.tree.map(jnp.asarray, inputs())) is made  # on no device of its own
    scaled(2, *inputs())
    assert scaled.n_compiled == len(traces) == 1


def test_threads_that_ask_together_wait_for_one_compilation(traces):
    n_threads = 8
    all_there = threading.Barrier(n_threads)

    def slow(matrix):
        traces.append(threading.get_ident())
        threading.Event().wait(0.2)
        return matrix * 2

    program = Compiled(slow, n_static=0)

    def ask(value):
        all_there.wait()
        return program.compile(np.full(3, value, np.float32)), program(np.full(3, value, np.float32))

    with ThreadPoolExecutor(n_threads) as pool:
        found = list(pool.map(ask, range(n_threads)))
    assert len(traces) == program.n_compiled == 1
    assert len({id(compiled) for compiled, _ in found}) == 1
    for value, (_, output) in enumerate(found):
        np.testing.assert_array_equal(output, [2 * value] * 3)


def test_threads_that_ask_for_different_programs_do_not_wait_for_each_other():
    both_there = threading.Barrier(2)

    def meeting(name, matrix):
        both_there.wait(timeout=60)  # would break if one were traced after the other
        return matrix

    program = Compiled(meeting, n_static=1)
    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(lambda name: program.compile(name, np.zeros(2)), ("one", "other")))) == 2
    assert program.n_compiled == 2


def abstract(array):
    return array.shape, array.dtype


def test_abstract_outputs_are_those_of_a_run_and_compile_nothing(scaled, traces):
    found = scaled.outputs(2, *inputs())
    assert scaled.n_compiled == 0
    expected = scaled(2, *inputs())
    assert len(traces) == 1
    assert jax.tree.map(abstract, found) == jax.tree.map(abstract, expected)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(found))


def test_abstract_arrays_on_several_devices_lead_to_the_program_that_a_run_leads_to():
    mesh = Mesh(np.array(jax.local_devices()[:2]), ("T",))
    lanes = NamedSharding(mesh, PartitionSpec("T"))
    first = Compiled(lambda lanes: (lanes * 2, jnp.sum(lanes)), n_static=0)
    second = Compiled(lambda lanes, total: lanes / total, n_static=0)

    total = jax.ShapeDtypeStruct((), np.float32, sharding=NamedSharding(mesh, PartitionSpec()))
    second.compile(jax.ShapeDtypeStruct((4,), np.float32, sharding=lanes), total)
    outputs = first(jax.device_put(np.ones(4, np.float32), lanes))
    np.testing.assert_array_equal(second(*outputs), [0.5] * 4)
    assert first.n_compiled == second.n_compiled == 1
    # Arrays that lie elsewhere, which the program does not take, are another one's.
    second(*jax.tree.map(np.asarray, outputs))
    assert second.n_compiled == 2


def test_one_device_is_one_place_however_its_sharding_is_written():
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("T",))
    along, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("T",), ()))
    program = Compiled(lambda lanes: lanes * 2, n_static=0)
    program.compile(jax.ShapeDtypeStruct((1, 3), np.float32, sharding=along))
    np.testing.assert_array_equal(program(jax.device_put(np.ones((1, 3), np.float32), whole)), [[2.0] * 3])
    assert program.n_compiled == 1
    if jax.local_device_count() > 1:
        program(jax.device_put(np.ones((1, 3), np.float32), jax.local_devices()[1]))
        assert program.n_compiled == 2


def test_nothing_runs_where_programs_are_only_compiled():
    ran = []

    def function(matrix):
        jax.debug.callback(lambda: ran.append(1))
        return matrix

    program = Compiled(function, n_static=0)
    program.outputs(np.zeros(2))
    program.compile(np.zeros(2))
    jax.effects_barrier()
    assert ran == []
    jax.block_until_ready(program(np.zeros(2)))
    jax.effects_barrier()
    assert ran == [1]


def test_donated_arguments_are_deleted_and_others_are_not():
    program = Compiled(lambda factor, kept, taken: (kept * factor, taken + 1), n_static=1, donated=(2,))
    kept, taken = jnp.zeros(5), jnp.ones(5)
    _, output = program(2, kept, taken)
    assert taken.is_deleted() and not kept.is_deleted()
    np.testing.assert_array_equal(output, [2.0] * 5)
    with pytest.raises((RuntimeError, ValueError), match=r"deleted|donated"):
        program(2, kept, taken)


class Broken(Exception):
    pass


def test_an_error_in_compilation_reaches_all_who_wait_and_is_not_remembered():
    n_threads = 4
    all_there, is_broken = threading.Barrier(n_threads), [True]

    def function(matrix):
        threading.Event().wait(0.5)
        if is_broken[0]:
            raise Broken("while it is traced")
        return matrix + 1

    program = Compiled(function, n_static=0)

    def ask(_):
        all_there.wait()
        with pytest.raises(Broken, match="while it is traced"):
            program.compile(np.zeros(3))

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(ask, range(n_threads)))
    assert program.n_compiled == 0
    is_broken[0] = False
    np.testing.assert_array_equal(program(np.zeros(3)), [1.0] * 3)
    assert program.n_compiled == 1


def test_what_is_forgotten_is_compiled_again(scaled):
    first = scaled.compile(2, *inputs())
    scaled.clear()
    assert scaled.n_compiled == 0
    assert scaled.compile(2, *inputs()) is not first
    assert scaled.n_compiled == 1
