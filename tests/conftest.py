"""What every test runs under: two CPU devices, fixed draws, no silent rank promotion, and a tiny dataset."""

import gc
import itertools
import os
from importlib.metadata import version
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis.internal.conjecture import providers
from jaxtyping import install_import_hook

# Arguments and results in learn/ are checked against their annotations, shapes included, if imported from here on.
install_import_hook("pretrain.learn", "beartype.beartype")

from pretrain.config import metrics  # noqa: E402
from pretrain.config.own_methods import OWN, OWN_ENDINGS  # noqa: E402
from pretrain.store import programs as kept  # noqa: E402
from tests.launching import ROOT, Site  # noqa: E402
from tests.small_sweep import corners, dataset, experiment, outcomes, planned  # noqa: E402, F401 (fixtures)

# Of this process; processes that launch as users do have a device a core.
kept.prepare_devices(int(os.environ.get("JAX_NUM_CPU_DEVICES", 2)))
jax.config.update("jax_numpy_rank_promotion", "raise")

# Property tests have one fixed draw each; slow tests, and those of --hypothesis-profile random, draw anew.
_DRAWS = {"database": None, "deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("fixed", derandomize=True, **_DRAWS)
hypothesis.settings.register_profile("random", derandomize=False, **_DRAWS)
hypothesis.settings.load_profile("fixed")
# Or numbers in the code of the package, as far as it is imported, would be drawn, too, and alter all other draws.
providers.is_local_module_file = lambda path: False

gc.set_threshold(100_000)  # traces leave a million objects that stay, and are not worth a search every 700

# Three quarters of the tests' time would be XLA's optimizations of programs that run once, on next to nothing.
_UNOPTIMISED = ["--xla_backend_optimization_level=0"]
if version("jaxlib").startswith("0.10."):  # an unknown flag ends the process
    # Old emitters, and one thread of code a program, take less time where programs are small and cores are busy.
    _UNOPTIMISED += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
# Programs that tests compile, and those that launches in processes of their own do, are kept for the next time.
_PROGRAMS, _OF_LAUNCHES = ROOT / ".cache" / "tests", ROOT / ".cache" / "launches"
_ENDED = itertools.count(1)  # tests
_UNITS = ("config", "data", "learn", "study")  # folders


def pytest_addoption(parser):
    parser.addoption("--optimised", action="store_true", help="compile as users do, and run what is marked so")


def pytest_configure(config):
    os.environ["XDG_STATE_HOME"] = str(ROOT / ".cache" / "state")  # of the secret that seals compiled programs
    if config.getoption("markexpr") == "slow":
        hypothesis.settings.load_profile("random")
    if not config.getoption("--optimised"):
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_UNOPTIMISED]).strip()


def pytest_ignore_collect(collection_path, config):
    # To import all other tests would take a tenth of the unit tests' time.
    if config.getoption("markexpr") == "unit" and collection_path.name.startswith("test_"):
        return _parts(collection_path)[0] not in _UNITS or None
    return None


def pytest_collection_modifyitems(config, items):
    # Files whose tests launch processes take longest; first, so that no process of the tests is left alone with one.
    items.sort(key=lambda item: len(_parts(item.path)) > 1 and "engine" not in item.path.name)
    for item in items:
        if _parts(item.path)[0] in _UNITS and not item.get_closest_marker("slow"):
            item.add_marker("unit")
    if not config.getoption("--optimised"):
        left_out = [item for item in items if item.get_closest_marker("optimised")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _parts(path):
    return path.relative_to(Path(__file__).parent).parts


@pytest.fixture(scope="session", autouse=True)
def kept_programs():
    """Keeps what this process compiles in one place, which JAX settles on at the first compilation, until it ends."""
    kept.prepare(_PROGRAMS)
    jax.jit(lambda: 0.0)()


@pytest.fixture(autouse=True)
def quick_programs(kept_programs):
    """Keeps what is compiled quickly, too, whatever launches in this process have set."""
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)


@pytest.fixture(autouse=True)
def nothing_of_files():
    """Lets methods and metrics of files join for a test only."""
    yield
    OWN.forget()
    OWN_ENDINGS.forget()
    metrics.OWN.clear()


@pytest.fixture(autouse=True)
def few_programs(request):
    """Forgets compiled programs before the process may map no more memory for them (65,530 pieces on Linux).

    Slow tests compile thousands, others a few; pieces are counted now and then, as that takes milliseconds.
    """
    yield
    is_slow, maps = bool(request.node.get_closest_marker("slow")), Path("/proc/self/maps")
    is_due, most = is_slow or next(_ENDED) % 25 == 0, 20_000 if is_slow else 40_000
    if is_due and maps.exists() and maps.read_bytes().count(b"\n") > most:
        jax.clear_caches()


@pytest.fixture(scope="session")
def tiny_arrays() -> dict[str, np.ndarray]:
    """Three classes of noisy 6 x 6 patterns: 260 training and 64 test images."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (3, 6, 6))

    def split(size: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 3, size)
        images = np.clip(patterns[labels] + rng.normal(0, 25, (size, 6, 6)), 0, 255)
        return images.astype(np.uint8), labels.astype(np.int64)

    (train_images, train_labels), (test_images, test_labels) = split(260), split(64)
    return {
        "train_images": train_images,
        "train_labels": train_labels,
        "test_images": test_images,
        "test_labels": test_labels,
    }


@pytest.fixture(scope="session")
def tiny_path(tiny_arrays, tmp_path_factory) -> str:
    """The tiny dataset as an .npz file."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, **tiny_arrays)
    return str(path)


@pytest.fixture(scope="session")
def programs() -> Path:
    """Compiled programs that all launches share, whichever of the tests' processes starts them."""
    _OF_LAUNCHES.mkdir(parents=True, exist_ok=True)
    return _OF_LAUNCHES


@pytest.fixture(scope="session")
def site(tiny_path, programs, tmp_path_factory) -> Site:
    """A directory to launch in."""
    return Site(tmp_path_factory.mktemp("site"), tiny_path, programs)


@pytest.fixture(scope="session")
def first(site):
    """The first launch, which compiles all programs and is never interrupted."""
    done = site.launch(*site.at("first"), drawn=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def run(site, first):
    """The directory of the first launch's run."""
    return site.path / "first-run"
