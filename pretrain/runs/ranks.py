"""Effective ranks of encoders after each stage of pretraining, and untrained, measured when a run concludes."""

from collections.abc import Mapping

import numpy as np

from pretrain.config import DataConfig
from pretrain.data import Dataset
from pretrain.execute.execute import encoded
from pretrain.learn import codes as of_codes
from pretrain.learn.stack import Stack
from pretrain.learn.watching import MOST_ROWS
from pretrain.plan.plan import Job, Plan
from pretrain.store.store import Store

Ranks = tuple[float, float]  # of the pretrained encoder, and of the untrained one


def of_plan(
    plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset], known: Mapping[str, Ranks]
) -> dict[str, Ranks]:
    """Returns the effective rank of an encoder's codes after each stage of pretraining, and untrained, by its id.

    Codes are those of at most 1,000 validation rows; the untrained encoder is drawn of the same seed.

    Args:
      plan: its stages are stored.
      store: of their parameters.
      datasets: that they read.
      known: ranks that were measured before, by id.

    Raises:
      StoreError: parameters cannot be restored.
    """
    jobs = [job for job in plan.jobs.values() if job.stage.stack.head is None]
    groups: dict[tuple[Stack, DataConfig], list[Job]] = {}
    for job in (job for job in jobs if job.id not in known):
        own = job.stage.stack
        stack = Stack(own.layers, own.example, precision=own.precision)
        groups.setdefault((stack, job.data), []).append(job)
    found = {job.id: known[job.id] for job in jobs if job.id in known}
    for (stack, data), members in groups.items():
        inputs, untrained = datasets[data].validation.inputs[:MOST_ROWS], {}
        params = (store.params(job.id).get("encoder", {}) for job in members)
        codes = encoded(stack, inputs, [job.seed for job in members], params)
        for job, (trained, drawn) in zip(members, codes, strict=True):
            if job.seed not in untrained:
                untrained[job.seed] = effective_rank(drawn)
            found[job.id] = effective_rank(trained), untrained[job.seed]
    return found


def effective_rank(codes: np.ndarray) -> float:
    """Returns the effective rank of codes [N, units] as ``learn.codes`` defines it; NaN where one is not finite.

    Singular values are by the smaller Gram matrix in float64, in NumPy: batched decompositions in XLA's programs can
    hang on CPUs.
    """
    if not np.isfinite(codes).all():
        return np.nan
    centred = codes - codes.mean(axis=0, dtype=float)
    gram = centred @ centred.T if codes.shape[0] < codes.shape[1] else centred.T @ centred
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0)).astype(np.float32)
    return float(of_codes.effective_rank(of_codes.above_rounding(values, codes.shape)))
