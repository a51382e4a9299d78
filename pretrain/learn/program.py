"""The program of a stage: everything that decides a trial's numbers, as pieces to trace.

Each piece is a function of its static part and the arrays of one trial, with its abstract inputs. Execution maps it
over trials, identity hashes it, snapshots compare it, cost counts it; it is written here alone.
"""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pretrain.learn import start, stopping
from pretrain.learn.layers import AnyArray, Params
from pretrain.learn.method import Fit, Method, Results, no_update
from pretrain.learn.metrics import Batch, Splits, evaluate, measured_if, taken
from pretrain.learn.products import in_precision
from pretrain.learn.pytrees import Frozen, frozen
from pretrain.learn.randomness import VariationSource, mixed
from pretrain.learn.stage import Stage, StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Step, TrainState, Values, run_steps, with_draws
from pretrain.learn.watching import watched


class Inputs(NamedTuple):
    """Inputs of one trial."""

    seed: AnyArray  # uint32; [sources] of a stage that is seeded by source
    config: StageConfig  # its numbers, float32
    parent: Params | None  # of the stage before


class Source(NamedTuple):
    """The examples that a trial's updates read; None where they are the images that all trials share."""

    train: Batch | None  # the labelled subset, or codes of frozen layers, or as a head reads them where the host fits
    validation: Batch | None  # the same of validation examples, but for images


class Echo(NamedTuple):
    """What a trial was computed from, which goes with it from its start to its end, so that no lane is mistaken."""

    seed: jax.Array
    numbers: jax.Array  # of its config [numbers]
    parent: jax.Array  # digest of its parent's parameters; 0 without one


class Carry(NamedTuple):
    """Everything that updates change, and that a pack goes on from."""

    state: TrainState
    curves: Values  # [steps] by name, NaN where not measured
    echo: Echo


class Piece(NamedTuple):
    """A part of a program: a function of its static part, of a trial's inputs, and of inputs that trials share."""

    function: Callable[[Any, Any, Any], Any]
    static: Hashable
    trial: Any  # abstract
    shared: Any  # abstract


def _traced_once(piece: Callable) -> Callable:
    """Returns a piece in its stage's precision; traces are kept, so that what names a stage is compiled from them."""

    @functools.wraps(piece)
    def in_its_precision(stage: Stage | tuple[Method, Static], *arguments: Any) -> Any:
        static = stage.static if isinstance(stage, Stage) else stage[1]
        with in_precision(static.stack.precision):
            return piece(stage, *arguments)

    return jax.jit(in_its_precision, static_argnums=0, inline=True)


@_traced_once
def begin(stage: Stage, trial: Inputs, examples: Splits) -> tuple[Carry, Source]:
    """Returns the carry before the first update, with blank curves, and the examples that updates read.

    A closed form has made its result by then: its curves have one step, of the values it reports.
    """
    seed, config, parent = trial
    static, subset = stage.static, stage.rows.subset
    if subset:
        examples = examples._replace(labelled=start.labelled_rows(seed, examples, subset))
    state = stage.method.init(static, config, seed, parent, examples)
    source, curves = Source(None, None), {}
    if stage.n_updates:
        labelled = taken(examples.train, examples.labelled) if subset else None
        if static.stack.encoded:
            drawn = functools.partial(start.as_drawn, static, state.params)
            source = Source(drawn(labelled or examples.train), drawn(examples.validation))
        else:
            source = Source(labelled, None)
        if stage.patience:
            state = state._replace(stopping=stopping.at_start(state.moving))
        one = functools.partial(step, stage, trial, source, examples, state)
        names = jax.eval_shape(one, jnp.int32(0))[1]
        _check_values(names, stage.method)
        curves = {name: jnp.full(stage.n_updates, jnp.nan, jnp.float32) for name in names}
    else:
        if not state.carry:
            raise ValueError("init reports no value; give state_of a dictionary of one number or more, by name")
        curves = {name: value[None] for name, value in state.carry.items()}
        state = state._replace(carry=None)
        if stage.method.fit:
            read = (codes(static, state.params, examples) for codes in (start.labelled_codes, start.validation_codes))
            source = Source(*read)
    return Carry(state, curves, echo_of(trial, digest(parent))), source


