"""Settings of JAX and XLA that an environment brings along: fixed by the program, part of a stage's name, or refused.

A result must not depend on a shell. What alters draws, or what a program means, is fixed here, or, in a process that
belongs to somebody else, checked. What may well differ and alters rounding only, as the precision of matrix products
does, names a stage beside its program (``plan.identity``).
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import threadpoolctl

from pretrain.config.fields import ConfigError

FIXED = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_enable_x64": False,
    "jax_disable_jit": False,
    "jax_no_tracing": False,
    "jax_no_execution": False,
    "jax_debug_nans": False,  # a trial that diverges is a result
    "jax_debug_infs": False,
    **dict.fromkeys(("jax_transfer_guard_host_to_device", "jax_transfer_guard_device_to_device"), "allow"),
    **dict.fromkeys(("jax_transfer_guard_device_to_host", "jax_transfer_guard"), "allow"),
}
_ROUNDING = {  # with what JAX takes by itself
    "jax_optimization_level": "UNKNOWN",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_disable_most_optimizations": False,
    "jax_allow_f16_reductions": True,
}
_MATMUL = "jax_default_matmul_precision"
_FLAGS = "XLA_FLAGS"
_ONE_AT_A_TIME = threading.Lock()  # or one would give another its threads back
_NO_ARITHMETIC = (
    "--xla_dump",
    "--xla_force_host_platform_device_count",
    "--xla_gpu_cuda_data_dir",
    "--xla_hlo_profile",
)


def fix() -> list[str]:
    """Gives JAX the settings that no result may depend on; returns the variables that it sets aside.

    Raises:
      ConfigError: the environment asks for float64, which nothing here computes in.
    """
    aside = []
    for name, value in FIXED.items():
        before, variable = jax.config.values.get(name, value), name.upper()
        if before == value or (before is None and value == "allow"):
            continue
        if name == "jax_enable_x64" and variable in os.environ:
            raise ConfigError(variable, os.environ[variable], "asks for float64, and all is float32 here; unset it")
        jax.config.update(name, value)
        aside += [variable] if variable in os.environ else []
    return aside


def check() -> None:
    """Checks that JAX has the settings that no result may depend on; for a process whose settings are not ours to make.

    Raises:
      ConfigError: one is set otherwise; or, of those that name stages, for this thread alone.
    """
    for name, value in FIXED.items():
        current = jax.config.values.get(name, value)
        if current != value and not (current is None and value == "allow"):
            raise ConfigError(name, current, f"would change results; set it to {value!r}, or pass isolated=True")
    with ThreadPoolExecutor(1) as other:
        of_all = other.submit(_settings_of_rounding).result()
    for name, current in _settings_of_rounding().items():
        if current != of_all[name]:
            remedy = f"holds in this thread alone, and others compute, too; set it by jax.config.update({name!r}, …)"
            raise ConfigError(name, current, remedy)


def _settings_of_rounding() -> dict[str, object]:
    return {name: jax.config.values.get(name) for name in (*_ROUNDING, _MATMUL)}


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Gives linear algebra on the host, whose rounding depends on its threads, a single one; one caller at a time."""
    import scipy.linalg  # noqa: F401  # loads its BLAS before the limit, which JAX would load after it

    with _ONE_AT_A_TIME, threadpoolctl.threadpool_limits(1, "blas"):
        yield


def check_devices() -> None:
    """Checks that JAX has devices to compute on; the first use of them.

    Raises:
      ConfigError: it has none of the platform that the environment names.
    """
    try:
        jax.local_devices()
    except Exception as error:  # a RuntimeError, but for CUDA without its plugin an AssertionError without a word
        named = [name for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(name)]
        name = named[0] if named else "JAX_PLATFORMS"
        reason = " ".join(str(error).split())[:200] or "there is none, or JAX was installed without support for it"
        remedy = f"gives JAX no device ({reason}); set it to cpu, or unset it"
        raise ConfigError(name, os.environ.get(name, ""), remedy) from None


def rounding() -> list[str]:
    """Returns the settings, other than JAX's own, by which the same program may round otherwise."""
    own = {name: jax.config.values.get(name, usual) for name, usual in _ROUNDING.items()}
    return [f"{name}={own[name]}" for name, usual in _ROUNDING.items() if own[name] != usual] + _flags()


def variables() -> dict[str, str]:
    """Returns the environment's variables that name stages, which a worker elsewhere must have, too."""
    names = (*(name.upper() for name in (*_ROUNDING, _MATMUL)), _FLAGS)
    return {name: os.environ[name] for name in names if name in os.environ}


def _flags() -> list[str]:
    """Returns XLA's flags, without those that alter no arithmetic."""
    return sorted(flag for flag in os.environ.get(_FLAGS, "").split() if not flag.startswith(_NO_ARITHMETIC))
