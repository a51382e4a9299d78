"""Read-outs of the user's own, which end trials in place of training; others are in ``FinetuneConfig``."""

from typing import Annotated, Literal

from pydantic import WrapSerializer, WrapValidator
from pydantic.dataclasses import dataclass

from pretrain.config.fields import STRICT
from pretrain.config.method import Method
from pretrain.config.own_methods import OWN_ENDINGS, validated_by, written


@dataclass(frozen=True, config=STRICT)
class NoEndingConfig(Method):
    """No ending of the user's own."""

    kind: Literal["none"] = "none"
    """Read-out under readout own: FILE.py:NAME, whose fields join these."""


EndingConfig = Annotated[NoEndingConfig, WrapValidator(validated_by(OWN_ENDINGS)), WrapSerializer(written), OWN_ENDINGS]
