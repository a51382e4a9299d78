"""Read-out by the nearest neighbours of codes, their number chosen on validation images."""

import jax
import jax.numpy as jnp

from pretrain.learn import probes, results, start
from pretrain.learn.annotations import Outputs
from pretrain.learn.layers import Params
from pretrain.learn.method import Method, Results
from pretrain.learn.metrics import Batch, Splits, divided, taken
from pretrain.learn.stack import Stack
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.train import TrainState, Values, state_of


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Chooses the number of neighbours that does best on validation images; of equals, the smallest.

    The labelled codes are the model; their rows say which they are, in a thousandth of the space.
    """
    params, task = start.network(static, seed, parent, examples), static.stack.task
    labelled, validation = (codes(static, params, examples) for codes in (start.labelled_codes, start.validation_codes))
    most = probes.most_neighbours(len(labelled.inputs))
    counts = jnp.array([count for count in probes.NEIGHBOURS if count <= most])
    nearest = probes.nearest(validation.inputs, labelled.inputs, labelled.labels, most)

    def score(count: jax.Array) -> jax.Array:
        (mean,) = task.score(probes.voted(nearest, task, count), validation).values()
        return mean.total if task.has_accuracy else -mean.total

    best = counts[jnp.argmax(jax.lax.map(score, counts))]
    params["neighbours"] = {"rows": jnp.asarray(examples.labelled), "count": best}
    return state_of(static, config, params, {"chosen_neighbours": best.astype(jnp.float32)})


def finish(static: Static, params: Params, examples: Splits) -> Results:
    """Returns ``accuracy`` (fraction), for votes are no logits; or of numbers ``loss``."""
    task = static.stack.task
    values: Values = {}
    outputs: dict[str, jax.Array] = {}
    for name in ("validation", "test"):
        split = getattr(examples, name)
        outputs[name] = votes(static.stack, params, examples.train, split)
        score = divided(task.score(outputs[name], split))
        values |= {f"{name}_{metric}": value for metric, value in score.items()}
    return results.predicted(task, values, outputs, examples, are_logits=False)


def votes(stack: Stack, params: Params, train: Batch, split: Batch) -> Outputs:
    """Returns the votes of the labelled training images on a split: [N, outputs], as ``probes.voted``."""
    labelled = taken(train, params["neighbours"]["rows"])
    asked, voters = (
        probes.as_read(params, batch._replace(inputs=probes.codes_in_blocks(stack, params, batch.inputs)))
        for batch in (split, labelled)
    )
    nearest = probes.nearest(asked.inputs, voters.inputs, voters.labels, probes.most_neighbours(len(voters.inputs)))
    return probes.voted(nearest, stack.task, params["neighbours"]["count"])


METHOD = Method(init, finish)
