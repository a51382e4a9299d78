"""The fingerprint of a stage's program, by which a stage is named beside its settings.

A program is what JAX traces on abstract inputs: the pieces of ``learn/program.py`` for one trial, and the mapping over
trials; and, of what no trace shows, the definitions by which arrays move on the host. Its fingerprint is the SHA-256 of
their lines (``program_lines.py``) and of these definitions. Fingerprints are remembered in the store
under a hash of all sources, so that unchanged code is not traced again.
"""

import functools
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from pretrain.config.digests import sha256, sha256_of_json
from pretrain.config.own_methods import blamed_on
from pretrain.config.paths import opened, written_whole
from pretrain.data import Dataset
from pretrain.learn.lanes import over_trials
from pretrain.learn.program import Piece, Program, program_of
from pretrain.learn.stage import Stage
from pretrain.plan import arrays, definitions, environment
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


# Definitions on the way of an array on the host, by module; all functions of the first.
_FITTING = ("pretrain.learn.program", "fitted")  # which gives a fit of the host what it reads
_MOVEMENT = {
    "pretrain.plan.arrays": (),
    "pretrain.data.dataset": ("Units.restored",),
    "pretrain.learn.stage": ("Stage.mask",),
    "pretrain.learn.lanes": ("over_trials",),
    "pretrain.store.records": ("outcome_of", "records_of", "curves_of", "curves_by_stage"),
    "pretrain.store.store": (
        *("Store.write", "Store._place", "Store.params", "Store.predictions", "Store.curves", "Store.records"),
    ),
}


def versions() -> dict[str, str]:
    """Returns the versions of the packages that may alter a program."""
    return {name: version(name) for name in PACKAGES}


class Fingerprints:
    """Programs' fingerprints, remembered from run to run."""

    def __init__(self, root: Path | None = None):
        """Args: root: the store's directory, which may not be there yet; without one, nothing is remembered."""
        self._path = root and root / "fingerprints" / f"{_sources()}.json"
        self._known = _read(self._path)
        self._n_read = len(self._known)
        self._programs: dict[Program, str] = {}

    def __call__(self, spec: Spec, parent: Stage | None, dataset: Dataset) -> str:
        """Returns the fingerprint of a stage's program."""
        program = traced_program(spec, parent, dataset)
        if program not in self._programs:
            # Their sources, and what they import, are not among those that are hashed.
            names, layout = (*spec.content["layers"], spec.content["method"]["kind"]), program.stage.static.layout
            is_own = any(isinstance(name, str) and ".py:" in name for name in names) or bool(layout and layout.own)
            with blamed_on(program.stage.config.method):
                digests = self._digests(program, is_own)
            self._programs[program] = sha256(
                "".join([digests, mapping(), movement(), _settings(), on_host(program.stage)])
            )
        return self._programs[program]

    def _digests(self, program: Program, is_own: bool) -> str:
        """Returns the digests of a program's pieces, remembered as a whole: to know a piece's inputs takes a trace."""
        key = sha256(without_addresses(repr(program)))
        if is_own or key not in self._known:
            digests = "".join(self._piece(piece, is_own) for piece in pieces_of(program))
            if is_own:
                return digests
            self._known[key] = digests
        return self._known[key]

    def _piece(self, piece: Piece, is_own: bool) -> str:
        if is_own:
            return digest_of(*lines_of_one(piece))
        described = without_addresses(repr((piece.function.__name__, *piece[1:])))
        key = sha256(described)
        if key not in self._known:
            self._known[key] = digest_of(*lines_of_one(piece))
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
        content = {}
        if path:
            with opened(path) as file:
                content = json.load(file)
        return dict(content["known"]) if content.get("checksum") == _checksum(content["known"]) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _checksum(known: dict[str, str]) -> str:
    return sha256_of_json(known)


def _settings() -> str:
    """Returns the settings of JAX that decide draws and rounding, some of which no program shows."""
    return json.dumps([*(str(getattr(jax.config, name, None)) for name in _SETTINGS), *environment.rounding()])


def _all_settings() -> str:
    """Returns all settings of JAX, any of which may alter what is traced, but for those that this program makes."""
    return repr(sorted((name, value) for name, value in jax.config.values.items() if name not in _OF_THIS_PROGRAM))


@functools.cache
def _sources() -> str:
    """Returns a hash of all that tracing depends on: sources, versions, and settings of JAX."""
    root = Path(__file__).parents[1]
    files = {str(file.relative_to(root)): sha256(file.read_bytes()) for file in root.rglob("*.py")}
    return sha256_of_json([sys.version_info[:3], versions(), _all_settings(), files])[:32]


def traced_program(spec: Spec, parent: Stage | None, dataset: Dataset) -> Program:
    """Returns the program by which a stage is named, which does not depend on test examples that it does not read."""
    examples = arrays.examples_of(spec.stage, dataset)
    if "test" not in spec.stage.reads:
        examples = examples._replace(test=examples.validation)
    inherited = arrays.inherited(spec.stage, parent.shapes if parent else None)
    return program_of(spec.stage, spec.config, inherited, examples)


def pieces_of(program: Program) -> Iterator[Piece]:
    """Yields the pieces that run."""
    yield program.init
    if program.stage.n_updates:
        yield program.loop
    yield program.finish


def on_host(stage: Stage) -> str:
    """Returns a digest of what a stage's method fits on the host, by definition and packages; nothing of others."""
    fit, packages = stage.method.fit, stage.method.packages
    if fit is None:
        return ""
    defined = [definitions.digest_of(*of) for of in ((fit.__module__, fit.__name__), _FITTING)]
    return sha256_of_json([*defined, {name: version(name) for name in packages}])


def lines_of_one(piece: Piece) -> tuple[Any, tuple[Any, Any]]:
    """Returns a piece as a function of one trial's inputs, and these."""
    return functools.partial(piece.function, piece.static), (piece.trial, piece.shared)


@functools.cache
def mapping() -> str:
    """Returns a digest of the program that maps a function over trials on a CPU, whatever the function: of two here."""

    def mapped(n_trials: jax.Array, trials: Any) -> Any:
        return over_trials(lambda trial: (trial[0] + trial[1], trial[0]), n_trials, trials)

    two = jax.ShapeDtypeStruct((2, 3), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.float32)
    return digest_of(mapped, (jax.ShapeDtypeStruct((), jnp.int32), two))


@functools.cache
def movement() -> str:
    """Returns a digest of the definitions by which arrays move on the host."""
    names = [
        (module, name) for module, listed in _MOVEMENT.items() for name in listed or definitions.functions_of(module)
    ]
    digests = sorted(definitions.digest_of(*each) for each in names)
    return sha256("".join(digests))