def _check_values(values: Mapping[str, jax.ShapeDtypeStruct], method: Method) -> None:
    """Checks that values are numbers, by their shapes, and that the metric is among them by which training may end.

    Raises:
      ValueError: they do not; of a method of the user's it is a mistake in the field that names it.
    """
    for name in (method.held_out, f"validation_{method.held_out}"):
        if name not in values:
            giver = "measure" if name.startswith("validation_") else "update"
            raise ValueError(f"{giver} returns no {method.held_out!r}; return it, or give Method another held_out")
    if shaped := [f"{name} of shape {value.shape}" for name, value in values.items() if value.shape]:
        raise ValueError(f"update or measure returns {', '.join(shaped)}, where every value is one number")


def fitted(fit: Fit, static: Static, trial: tuple[Carry, Source, Inputs]) -> Carry:
    """Returns the carry of a trial once a method's ``fit`` has fitted on the host, all of it arrays of the host."""
    carry, (labelled, validation), inputs = trial
    state = carry.state
    assert labelled and validation
    params, values = fit(static, inputs.config, np.asarray(inputs.seed), labelled, validation)
    curves: dict[str, Any] = {name: np.full_like(curve, values[name]) for name, curve in carry.curves.items()}
    return carry._replace(state=state._replace(trainable={**state.trainable, **params}), curves=curves)


@_traced_once
def advance(stage: Stage, trial: tuple[Carry, Source, Inputs], shared: tuple[Splits, jax.Array, jax.Array]) -> Carry:
    """Makes updates ``first`` up to, not including, ``stop``."""
    (state, curves, echo), source, inputs = trial
    examples, first, stop = shared
    one = functools.partial(step, stage, inputs, source, examples)
    state, curves = run_steps(state, curves, first, stop, one)
    return Carry(state, curves, confirmed(echo, echo_of(inputs, echo.parent)))


def step(
    stage: Stage, inputs: Inputs, source: Source, examples: Splits, state: TrainState, index: jax.Array
) -> tuple[TrainState, Values]:
    """Makes the update of a number, and measures held-out examples where that is due.

    A trial that has stopped is left as it is, and its values are NaN.
    """
    is_due = jnp.asarray(stage.validation.mask(stage.n_updates))[index]

    def updated(state: TrainState) -> tuple[TrainState, Values]:
        before = state.stopping
        state, values = update(stage, (state, source, inputs, index), (examples, index / stage.n_updates))
        measure = functools.partial(stage.method.measure, stage.static, inputs.config, state, seed=inputs.seed)
        held_out = source.validation or examples.validation

        def measured() -> Values:
            found = evaluate(lambda batch: measure(batch=batch), held_out)
            return found | watched(stage.watch, stage.stack, state.params, held_out) if stage.watch else found

        values |= {f"validation_{name}": value for name, value in measured_if(is_due, measured).items()}
        if stage.patience:
            name = stage.method.held_out
            error = values.get(f"validation_weighted_{name}", values[f"validation_{name}"])
            noted = stopping.noted(before, state.moving, error, is_due)
            state = state._replace(stopping=noted)
        return state, values

    if not stage.patience:
        return updated(state)
    return stopping.unless(stopping.has_stopped(state.stopping, stage.patience), updated, state)


def update(
    stage: Stage, trial: tuple[TrainState, Source, Inputs, jax.Array], shared: tuple[Splits, jax.Array]
) -> tuple[TrainState, Values]:
    """Makes the update of a number, given what fraction of the updates is made before it, and measures nothing."""
    (state, source, inputs, index), (examples, fraction) = trial, shared
    batch = taken(source.train or examples.train, stage.rows.of_update(inputs.seed, index))
    state = with_draws(stage.static, state, inputs.seed, index)
    state, values = stage.method.update(stage.static, inputs.config, state, batch, inputs.seed, Step(index, fraction))
    if state.draws is not None:
        raise ValueError("update makes no train_step, which puts layers with draws or running statistics in training")
    return state, values


@_traced_once
def finish(stage: tuple[Method, Static], params: Params, examples: Splits) -> Results:
    """Returns the results of the parameters that a stage keeps, given its method and its stack alone."""
    method, static = stage
    found = method.finish(static, params, examples)
    if method.update is no_update and static.stack.head is not None:
        _check_predictions(found, static.stack.task, examples)
    return found


