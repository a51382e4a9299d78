"""The fingerprint of a stage's program, by which a stage is named beside its settings.

A program is what JAX traces for one trial on abstract inputs: the start, the beginning, an update and the results. Its
fingerprint is the SHA-256 of its lines (``program_lines.py``). Fingerprints are remembered in the store under a hash of
the sources that they were traced from, so that unchanged code is not traced again.
"""

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import pretrain.config
import pretrain.learn
from pretrain.data import Dataset
from pretrain.data.files import written_whole
from pretrain.learn.layers import Params
from pretrain.learn.method import Extras
from pretrain.learn.metrics import Batch, Images
from pretrain.learn.results import predictions, results
from pretrain.learn.stage import Stage
from pretrain.learn.start import Choices, start
from pretrain.plan import environment, one_trial, program_lines
from pretrain.plan.program_lines import digest_of, without_addresses
from pretrain.plan.stages import Spec

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
_SETTINGS = (
    *("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable"),
    *("jax_random_seed_offset", "jax_disable_jit", "jax_numpy_dtype_promotion", "jax_default_dtype_bits"),
)
_OF_THIS_PROGRAM = (
    *("jax_num_cpu_devices", "jax_platforms", "jax_compilation_cache_dir"),
    *("jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_enable_xla_caches"),
)


def versions() -> dict[str, str]:
    """Returns the versions of the packages that may alter a program."""
    return {name: version(name) for name in PACKAGES}


class Sizes(NamedTuple):
    """Sizes of a dataset that a program depends on."""

    rows: tuple[int, ...]  # of training, validation and test
    labelled: int  # training rows with a label
    dtype: str  # of inputs
    target: tuple[int, ...] = ()  # shape of an example's, where the stage reads them


class Fingerprints:
    """Programs' fingerprints, remembered from run to run."""

    def __init__(self, root: Path | None = None):
        """Args: root: the store's directory, which may not be there yet; without one, nothing is remembered."""
        self._path = root and root / "fingerprints" / f"{_sources()}.json"
        self._known = _read(self._path)
        self._n_read = len(self._known)
        self._found: dict[Any, str] = {}

    def __call__(self, spec: Spec, parent: Stage | None, dataset: Dataset) -> str:
        """Returns the fingerprint of a stage's program, run alone.

        Args:
          spec: the stage, whose numbers are read only to see which parts of a program it has a use for.
          parent: the stage before.
          dataset: the images whose number the program has.
        """
        stage, structure = spec.stage, jax.tree.structure(spec.config)
        extras = one_trial.extras_of(spec.choices, spec.config)
        # Test rows name no pretraining, and so their number does not either.
        n_test = len(dataset.test.inputs) if stage.is_last else 0
        counts = (len(dataset.train.inputs), len(dataset.validation.inputs), n_test)
        # Nor does the number of labels, where none is read: other labels find the same pretraining.
        n_labelled = dataset.n_labelled if spec.choices.n_labels else counts[0]
        sizes = Sizes(counts, n_labelled, str(dataset.train.inputs.dtype), stage.stack.task.target_shape)
        known = (stage, spec.choices, extras, structure, parent, sizes)
        if known not in self._found:
            # Their sources, and what they import, are not among those that are hashed.
            is_own = any(isinstance(name, str) and ".py:" in name for name in spec.content["layers"])
            frozen = _frozen(one_trial.parent_shapes(parent))
            pieces = _pieces(stage, spec.choices, extras, structure, frozen, sizes)
            found = "".join(self._piece(*piece, is_own) for piece in pieces)
            self._found[known] = hashlib.sha256((found + _settings()).encode()).hexdigest()
        return self._found[known]

    def _piece(self, key: str, trace: Callable[[], str], is_own: bool) -> str:
        if is_own:
            return trace()
        if key not in self._known:
            self._known[key] = trace()
        return self._known[key]

    def save(self) -> None:
        """Remembers what was traced; what cannot be written is traced again some day."""
        if self._path is None or len(self._known) == self._n_read:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(self._path) as draft:
                draft.write_text(json.dumps({"checksum": _checksum(self._known), "known": self._known}))
            self._n_read = len(self._known)
        except OSError:
            return


