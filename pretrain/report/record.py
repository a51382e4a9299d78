"""``answer.json``: a run's conclusions, for programs."""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from pretrain.config import Experiment, to_json
from pretrain.config.metrics import RANKS
from pretrain.report import cells, names, words
from pretrain.report.looks import record as looks_record
from pretrain.report.why import factor_names
from pretrain.runs.looks_file import Looks
from pretrain.study.answer import Answer, look_of
from pretrain.study.choice import TunedArm
from pretrain.study.code import code
from pretrain.study.comparisons import Comparison, points_of
from pretrain.study.factorial import Cause, Factorial
from pretrain.study.over_datasets import groups
from pretrain.study.sequential import looks
from pretrain.study.watched import Watched
from pretrain.study.ways import ways

SCHEMA = 4
_STORED = {
    "match": "only those that this code would train alike",
    "ignore": "all of the same settings and data, whatever code trained them",
}
_PACKAGES = ("pretrain", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")


def record(
    answer: Answer, experiment: Experiment, experiment_id: str, devices: str, looked: Looks | None = None
) -> dict[str, Any]:
    """Returns an answer as JSON holds it; accuracies are fractions, intervals ``{mean, low, high}``, null if infinite.

    ``pretrain/study/README.md`` documents each key; ``schema`` is the version of this format.
    """
    return _plain(
        {
            "schema": SCHEMA,
            "question": words.question(answer),
            "verdict": words.conclusion(answer, experiment),
            "cells": cells.cells(answer, experiment),
            "warnings": words.warnings(answer, experiment),
            "explanation": " ".join(words.explanation(answer)),
            "basis": words.basis(answer, experiment),
            "data": answer.findings,
            "design": _design(answer, experiment),
            "arms": [
                {
                    **{"name": names.arm_name(arm.point), "point": arm.point, "seeds": arm.seeds},
                    **{"diverged": arm.n_diverged, "collapsed": arm.n_collapsed},
                    "training": length,
                }
                for arm, length in zip(answer.arms, answer.lengths, strict=True)
            ],
            "pretraining": [_watched(stage) for stage in answer.pretraining],
            "comparisons": [_comparison(comparison) for comparison in answer.comparisons],
            "ways": [{"best": points_of(each.best)[0], "of": len(each.others) + 1} for each in ways(answer)],
            "tuning": [_tuned(arm) for arm in answer.tuned],
            "apart": [_comparison(comparison) for comparison in answer.apart],
            "untuned": [_comparison(comparison) for comparison in answer.untuned],
            "attribution": [_attribution(factorial) for factorial in answer.factorials],
            "datasets": groups(answer),
            "budgets": answer.budgets,
            "variation": answer.variation,
            "epochs": answer.epochs,
            "rankings": {
                "by_pretext_error": [
                    {**each._asdict(), "is_worse": each.is_worse(answer.level)} for each in answer.choices
                ],
                "by_probes": answer.reversals,
            },
            "looks": looks_record(looked, answer),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}, **code()},
            "machine": {"platform": platform.platform(), "devices": devices},
            "experiment": json.loads(to_json(experiment)),
            "experiment_id": experiment_id,
        }
    )


def of_judgement(compared: Sequence[Comparison], others: Mapping[str, Any]) -> dict[str, Any]:
    """Returns comparisons of numbers that somebody brought as JSON holds them, beside what else is said of them."""
    return _plain({"schema": SCHEMA, **others, "comparisons": [_comparison(each) for each in compared]})


def _design(answer: Answer, experiment: Experiment) -> dict[str, Any]:
    looked = {}
    if experiment.study.until_conclusive:
        planned = [look.seeds for look in looks(experiment)]
        looked = {"look": look_of(answer, experiment).number, "looks_at_seeds": planned}
    return {
        "seeds": answer.n_seeds,
        "repeats": experiment.repeats,
        "pairing": "within a seed: label subset, head and batch order are shared; repeats are averaged",
        "compared": answer.comparisons[0].field if answer.comparisons else None,
        "metric": answer.metric,
        "smallest_effect": experiment.study.smallest_effect,
        "level": answer.level,
        "stored_stages": _STORED[experiment.code],
        **looked,
        "judged_before_at_seeds": answer.history.before,
        "runs_that_read_test_rows": answer.history.often_read,
        "swept": sorted({name for arm in answer.arms for name in arm.point}),
    }


def _tuned(arm: TunedArm) -> dict[str, Any]:
    fields = [{**field._asdict(), "results": field.results.mean(axis=1)} for field in arm.fields]
    return {"point": arm.point, "settings": arm.n_settings, "fields": fields}


def _watched(stage: Watched) -> dict[str, Any]:
    before = {"training": stage.before_training, "held_out": stage.before_held_out}
    errors = {"first_batch": stage.first, "before": before}
    errors |= {"training_end": stage.trained, "held_out_end": stage.last}
    errors |= {"held_out_lowest": stage.best, "lowest_at_update": stage.best_update, "updates": stage.updates}
    of_arm = {"point": stage.arm.point, "stage": stage.stage, "loss": stage.metric, "trials": stage.trial_ids}
    reached = stage.reached
    level = reached and {"metric": reached.level.metric, "end": reached.values, "at": reached.at}
    of_codes = dict(zip(RANKS, (stage.rank, stage.untrained_rank), strict=True))
    return {**of_arm, **errors, **of_codes, "level": level, "outcomes": stage.states}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    kept, speed = comparison._asdict(), comparison.speed
    sides = zip(("treatment", "baseline"), kept.pop("lengths"), strict=True)
    kept["still_improving"] = [side for side, length in sides if length and length.trend == "improves"]
    kept["smallest_seen"] = least if math.isfinite(least := comparison.smallest_seen) else None
    return {**kept, "speed": speed and {**speed._asdict(), "learns": speed.learns(comparison.level)}}


def _attribution(factorial: Factorial) -> dict[str, Any]:
    ends, called = {"first": factorial.first, "last": factorial.last}, factor_names(factorial)
    return {
        "factors": [{"name": called[factor.field], **factor._asdict()} for factor in factorial.factors],
        "setting": factorial.setting,
        "seeds": factorial.seeds,
        "failed_at_most": factorial.seeds - factorial.n,
        **{end: {"name": names.arm_name(arm.point), "point": arm.point} for end, arm in ends.items()},
        "metrics": {metric: _gap(cause) for metric, cause in factorial.causes.items()},
        "remedies": factorial.remedies,
        "diagnostics": {name: {"first": first, "last": last} for name, (first, last) in factorial.diagnostics.items()},
    }


def _gap(cause: Cause) -> dict[str, Any]:
    p_values = cause.parts.p_values
    return {
        "first": cause.first,
        "last": cause.last,
        "gap": cause.parts.gap,
        "is_for_new_rows": cause.parts.is_for_new_rows,
        "shares": {
            field: {**share._asdict(), "p_value": p_values[field]} for field, share in cause.parts.shares.items()
        },
        "interactions": [
            {"of": pair, **value._asdict(), "p_value": p_values[pair]}
            for pair, value in cause.parts.interactions.items()
        ],
    }


def _plain(value: Any) -> Any:
    """Returns JSON's own kinds: named tuples by name, arrays and tuples as lists, infinity and NaN as null."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
