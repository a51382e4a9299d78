"""The report's looks at test predictions, codes and filters, as far as a run left them."""

from collections.abc import Sequence
from typing import Any

from pretrain.report import calibration, code_planes, confusion, layer_change, names, scatter, wrong_rows
from pretrain.report.drawing import Drawing
from pretrain.report.listings import Listing, facts
from pretrain.runs.looks_file import Looks
from pretrain.study.answer import Answer

Parts = list[Drawing | Listing]


def of_rows(looks: Looks | None, answer: Answer) -> Parts:
    """Returns the looks at predictions of test rows."""
    if not looks:
        return []
    parts: Parts = []
    if looks.confused:
        called = _called(looks.confused, answer)
        has_matrix = looks.confused[0].counts.size
        parts += [(confusion.drawing if has_matrix else confusion.pairs)(looks.confused, called)]
    if looks.calibrated:
        parts += [calibration.drawing(looks.calibrated, _called(looks.calibrated, answer))]
    if looks.scattered:
        parts += [scatter.drawing(looks.scattered, _called(looks.scattered, answer))]
    for wrong in looks.wrong:
        if len(wrong.rows):
            (name,) = _called([wrong], answer)
            other = _name(wrong.beside, answer) if wrong.beside else ""
            drawn = wrong_rows.drawing(wrong, name)
            parts += [wrong_rows.listing(wrong, name, other), *([drawn] if drawn else [])]
    return parts


def of_networks(looks: Looks | None, answer: Answer) -> Parts:
    """Returns the looks at codes and filters."""
    if not looks:
        return []
    planes = [code_planes.drawing(looks.planes, _of_trials(looks.planes, answer))] if looks.planes else []
    changed = [layer_change.drawing(each, *_of_trials([each], answer)) for each in looks.changed]
    return [*planes, *changed]


def missing(looks: Looks | None) -> Parts:
    """Returns what could not be taken, and why; nothing where all was."""
    if not looks or not looks.missing:
        return []
    stated = dict(each.split(": ", 1) for each in looks.missing)
    return [facts("not_shown", "What is not shown here, and why.", stated)]


def record(looks: Looks | None, answer: Answer) -> dict[str, Any]:
    """Returns what ``answer.json`` holds of looks: calibration errors, and what is missing."""
    calibrated = looks.calibrated if looks else ()
    errors = [
        {"arm": name, "errors": each.errors, "mean": float(each.errors.mean())}
        for each, name in zip(calibrated, _called(calibrated, answer), strict=True)
    ]
    return {"calibration": errors, "missing": looks.missing if looks else ()}


def _called(looks: Sequence[Any], answer: Answer) -> list[str]:
    """Returns the names of the arms of looks, by their trials."""
    return [_name(each.trial_ids, answer) for each in looks]


def _of_trials(looks: Sequence[Any], answer: Answer) -> list[str]:
    return [_name([each.trial_id], answer) for each in looks]


def _name(trial_ids: Sequence[str], answer: Answer) -> str:
    arm = next((arm for arm in answer.arms if set(trial_ids) <= set(arm.trial_ids)), None)
    return names.arm_name(arm.point) if arm else "another arm"
