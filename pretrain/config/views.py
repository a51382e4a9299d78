"""Views of inputs: random changes, under which codes are to stay alike, and the levels of these changes."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal, get_args

from annotated_types import Ge, Le, Lt
from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from pretrain.config.effects import LATE, When
from pretrain.config.fields import STRICT, TRACED, ConfigError
from pretrain.config.kinds import Count, Penalty
from pretrain.config.method import Inputs, Method
from pretrain.config.own_code import NAMED

View = Literal[
    "crop",
    "flip",
    "rotation",
    "erasing",
    "brightness",
    "contrast",
    "greyscale",
    "hue",
    "blur",
    "solarise",
    "noise",
    "shift",
    "slope",
    "offset",
    "scale",
    "swap",
]
VIEWS: tuple[View, ...] = get_args(View)
_OF_IMAGES = VIEWS[: VIEWS.index("noise") + 1]
_OF_FORM: dict[str, tuple[View, ...]] = {
    "images": _OF_IMAGES,
    "series": ("crop", "shift", "slope", "offset", "scale", "noise", "erasing"),
    "volumes": ("brightness", "contrast", "noise"),
    "columns": ("swap", "noise"),
}
_DEFAULTS: dict[str, tuple[View, ...]] = {
    "images": ("crop", "rotation"),
    "series": ("shift", "slope", "offset", "scale"),
    "volumes": ("contrast", "noise"),
    "columns": ("swap",),
}
_OF_COLOURS = ("greyscale", "hue")


def _checked(word: str) -> str:
    if word not in VIEWS and not NAMED.fullmatch(word):
        raise ValueError(f"should be {', '.join(VIEWS)} or FILE.py:FUNCTION")
    return word


ViewWord = Annotated[str, AfterValidator(_checked)]


class OfView(When):
    """Marks a level, which has an effect only where its view is made, by name or by default."""

    def holds(self, config: Any) -> bool:
        return self.values[0] in config.views if config.views else config.has_default_views


def _level(view: View) -> OfView:
    return OfView("views", (view,))


Share = Annotated[float, Ge(0), Lt(1), TRACED]
Probability = Annotated[float, Ge(0), Le(1), TRACED]
HalfTurn = Annotated[float, Ge(0), Le(0.5), TRACED]


@dataclass(frozen=True, config=STRICT)
class Views:
    """Views by name, and the levels of all that there are."""

    views: tuple[ViewWord, ...] = ()
    """Random changes of inputs, in this order."""
    crop: Annotated[Share, _level("crop")] = 0.6
    """The most that crop leaves out, of an image's area or a series' length (fraction)."""
    flip: Annotated[Probability, _level("flip")] = 0.5
    """Probability that left and right change places (fraction)."""
    rotation: Annotated[Penalty, _level("rotation")] = 15.0
    """The most that rotation turns an image either way (degrees)."""
    erasing: Annotated[Share, _level("erasing")] = 0.3
    """The most that erasing sets to zero, of an image's area or a series' length (fraction)."""
    brightness: Annotated[Penalty, _level("brightness")] = 0.3
    """The most that brightness adds to all values of an input, or takes from them (units of inputs)."""
    contrast: Annotated[Penalty, _level("contrast")] = 0.3
    """The most by which contrast multiplies differences from an input's mean, more or less than once (fraction)."""
    greyscale: Annotated[Probability, _level("greyscale")] = 0.2
    """Probability that the three channels of an image become their luma (fraction)."""
    hue: Annotated[HalfTurn, _level("hue"), LATE] = 0.1
    """The most that hue turns the colours of three channels either way, their luma staying (fraction of the circle)."""
    blur: Annotated[Penalty, _level("blur"), LATE] = 1.0
    """The largest standard deviation of the Gaussian that blur takes the mean by (pixels)."""
    solarise: Annotated[Probability, _level("solarise"), LATE] = 0.2
    """Probability that the values of an image above a half are inverted, 1 less each (fraction)."""
    noise: Annotated[Penalty, _level("noise")] = 0.1
    """Standard deviation of the noise on each value (units of inputs)."""
    shift: Annotated[Probability, _level("shift")] = 0.25
    """The most that shift moves a series along time, its end coming first (fraction of its length)."""
    slope: Annotated[Penalty, _level("slope")] = 0.5
    """The most that slope adds at the end of a series, and takes at its start, or the reverse (units of inputs)."""
    offset: Annotated[Penalty, _level("offset")] = 0.5
    """The most that offset adds to each channel of a series, or takes from it (units of inputs)."""
    scale: Annotated[Penalty, _level("scale")] = 0.3
    """The most by which scale multiplies a series, more or less than once (fraction)."""
    swap: Annotated[Probability, _level("swap")] = 0.6
    """Probability that a column has the value of another row of the batch; those of one category go together
    (fraction)."""

    has_default_views: ClassVar[bool] = True  # of each form of inputs, where none are named; else none are made

    def views_at(self, inputs: Inputs, section: str) -> tuple[str, ...]:
        """Returns the views that are made of inputs, those by default included.

        Raises:
          ConfigError: a view makes no sense of the inputs, or a level has no effect; the section is that of the field.
        """
        known, own = _OF_FORM[inputs.form], type(self)()
        if len(set(self.views)) < len(self.views):
            raise ConfigError(f"{section}.views", " ".join(self.views), "names a view twice; leave one out")
        for view in self.views:
            if view in VIEWS and view not in known:
                remedy = f"makes no sense of {inputs.form}; choose of {', '.join(known)}"
                raise ConfigError(f"{section}.views", view, remedy)
            if view in _OF_COLOURS and inputs.shape[-1] != 3:
                remedy = f"needs images of three channels, not {inputs.shape[-1]}; leave it out"
                raise ConfigError(f"{section}.views", view, remedy)
            low, high = inputs.interval
            if view == "solarise" and (low < 0 or high > 1):
                remedy = f"needs values in [0, 1], and the data have {low:.3g} to {high:.3g}; set data.scaling to unit"
                raise ConfigError(f"{section}.views", view, f"{remedy}, or leave it out")
        made = self.views or (_DEFAULTS[inputs.form] if self.has_default_views else ())
        for view in VIEWS:
            if view not in made and getattr(self, view) != getattr(own, view):
                remedy = f"has no effect where views are {' and '.join(made) or 'none'}; leave it out"
                remedy += ", or name it in views" if view in known else f", for {inputs.form} have no {view}"
                raise ConfigError(f"{section}.{view}", getattr(self, view), remedy)
        return made


