"""Results of two arms, and what is judged of them."""

import numpy as np
import pandas as pd
import pytest

import pretrain
from pretrain.config.fields import ConfigError

PUBLISHED = {"seed": [1, 2, 3, 4], "ours": [0.8359, 0.8405, 0.816, 0.8361], "plain": [0.8311, 0.8454, 0.8435, 0.8376]}
ARMS = {"treatment": "method=ours", "baseline": "method=plain", "value": "accuracy"}


def results(n=8, gain=0.02, datasets=("",), spread=0.005, seed=0):
    """Rows of two arms, a seed each."""
    rng, rows = np.random.default_rng(seed), []
    for dataset in datasets:
        for number in range(n):
            level = rng.normal(0.8, 0.02)
            for method, more in (("plain", 0.0), ("ours", gain)):
                value = level + more + rng.normal(0, spread)
                row = {"method": method, "dataset": dataset, "seed": number, "accuracy": value, "host": f"n{number}"}
                rows.append(row)
    return pd.DataFrame(rows)


def judged(frame, **asked):
    return pretrain.judge(frame, **{**ARMS, "pair": "seed", **asked})


def only(answered):
    (comparison,) = answered.answer.comparisons
    return comparison


def refused(frame, **asked):
    with pytest.raises(ConfigError) as caught:
        judged(frame, **asked)
    return str(caught.value).splitlines()
