"""Short names of datasets, checkpoints and methods: the part of a path or name that differs."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from pretrain.config import Experiment
from pretrain.config.fitting import values_of
from pretrain.report import names
from pretrain.study.over_datasets import FIELDS
from pretrain.study.ways import KIND


def short_names(texts: Sequence[str]) -> dict[str, str]:
    """Returns the part of each path or name that differs from the others', or the last part of an only one."""
    texts = list(dict.fromkeys(texts))
    if len(texts) < 2:
        return {text: PurePath(text).name or text for text in texts}
    parts = {text: re.split(r"[/\\:]", text) for text in texts}
    while all(len(own) > 1 for own in parts.values()) and len({own[-1] for own in parts.values()}) == 1:
        for own in parts.values():
            del own[-1]
    sizes = range(1, max(map(len, parts.values())) + 1)
    tails = ({text: "/".join(own[-size:]) for text, own in parts.items()} for size in sizes)
    short = next(
        (each for each in tails if len(set(each.values())) == len(texts)), dict(zip(texts, texts, strict=True))
    )
    endings = {PurePath(name).suffix for name in short.values()}
    return {text: name.removesuffix(*endings) if len(endings) == 1 else name for text, name in short.items()}


@contextlib.contextmanager
def named_shortly(experiment: Experiment) -> Iterator[None]:
    """Shows datasets, methods and checkpoints of a sweep by the part of their names that differs, within a block."""
    swept = [list(map(str, values_of(experiment, field))) for field in (*FIELDS, KIND, names.WEIGHTS)]
    shown = {text: name for texts in swept if len(texts) > 1 for text, name in short_names(texts).items()}
    if len(swept[-1]) == 1:
        shown[names.WEIGHTS] = PurePath(*swept[-1]).name
    method = experiment.pretrain.method
    if getattr(method, "corruption", "none") != "none" and not values_of(experiment, "pretrain.method.corruption")[1:]:
        shown["autoencoder"] = "denoising autoencoder"
    if values_of(experiment, names.GOES_ON) == ["weights"]:
        shown[names.GOES_ON] = f"going on from {shown.get(names.WEIGHTS) or 'a checkpoint'}"
    with names.in_place(shown):
        yield
