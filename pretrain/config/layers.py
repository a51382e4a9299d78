"""The words of ``encoder.layers``, read without building a layer."""

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator

from pretrain.config.kinds import Count
from pretrain.config.own_code import NAMED

_CONVOLUTION = re.compile(r"([1-9]\d*)c([1-9]\d*)(?:s([1-9]\d*))?(?:p(0|[1-9]\d*))?")
_PATCHES = re.compile(r"([1-9]\d*)p([1-9]\d*)")
_ATTENTION = re.compile(r"t([1-9]\d*)")
_POOLING = re.compile(r"max([1-9]\d*)")
_NAMES = {"resnet18": 512, "mean": 0, "norm": 0}  # features that each says
_RESIDUAL = re.compile(r"r([1-9]\d*)(?:s([1-9]\d*))?")
_WIDEST = 32  # pixels; wider ones take minutes to trace
_GRAMMAR = (
    "a number of units, 32c5s2 or 32c5s2p2 (features, window, stride, padding), r64s2 (residual block), "
    "64p4 (features of patches, side), t4 (attention of so many heads), norm, mean (of positions), max2 (pooling), "
    "resnet18 or FILE.py:FUNCTION"
)


class Word(NamedTuple):
    """One word of ``encoder.layers``."""

    kind: Literal[
        "dense", "convolution", "residual", "patches", "attention", "norm", "mean", "pooling", "resnet18", "own"
    ]
    features: int = 0
    window: int = 0  # pixels
    stride: int = 1  # pixels
    file: str = ""
    function: str = ""
    padding: int | None = None  # pixels before and after each side; None of SAME padding
    heads: int = 0

    def norm(self, asked: str) -> str:
        """Returns the normalisation within its layer, where ``encoder.norm`` asks for one."""
        if asked == "auto" or self.kind not in ("dense", "convolution", "residual"):
            return "group" if self.kind == "residual" else "none"
        return asked


def read_word(word: int | str) -> Word:
    """Returns a word of ``encoder.layers``, parsed.

    >>> word = read_word("32c5s2")
    >>> word.kind, word.features, word.window, word.stride
    ('convolution', 32, 5, 2)

    Raises:
      ValueError: it is no such word.
    """
    if isinstance(word, int):
        return Word("dense", word)
    if match := NAMED.fullmatch(word):
        return Word("own", file=match[1], function=match[2])
    if match := _CONVOLUTION.fullmatch(word):
        padding = None if match[4] is None else int(match[4])
        read = Word("convolution", int(match[1]), int(match[2]), int(match[3] or 1), padding=padding)
    elif match := _POOLING.fullmatch(word):
        read = Word("pooling", window=int(match[1]), stride=int(match[1]))
    elif match := _PATCHES.fullmatch(word):
        read = Word("patches", int(match[1]), int(match[2]), int(match[2]))
    elif match := _ATTENTION.fullmatch(word):
        read = Word("attention", heads=int(match[1]))
    elif word in _NAMES:
        read = Word(word, _NAMES[word])  # type: ignore[arg-type]  # names are kinds
    elif match := _RESIDUAL.fullmatch(word):
        read = Word("residual", int(match[1]), 3, int(match[2] or 1))
    else:
        raise ValueError(f"should be {_GRAMMAR}")
    if max(read.window, read.stride, read.padding or 0) > _WIDEST:
        raise ValueError(f"should have a window, a stride and a padding of at most {_WIDEST} pixels")
    return read


def split_words(text: str) -> list[str]:
    """Splits words that are joined by ``x``; a file's name may hold one, too.

    >>> split_words("32c5s2x64c5s2x128")
    ['32c5s2', '64c5s2', '128']
    """
    plain = r"(?:\d+c\d+(?:s\d+)?(?:p\d+)?|\d+p\d+|t\d+|norm|mean|max\d+|resnet18|r\d+(?:s\d+)?|[+-]?\d+)"
    function = rf".+?\.py:\w+?(?=x{plain}(?:x|$)|x[^x]*\.py:|$)"
    words, rest = [], text
    while rest:
        match = re.match(rf"({plain}(?=x|$)|{function})(?:x|$)", rest)
        if not match or match[0] == rest != match[1]:  # nothing follows the last x
            return text.split("x")
        words.append(match[1])
        rest = rest[match.end() :]
    return words


def _checked(word: str) -> str:
    read_word(word)
    return word


LayerWord = Count | Annotated[str, AfterValidator(_checked)]
