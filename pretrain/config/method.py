"""The base of all methods' configs: facts for a plan, and checks of the layers in training."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from pydantic.dataclasses import dataclass

from pretrain.config.fields import STRICT, ConfigError


class LayerFacts(NamedTuple):
    """Facts of a layer that a method's check is given."""

    word: str  # as in encoder.layers
    is_dense: bool
    activation: str | None  # of its codes; None where a file of the user's says it
    below: str | None  # activation of the codes that it reads; None where it reads images, or a file says it
    norm: str = "none"


class Inputs(NamedTuple):
    """Facts of inputs that a method is given."""

    form: str  # columns, series, images or volumes
    shape: tuple[int, ...]  # of an example
    padded: bool = False  # whether series are of unlike lengths
    interval: tuple[float, float] = (0.0, 1.0)  # of their values


@dataclass(frozen=True, config=STRICT)
class Method:
    """A method: the purpose for which layers, or a whole network, are trained.

    Class variables are facts for a plan.
    """

    makes_updates: ClassVar[bool] = True  # rather than finding its result in closed form
    reads_labels: ClassVar[bool] = False
    is_random: ClassVar[bool] = True  # so that it differs from seed to seed
    decodes: ClassVar[bool] = True  # so that a stack of its layers reconstructs images
    trains_deep: ClassVar[bool] = False  # all layers at once, not only one
    reads_rows: ClassVar[bool] = False  # whatever layers are below, so that their codes are not computed once
    skips_pooling: ClassVar[bool] = False  # whose words are left out of training
    section: ClassVar[str] = "pretrain.method"  # of an experiment, whose field ``kind`` names it
    record: ClassVar[Any] = None  # the ``learn.method.Method`` of a file of the user's

    @property
    def reads_layout(self) -> bool:
        """Whether it is given the shape of rows and the groups of columns."""
        return self.reads_rows

    @property
    def decodes_into_unit_interval(self) -> bool:
        """Whether the layer's inputs are decoded as values in [0, 1]."""
        return False

    def of_deep_layer(self, number: int, depth: int) -> "Method":
        """Returns the method of a layer's decoder and the like, where all layers are trained at once."""
        return self

    def at_inputs(self, inputs: Inputs) -> "Method":
        """Returns the method with its defaults for a form of inputs.

        Raises:
          ConfigError: inputs of that form cannot be trained on so.
        """
        return self

    def after_greedy(self) -> "Method":
        """Returns the method for layers that come with their decoders from greedy stages."""
        return self

    def check_layer(self, layer: LayerFacts) -> None:
        """Checks that a layer can be trained so.

        Raises:
          ConfigError: it cannot; the message names the method's field and the remedy.
        """

    def check_deep(self, layers: Sequence[LayerFacts], before: "Sequence[Method]") -> None:
        """Checks that all layers can be trained so at once, after greedy stages of other methods if there are any.

        Raises:
          ConfigError: they cannot.
        """

    def check_size(self, n_inputs: int, n_codes: int, layers: object) -> None:
        """Checks that a layer of so many inputs and codes can be trained so.

        Raises:
          ConfigError: it cannot.
        """

    def check_interval(self, low: float, high: float) -> None:
        """Checks that data with values from low to high can be decoded.

        Raises:
          ConfigError: they cannot.
        """

    def needs_unit_interval(self, low: float, high: float, field: str, value: object, other: str) -> None:
        """Refuses data with values outside of [0, 1]."""
        if low < 0 or high > 1:
            remedy = f"needs values in [0, 1], and the data have {low:.3g} to {high:.3g}; set data.scaling to unit"
            raise ConfigError(f"pretrain.method.{field}", value, f"{remedy}, or {field} to {other}")

    def needs_columns(self, inputs: Inputs, field: str, value: object) -> None:
        """Refuses inputs that are no columns."""
        if inputs.form != "columns":
            remedy = (
                f"swaps columns, which {inputs.form} have none of; set data.inputs to columns, or {field} to another"
            )
            raise ConfigError(f"pretrain.method.{field}", value, remedy)

    def needs_dense(self, layer: LayerFacts, field: str, value: object) -> None:
        """Refuses a layer that is not dense, or that is normalised."""
        if not layer.is_dense:
            remedy = f"needs dense layers; give encoder.layers a number of units, not {layer.word!r}"
            raise ConfigError(f"pretrain.method.{field}", value, remedy)
        if layer.norm != "none":
            remedy = f"needs layers that are not normalised; set encoder.norm to none, not {layer.norm!r}"
            raise ConfigError(f"pretrain.method.{field}", value, remedy)

    def needs_bounded(self, activation: str | None, field: str, value: object, other: str = "") -> None:
        """Refuses codes that may lie outside of [0, 1]."""
        if activation not in (None, "sigmoid"):
            remedy = f"needs codes between 0 and 1; set encoder.activation to sigmoid, not {activation!r}{other}"
            raise ConfigError(f"pretrain.method.{field}", value, remedy)