def _check_predictions(found: Results, task: Task, examples: Splits) -> None:
    """Checks that a read-out gives its accuracy, and predictions of both held-out splits.

    Raises:
      ValueError: it does not; of a read-out of the user's it is a mistake in the field that names it.
    """
    needed: dict[str, tuple[int, ...]] = {}
    for split in ("validation", "test"):
        n = len(getattr(examples, split).inputs)
        needed |= {f"{split}_scores": (n, task.n_outputs)} | ({f"{split}_classes": (n,)} if task.n_classes else {})
        needed |= {f"{split}_accuracy": ()} if task.has_accuracy else {}
    given = {name: jnp.shape(value) for name, value in {**found.values, **found.predictions}.items()}
    for name, shape in needed.items():
        if given.get(name) != shape:
            was = f"{name} of shape {given[name]}" if name in given else f"no {name}"
            raise ValueError(
                f"finish returns {was}, not of {shape}; learn.results.of_network, or predicted, makes them"
            )


def finishing(stage: Stage) -> tuple[Method, Static]:
    """Returns what decides a stage's results besides its parameters: its method and its stack."""
    return stage.method, Static(stage.stack.whole)


def echo_of(trial: Inputs, parent: jax.Array) -> Echo:
    """Returns the echo of a trial's inputs."""
    numbers = [jnp.asarray(number, jnp.float32) for number in jax.tree.leaves(trial.config)]
    return Echo(trial.seed, jnp.stack(numbers) if numbers else jnp.zeros(0), parent)


def confirmed(before: Echo, after: Echo) -> Echo:
    """Returns an echo, whose numbers are NaN where a trial has come to inputs that it did not start from."""
    is_same = before.seed == after.seed
    is_same = (jnp.all(is_same) if is_same.ndim else is_same) & jnp.all(before.numbers == after.numbers)
    return before._replace(numbers=jnp.where(is_same, before.numbers, jnp.nan))


def digest(params: Params | None) -> jax.Array:
    """Returns a hash of the bits of parameters of 32 bits each, the sum over sides of ``arrays.digest_of``: uint32."""
    total = jnp.uint32(0)
    for side in (params or {}).values():
        leaves = [jnp.ravel(jax.lax.bitcast_convert_type(leaf, jnp.uint32)) for leaf in jax.tree.leaves(side)]
        bits = jnp.concatenate([jnp.zeros(1, jnp.uint32), *leaves])
        places = jnp.arange(len(bits), dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
        total += jnp.sum(mixed(bits ^ places), dtype=jnp.uint32)
    return total


class Program(NamedTuple):
    """The program of a stage on examples of some shapes, after a parent of some shapes."""

    stage: Stage
    config: Frozen  # structure of its numbers
    parent: Frozen  # shapes of its parent's parameters
    examples: Frozen

    @property
    def trial(self) -> Inputs:
        """Abstract inputs of a trial."""
        seeds = (len(VariationSource),) if self.stage.is_seeded_by_source else ()
        return Inputs(jax.ShapeDtypeStruct(seeds, jnp.uint32), self.config.tree, self.parent.tree)

    @property
    def init(self) -> Piece:
        """The start, up to the first update."""
        return Piece(begin, self.stage, self.trial, self.examples.tree)

    @property
    def loop(self) -> Piece:
        """Updates, as they run."""
        carry, source = _outputs(self)
        number = jax.ShapeDtypeStruct((), jnp.int32)
        trial = carry, source, self.trial._replace(parent=None)
        return Piece(advance, self.stage.updating, trial, (self.examples.tree, number, number))

    @property
    def finish(self) -> Piece:
        """Results of the parameters that are kept, by a program that stages share which differ in training only."""
        carry, _ = _outputs(self)
        return Piece(finish, finishing(self.stage), carry.state.kept, self.examples.tree)

    @property
    def update(self) -> Piece:
        """One update, with the fraction of updates made as its shared input."""
        (carry, source, inputs), (examples, index, _) = self.loop.trial, self.loop.shared
        fraction = jax.ShapeDtypeStruct((), jnp.float32)
        return Piece(update, self.stage.updating, (carry.state, source, inputs, index), (examples, fraction))


@functools.lru_cache(maxsize=64)
def _outputs(program: Program) -> tuple[Carry, Source]:
    """Returns the abstract outputs of a program's start."""
    piece = program.init
    return jax.eval_shape(functools.partial(piece.function, piece.static), piece.trial, piece.shared)


def program_of(stage: Stage, config: StageConfig, parent: Params | None, examples: Splits) -> Program:
    """Returns the program of a stage.

    Args:
      stage: the stage.
      config: with numbers.
      parent: shapes of the parameters of the stage before; None without one.
      examples: arrays or their shapes.
    """
    numbers = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), config)
    return Program(stage, frozen(numbers), frozen(parent), frozen(examples))
