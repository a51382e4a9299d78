"""Read-out by the nearest neighbours of codes, their number chosen on validation images."""

import jax
import jax.numpy as jnp

from pretrain.config.methods import NeighboursConfig
from pretrain.learn import probes
from pretrain.learn.layers import Params
from pretrain.learn.method import Method
from pretrain.learn.metrics import Batch, Metrics, taken
from pretrain.learn.stack import Stack
from pretrain.learn.train import Values


def on_top(head: Params, rows: jax.Array) -> Params:
    """Returns which examples are known, and how many neighbours vote.

    The known codes are the model; their rows say which they are, in a thousandth of the space.
    """
    return {"neighbours": {"rows": rows, "count": jnp.int32(0)}}


def fit(
    stack: Stack, config: NeighboursConfig, params: Params, examples: Batch, held_out: Batch
) -> tuple[Params, Values]:
    """Returns the number of neighbours that does best on validation images; of equals, the smallest."""
    known, asked = (probes.as_read(params, split) for split in (examples, held_out))
    most = _most(len(known.inputs))
    counts = jnp.array([count for count in probes.NEIGHBOURS if count <= most])
    found = probes.nearest(asked.inputs, known.inputs, known.labels, most)

    def score(count: jax.Array) -> jax.Array:
        (mean,) = stack.task.score(probes.voted(found, stack.task, count), asked).values()
        return mean.total if stack.task.has_accuracy else -mean.total

    best = counts[jnp.argmax(jax.lax.map(score, counts))]
    chosen = {**params, "neighbours": {**params["neighbours"], "count": best}}
    return chosen, {"chosen_neighbours": best.astype(jnp.float32)}


def predict(stack: Stack, params: Params, train: Batch, split: Batch) -> jax.Array:
    """Returns the votes of the known training images on a split: [N, outputs], as ``probes.voted``."""
    known = taken(train, params["neighbours"]["rows"])
    asked, known = (
        probes.as_read(params, batch._replace(inputs=probes.codes_in_blocks(stack, params, batch.inputs)))
        for batch in (split, known)
    )
    found = probes.nearest(asked.inputs, known.inputs, known.labels, _most(len(known.inputs)))
    return probes.voted(found, stack.task, params["neighbours"]["count"])


def measure(stack: Stack, config: NeighboursConfig, params: Params, batch: Batch) -> Metrics:
    """Returns nothing: a batch alone does not hold the neighbours."""
    return {}


def _most(n_known: int) -> int:
    """Returns the largest number of neighbours to choose from."""
    return max(count for count in probes.NEIGHBOURS if count <= n_known)


METHOD = Method(measure=measure, fit=fit, on_top=on_top, predict=predict, has_logits=False)
