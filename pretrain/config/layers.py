"""The words of ``encoder.layers``: what each says of a layer, without building it."""

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator

from pretrain.config.kinds import Count

_CONVOLUTION = re.compile(r"([1-9]\d*)c([1-9]\d*)(?:s([1-9]\d*))?")
_RESIDUAL = re.compile(r"r([1-9]\d*)(?:s([1-9]\d*))?")
_OWN = re.compile(r"(.+\.py):([A-Za-z_]\w*)", re.DOTALL)
_WIDEST = 32  # pixels; wider ones take minutes to trace
_GRAMMAR = "a number of units, 32c5s2 (features, window, stride), r64s2 (residual block) or FILE.py:FUNCTION"


class Word(NamedTuple):
    """One word of ``encoder.layers``."""

    kind: Literal["dense", "convolution", "residual", "own"]
    features: int = 0
    window: int = 0  # pixels
    stride: int = 1  # pixels
    file: str = ""
    function: str = ""


def read_word(word: int | str) -> Word:
    """Returns a word of ``encoder.layers``, parsed.

    Raises:
      ValueError: it says nothing.
    """
    if isinstance(word, int):
        return Word("dense", word)
    if found := _CONVOLUTION.fullmatch(word):
        features, window, stride = (int(part or 1) for part in found.groups())
        return _bounded(Word("convolution", features, window, stride))
    if found := _RESIDUAL.fullmatch(word):
        features, stride = (int(part or 1) for part in found.groups())
        return _bounded(Word("residual", features, 3, stride))
    if found := _OWN.fullmatch(word):
        return Word("own", file=found[1], function=found[2])
    raise ValueError(f"should be {_GRAMMAR}")


def _bounded(word: Word) -> Word:
    """Returns a word whose window and stride are those of an image."""
    if max(word.window, word.stride) > _WIDEST:
        raise ValueError(f"should have a window and a stride of at most {_WIDEST} pixels")
    return word


def split_words(text: str) -> list[str]:
    """Splits words that are joined by ``x``, as in ``32c5s2x64c5s2x128``; a file's name may hold one, too."""
    plain = r"(?:\d+c\d+(?:s\d+)?|r\d+(?:s\d+)?|[+-]?\d+)"
    own = rf".+?\.py:\w+?(?=x{plain}(?:x|$)|x[^x]*\.py:|$)"
    words, rest = [], text
    while rest:
        found = re.match(rf"({plain}(?=x|$)|{own})(?:x|$)", rest)
        if not found or found[0] == rest != found[1]:  # nothing follows the last x
            return text.split("x")
        words.append(found[1])
        rest = rest[found.end() :]
    return words


def _checked(word: str) -> str:
    read_word(word)
    return word


LayerWord = Count | Annotated[str, AfterValidator(_checked)]