@dataclass(frozen=True, config=STRICT)
class TwoViews(Views, Method):
    """A method whose updates compare the codes of two views of each input, drawn anew at every update."""

    views: tuple[ViewWord, ...] = ()
    """Random changes of inputs, in this order: of images crop, flip, rotation, erasing, brightness, contrast,
    greyscale, hue, blur, solarise and noise; of series crop, shift, slope, offset, scale, erasing and noise; of columns
    swap and noise; of volumes brightness, contrast and noise; or FILE.py:FUNCTION, of your own. Empty takes crop and
    rotation; shift, slope, offset and scale; swap; or contrast and noise."""
    anchor: Literal["view", "clean"] = "view"
    """First of the two views: changed as the second is, or the input as it is."""
    projector: tuple[Count, ...] = (128, 64)
    """Units of the dense layers between codes and the loss, which are left behind afterwards; none compares codes
    (units)."""

    decodes: ClassVar[bool] = False
    trains_deep: ClassVar[bool] = True
    reads_rows: ClassVar[bool] = True

    def at_inputs(self, inputs: Inputs) -> Method:
        if inputs.padded:
            remedy = "takes views, which series of unlike lengths have none of; give series of one length"
            raise ConfigError("pretrain.method.kind", getattr(self, "kind", ""), remedy)
        return dataclasses.replace(self, views=self.views_at(inputs, "pretrain.method"))

    def of_deep_layer(self, number: int, depth: int) -> Method:
        return self if number == depth - 1 else dataclasses.replace(self, projector=())  # codes of the top alone count
