"""The figures of a run's samples, with their captions."""

import pyarrow as pa

from pretrain.report import names, pictures, series_pictures
from pretrain.report.drawing import Drawing
from pretrain.runs.sample_file import Samples
from pretrain.study.summary import swept_fields

_READS = {
    "images": ("pixels", "images"),
    "series": ("steps", "lines over steps"),
    "volumes": ("pixels", "middle slices of volumes"),
}
_COMES_BACK = {
    "images": ("first validation image", "below it", "blurred or lost", "pixels"),
    "series": ("first validation series", "dashed,", "flattened or lost", "steps and channels"),
    "volumes": ("middle slice of the first validation volume", "below it", "blurred or lost", "the slice"),
}


def filters(samples: Samples, trials: pa.Table) -> Drawing:
    """Draws first-layer weights."""
    unit, *sides = pictures.unit(samples), *samples.filters.shape[1:-1]
    shown = f"the first {len(samples.filters)} of {samples.n_units} {unit}s"
    reads, each = _READS[samples.form]
    size = sides[0] if samples.form == "series" else f"{sides[-2]} x {sides[-1]}"
    window = "" if unit == "unit" else f" of the {size} {reads} that each reads at a time"
    caption = f"First-layer weights of {shown} after pretraining, unselected, as {each}{window}: "
    if samples.form == "series":
        signs, learned = "A line is a channel, and the middle of each tile zero", "Waves and edges"
    else:
        signs = f"Blue pixels excite a {unit}, orange ones inhibit it, white ones leave it alone"
        learned = "Strokes and spots" if samples.form == "images" else "Edges and spots"
    caption += f"{_whose(samples, trials)}. {signs}. {learned} are learned; even noise is what the initialisation left."
    alt = f"First-layer weights of {shown}, a small {'plot' if samples.form == 'series' else 'image'} each"
    return Drawing("filters", pictures.filters(samples), caption, alt)


def reconstructions(samples: Samples, trials: pa.Table) -> Drawing:
    """Draws examples and their reconstructions."""
    errors = ", ".join(f"{label}: {error:.3g}" for label, error in zip(samples.labels, samples.errors, strict=True))
    layers = "layer" if samples.n_layers == 1 else "layers"
    one, beside, lost, over = _COMES_BACK[samples.form]
    caption = (
        f"The {one} of each class, and {beside} what comes back from its code, up through "
        f"{samples.n_layers} {layers} and down again ({_whose(samples, trials)}). What is {lost}, the code "
        f"does not hold. Squared error, mean over {over}: {errors}."
    )
    if samples.form == "series":
        most = series_pictures.MOST_CHANNELS
        caption += f" A line is a channel, of {most} at most; values are as the encoder reads them."
    alt = f"{samples.form.capitalize()} over their reconstructions, with errors {errors}"
    return Drawing("reconstructions", pictures.reconstructions(samples), caption, alt)


def _whose(samples: Samples, trials: pa.Table) -> str:
    """Returns whose samples these are, in words."""
    rows = trials.select(["trial_id", *swept_fields(trials)]).to_pylist()
    point = next((row for row in rows if row.pop("trial_id") == samples.trial_id), {})
    arm = {name: value for name, value in point.items() if not name.startswith("finetune.")}
    return f"seed {samples.seed}" + (f", {names.arm_name(arm)}" if arm else "")
