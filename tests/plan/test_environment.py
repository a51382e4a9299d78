"""What a shell brings along changes no result: it is fixed, or names the stage, or is refused in one line."""

import importlib
import os
import subprocess
import sys

import jax
import pytest

from pretrain.commands.launch import main
from pretrain.config.fields import ConfigError
from pretrain.plan import environment, identity
from pretrain.plan.identity import Fingerprints
from tests.launching import OPTIONS, ROOT
from tests.plan.test_identity import planned_by

HE = ({"finetune.encoder_init": ("he",)},)
OTHER = {
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 3,
    "jax_high_dynamic_range_gumbel": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_disable_jit": True,
    "jax_no_tracing": True,
    "jax_no_execution": True,
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_transfer_guard": "disallow",
    "jax_transfer_guard_host_to_device": "disallow",
    "jax_transfer_guard_device_to_device": "disallow",
    "jax_transfer_guard_device_to_host": "disallow",
    "jax_enable_x64": True,
}
DECISIVE = {
    "jax_default_matmul_precision": "bfloat16",
    "jax_optimization_level": "O0",
    "jax_exec_time_optimization_effort": -1.0,
    "jax_disable_most_optimizations": True,
    "jax_allow_f16_reductions": False,
}


@pytest.fixture
def setting(monkeypatch):
    """Returns a function that changes a setting of JAX until the test ends."""
    before = dict(jax.config.values)

    def change(name, value):
        jax.config.update(name, value)

    identity._sources.cache_clear()
    yield change
    for name, value in before.items():
        if jax.config.values[name] != value:
            jax.config.update(name, value)
    identity._sources.cache_clear()


def ids(found, root=None):
    return list(planned_by(Fingerprints(root), found).jobs)


def test_every_fixed_setting_is_tried():
    assert OTHER.keys() == environment.FIXED.keys()


def test_settings_that_no_result_may_depend_on_are_set_aside(experiment, setting, monkeypatch):
    found = experiment(sweep=HE, seeds=1)
    expected = ids(found)
    for name, value in OTHER.items():
        setting(name, value)
    monkeypatch.setenv("JAX_DEFAULT_PRNG_IMPL", "rbg")
    monkeypatch.setenv("JAX_DEBUG_NANS", "1")
    assert environment.fix() == ["JAX_DEFAULT_PRNG_IMPL", "JAX_DEBUG_NANS"]
    assert environment.fix() == []
    assert ids(found) == expected


@pytest.mark.parametrize("name", DECISIVE)
def test_settings_that_alter_rounding_name_a_stage(name, experiment, setting):
    found = experiment(sweep=HE, seeds=1)
    expected = ids(found)
    setting(name, DECISIVE[name])
    environment.fix()
    assert set(ids(found)).isdisjoint(expected)


def test_flags_of_xla_name_a_stage_unless_they_alter_no_arithmetic(experiment, monkeypatch):
    found = experiment(sweep=HE, seeds=1)
    monkeypatch.setenv("XLA_FLAGS", "")
    expected = ids(found)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/nowhere --xla_force_host_platform_device_count=3")
    assert ids(found) == expected
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert set(ids(found)).isdisjoint(expected)
    assert environment.variables()["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=true"


@pytest.mark.parametrize("name", ["jax_use_direct_linearize", "jax_softmax_custom_jvp", "jax_threefry_partitionable"])
def test_what_was_traced_under_another_setting_is_not_remembered(name, experiment, setting, tmp_path):
    found = experiment(sweep=HE, seeds=1)
    memory = Fingerprints(tmp_path)
    planned_by(memory, found)
    memory.save()
    setting(name, not jax.config.values[name])
    identity._sources.cache_clear()
    assert ids(found, tmp_path) == ids(found)


def test_64_bits_are_refused(setting, monkeypatch):
    setting("jax_enable_x64", True)
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    with pytest.raises(ConfigError, match=r"^JAX_ENABLE_X64: '1' asks for float64, .*; unset it$"):
        environment.fix()


@pytest.mark.parametrize("error", [RuntimeError("Unknown\nbackend"), AssertionError()])
def test_a_platform_without_devices_is_refused(error, monkeypatch):
    def fail():
        raise error

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "local_devices", fail)
    with pytest.raises(
        ConfigError, match=r"^JAX_PLATFORMS: 'cuda' gives JAX no device \(.+\); set it to cpu, or unset it"
    ):
        environment.check_devices()


@pytest.mark.parametrize("message", ['Invalid value "x" for JAX flag jax_some_count', "no number: 'x'"])
def test_a_variable_that_jax_refuses_is_named(message, monkeypatch, capsys):
    def fail(name):
        raise ValueError(message)

    monkeypatch.setenv("JAX_SOME_COUNT", "x")
    monkeypatch.setattr(importlib, "import_module", fail)
    assert main([], ROOT / "configs") == 2
    assert capsys.readouterr().err == f"JAX_SOME_COUNT: 'x' is refused by JAX ({message}); correct it, or unset it\n"


@pytest.mark.parametrize("variable", ["JAX_NUM_CPU_DEVICES=x", "JAX_PLATFORMS=junk", "JAX_ENABLE_X64=1"])
def test_a_variable_that_cannot_work_is_refused_before_anything_is_written(variable, tiny_path, tmp_path):
    command = [sys.executable, str(ROOT / "launch.py"), "geron", "--data.name", tiny_path, *OPTIONS]
    environment = {**os.environ, **dict([variable.split("=")])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    name, _, value = variable.partition("=")
    assert done.stderr.startswith(f"{name}: '{value}' ")
    assert list(tmp_path.iterdir()) == []