def _read(path: Path | None) -> dict[str, str]:
    try:
        content = json.loads(path.read_text()) if path else {}
        return dict(content["known"]) if content.get("checksum") == _checksum(content["known"]) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _checksum(known: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _settings() -> str:
    """Returns the settings of JAX that decide draws and rounding, some of which no program shows."""
    return json.dumps([*(str(getattr(jax.config, name, None)) for name in _SETTINGS), *environment.rounding()])


def _all_settings() -> str:
    """Returns all settings of JAX, any of which may alter what is traced, but for those that this program makes."""
    return repr(sorted((name, value) for name, value in jax.config.values.items() if name not in _OF_THIS_PROGRAM))


@functools.cache
def _sources() -> str:
    """Returns a hash of all that tracing depends on: sources, versions, and settings of JAX."""
    digest = hashlib.sha256(json.dumps([sys.version_info[:3], versions()]).encode())
    digest.update(_all_settings().encode())
    roots = [Path(package.__file__).parent for package in (pretrain.config, pretrain.learn)]
    files = [file for root in roots for file in root.rglob("*.py")]
    for file in [*sorted(files), *(Path(each) for each in (one_trial.__file__, program_lines.__file__, __file__))]:
        digest.update(f"\n{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:32]


def _pieces(
    stage: Stage, choices: Choices, extras: Extras, structure: Any, parent: Any, sizes: Sizes
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yields the parts of a stage's program: a key each, and what traces it.

    Parts that stages share, as all fine-tunings of a sweep over starts share their updates, are traced once.
    """
    described = (stage.stack, stage.config, stage.n_examples, stage.steps_before, stage.whitens, sizes)
    whole = functools.partial(_begun, stage, choices, extras, structure, parent, sizes)
    yield (
        _key("start", stage.as_started(), choices, parent, sizes.rows[:1], sizes.labelled),
        lambda: digest_of(*_start(stage, choices, parent, sizes)),
    )
    yield _key("begin", described, extras), lambda: digest_of(*whole()[0])
    yield _key("step", described), lambda: digest_of(*whole()[1])
    yield (
        _key("results", stage.as_left(), stage.measured_splits, sizes),
        lambda: "".join(digest_of(*piece) for piece in whole()[2]),
    )


def _key(name: str, *described: Any) -> str:
    return hashlib.sha256(f"{name} {without_addresses(repr(described))}".encode()).hexdigest()


def _images(stage: Stage, sizes: Sizes) -> Images:
    def split(size: int) -> Batch:
        images = jax.ShapeDtypeStruct((size, *stage.stack.example), sizes.dtype)
        return Batch(images, _targets(size, sizes))

    return Images(*map(split, sizes.rows))


def _targets(size: int, sizes: Sizes) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((size, *sizes.target), jnp.float32 if sizes.target else jnp.int32)


def _start(stage: Stage, choices: Choices, parent: Any, sizes: Sizes) -> tuple[Callable, tuple]:
    labels, rows = _targets(sizes.labelled, sizes), jax.ShapeDtypeStruct((sizes.labelled,), jnp.int32)
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    inputs = (seed, _thawed(parent), labels, *([] if sizes.labelled == sizes.rows[0] else [rows]))
    return functools.partial(start, *stage.as_started(), choices), inputs


@functools.lru_cache(maxsize=64)
def _begun(
    stage: Stage, choices: Choices, extras: Extras, structure: Any, parent: Any, sizes: Sizes
) -> tuple[tuple[Callable, tuple], tuple[Callable, tuple], list[tuple[Callable, tuple]]]:
    """Returns beginning, update and results of a stage, each a function and its abstract inputs."""
    config = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct((), jnp.float32)] * structure.num_leaves)
    seed, index = jax.ShapeDtypeStruct((), jnp.uint32), jax.ShapeDtypeStruct((), jnp.int32)
    images, initial = _images(stage, sizes), _start(stage, choices, parent, sizes)
    begin = functools.partial(one_trial.begin_one, stage, extras)
    inputs = (config, jax.eval_shape(initial[0], *initial[1]), seed, images)
    state, own, _ = jax.eval_shape(begin, *inputs)
    step = functools.partial(one_trial.step_one, stage)
    stack, method = stage.as_left()
    # Test rows name no pretraining.
    splits = [name for name in stage.measured_splits if stage.is_last or name != "test"]
    measure = functools.partial(predictions if stage.is_last else results, stack, method)
    measured = [(measure, (state.params, images.train, getattr(images, name))) for name in splits]
    return (begin, inputs), (step, (config, seed, own, images, state, index)), measured


def inputs_of_step(
    stage: Stage, choices: Choices, structure: Any, extras: Extras, parent: Stage | None, sizes: Sizes
) -> tuple:
    """Returns the abstract inputs of an update, in the order of ``one_trial.step_one`` after its stage."""
    parameters = _frozen(one_trial.parent_shapes(parent))
    return _begun(stage, choices, extras, structure, parameters, sizes)[1][1]


def _frozen(tree: Params | None) -> Any:
    """Returns shapes as a hashable value."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


def _thawed(frozen: Any) -> Params | None:
    structure, leaves = frozen
    return jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves])
