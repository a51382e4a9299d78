"""A lane that was computed from inputs of another job is refused, wherever it was mistaken on the way."""

import jax
import numpy as np
import pytest

from pretrain.execute import execute
from pretrain.execute.execute import LaneError
from pretrain.plan import arrays
from pretrain.plan.plan import Pack
from tests.small_sweep import path, unwatched


@pytest.fixture(scope="module")
def lanes(corners, dataset):
    """A pack of two seeds of the second layer, their parents and the digests of these."""
    below, jobs = (tuple(path(corners, trial)[n] for trial in (0, 4)) for n in (0, 1))
    assert [job.seed for job in jobs] == [0, 1] and jobs[0].stage.name == "pretrain/1"
    ran = execute.run(Pack(below[0].stage, below), dataset, [None] * 2, unwatched)
    digests = [{side: int(values[lane]) for side, values in ran.digests.items()} for lane in range(2)]
    return Pack(jobs[0].stage, jobs), [arrays.lane_of(ran.params, lane) for lane in range(2)], digests


MISTAKES = {
    "seeds": lambda trial: trial._replace(seed=trial.seed + np.uint32(1)),
    "numbers": lambda trial: trial._replace(
        config=jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), trial.config)
    ),
    "parents": lambda trial: trial._replace(parent=jax.tree.map(lambda leaf: leaf / 2, trial.parent)),
    "lanes": lambda trial: jax.tree.map(lambda leaf: leaf[::-1], trial),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_inputs_that_are_not_those_of_the_job_are_refused(mistake, lanes, dataset, monkeypatch):
    pack, parents, digests = lanes
    stacked = arrays.stacked
    monkeypatch.setattr(arrays, "stacked", lambda *given: MISTAKES[mistake](stacked(*given)))
    with pytest.raises(LaneError, match=r"pretrain/1: lane 0 was computed from inputs of another job"):
        execute.run(pack, dataset, parents, unwatched, digests=digests)


def test_parents_in_another_order_are_refused_and_the_right_ones_are_not(lanes, dataset):
    pack, parents, digests = lanes
    assert execute.run(pack, dataset, parents, unwatched, digests=digests).is_finite.all()
    with pytest.raises(LaneError, match="lane 0"):
        execute.run(pack, dataset, parents[::-1], unwatched, digests=digests)


@pytest.mark.parametrize("step", [5, 20])
def test_progress_of_another_lane_is_refused(step, lanes, dataset, monkeypatch):
    pack, parents, digests = lanes
    kept = {}
    monkeypatch.setattr(
        execute, "_chunks", lambda first, total: [(first, 5), (5, total)] if first < 5 else [(first, total)]
    )
    execute.run(pack, dataset, parents, lambda step, progress: kept.update({step: progress()}), digests=digests)
    turned = kept[step]._replace(arrays=jax.tree.map(lambda leaf: leaf[::-1], kept[step].arrays))
    assert execute.run(pack, dataset, parents, unwatched, kept[step], digests=digests).is_finite.all()
    with pytest.raises(LaneError, match="lane 0"):
        execute.run(pack, dataset, parents, unwatched, turned, digests=digests)
