"""The figures of a run's samples, with their captions."""

import pyarrow as pa

from pretrain.report import names, pictures
from pretrain.report.drawing import Drawing
from pretrain.runs.sample_file import Samples
from pretrain.study.summary import swept_fields


def filters(samples: Samples, trials: pa.Table) -> Drawing:
    """Draws first-layer weights."""
    unit, (height, width) = pictures.unit(samples), samples.filters.shape[1:3]
    shown = f"the first {len(samples.filters)} of {samples.n_units} {unit}s"
    window = "" if unit == "unit" else f" of the {height} x {width} pixels that each reads at a time"
    caption = (
        f"First-layer weights of {shown} after pretraining, unselected, as images{window}: {_whose(samples, trials)}. "
        f"Blue pixels excite a {unit}, orange ones inhibit it, white ones leave it alone. Strokes and spots are "
        "learned; even noise is what the initialisation left."
    )
    alt = f"First-layer weights of {shown}, a small image each"
    return Drawing("filters", pictures.filters(samples), caption, alt)


def reconstructions(samples: Samples, trials: pa.Table) -> Drawing:
    """Draws images over their reconstructions."""
    errors = ", ".join(f"{label}: {error:.3g}" for label, error in zip(samples.labels, samples.errors, strict=True))
    layers = "layer" if samples.n_layers == 1 else "layers"
    caption = (
        "The first validation image of each class, and below it what comes back from its code, up through "
        f"{samples.n_layers} {layers} and down again ({_whose(samples, trials)}). What is blurred or lost, the code "
        f"does not hold. Squared error, mean over pixels: {errors}."
    )
    alt = f"Images over their reconstructions, with errors {errors}"
    return Drawing("reconstructions", pictures.reconstructions(samples), caption, alt)


def _whose(samples: Samples, trials: pa.Table) -> str:
    """Returns whose samples these are, in words."""
    rows = trials.select(["trial_id", *swept_fields(trials)]).to_pylist()
    point = next((row for row in rows if row.pop("trial_id") == samples.trial_id), {})
    arm = {name: value for name, value in point.items() if not name.startswith("finetune.")}
    return f"seed {samples.seed}" + (f", {names.arm_name(arm)}" if arm else "")
