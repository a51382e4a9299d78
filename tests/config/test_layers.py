"""The words of ``encoder.layers``: what each says, and which say nothing."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pretrain.config import EncoderConfig, Experiment, from_json, to_json
from pretrain.config.fields import replace
from pretrain.config.layers import Word, read_word, split_words
from tests.experiments import WORDS, refused

GOOD = {
    1: Word("dense", 1),
    300: Word("dense", 300),
    "32c5s2": Word("convolution", 32, 5, 2),
    "32c5": Word("convolution", 32, 5, 1),
    "1c1s1": Word("convolution", 1, 1, 1),
    "r64s2": Word("residual", 64, 3, 2),
    "r64": Word("residual", 64, 3, 1),
    "32c5s2p0": Word("convolution", 32, 5, 2, padding=0),
    "4c3p1": Word("convolution", 4, 3, 1, padding=1),
    "resnet18": Word("resnet18", 512),
    "64p4": Word("patches", 64, 4, 4),
    "192p16": Word("patches", 192, 16, 16),
    "t4": Word("attention", heads=4),
    "norm": Word("norm"),
    "mean": Word("mean"),
    "max2": Word("pooling", window=2, stride=2),
    "mine.py:make": Word("own", file="mine.py", function="make"),
    "a dir/x:y.py:_f2": Word("own", file="a dir/x:y.py", function="_f2"),
    "~/r8.py:r8": Word("own", file="~/r8.py", function="r8"),
}
BAD = [
    *("", "300", "-1", "32c", "c5", "32c5s", "32c5s0", "0c5", "32c0", "032c5", "32C5", "32c5s2s2", " 32c5", "32c5 "),
    *("32c5p", "32c5p01", "32c5p1s2", "r8p1", "max", "max0", "max2s2", "2max2", "resnet", "resnet50", "resnet18s2"),
    *("64p", "p4", "64p0", "64p04", "0p4", "64p4s2", "64P4", "t", "t0", "4t", "t04", "T4", "means", "norm2"),
    *("r", "r0", "r64s", "r64s0", "R64", "r64c5", "r-1", "mine.py", "mine.py:", ":make", ".py:make", "mine:make"),
    *("mine.py:2", "mine.py:make()", "mine.py:a.b", "32c5s2x64", "dense", "32c5s2\n", "٣c5"),
]


@pytest.mark.parametrize(("word", "read"), GOOD.items())
def test_a_word_says_what_a_layer_is(word, read):
    assert read_word(word) == read
    assert EncoderConfig(layers=(word,)).layers == (word,)
    experiment = replace(Experiment(), "encoder.layers", (word, 9))
    assert experiment.words == (read, Word("dense", 9))
    checked = Experiment(encoder=EncoderConfig(layers=(word, 9)))
    assert from_json(to_json(checked)).encoder.layers == (word, 9)


@pytest.mark.parametrize("word", BAD)
def test_a_word_that_says_nothing_is_refused_with_those_that_do(word):
    with pytest.raises(ValueError, match="32c5s2"):
        read_word(word)
    for layers in ((word,), (9, word)):
        parts = "a number of units, 32c5s2 or 32c5s2p2 (features, window, stride, padding), r64s2 (residual block), "
        parts += "64p4 (features of patches, side), t4 (attention of so many heads), norm, mean (of positions), "
        parts += "max2 (pooling), resnet18 or FILE.py:FUNCTION"
        refused(lambda layers=layers: replace(Experiment(), "encoder.layers", layers), "encoder.layers: ", parts)
        with pytest.raises(ValueError, match="32c5s2"):
            EncoderConfig(layers=layers)


@pytest.mark.parametrize("units", [0, -1, 2.5, True, None])
def test_units_are_whole_and_more_than_0(units):
    refused(lambda: replace(Experiment(), "encoder.layers", (units,)), "encoder.layers: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("300", ["300"]),
        ("300x150", ["300", "150"]),
        ("32c5s2x64c5s2x128", ["32c5s2", "64c5s2", "128"]),
        ("32c5s2p1xmax2xmax3x128", ["32c5s2p1", "max2", "max3", "128"]),
        ("resnet18x128xresnet18", ["resnet18", "128", "resnet18"]),
        ("64p4xt4xt4xnormxmeanx10", ["64p4", "t4", "t4", "norm", "mean", "10"]),
        ("r64s2xr128x10", ["r64s2", "r128", "10"]),
        ("32c5xr8x-5", ["32c5", "r8", "-5"]),
        # A file's name and a function's may hold the letter that joins words.
        ("mixed/xception.py:make", ["mixed/xception.py:make"]),
        ("xception.py:xmake", ["xception.py:xmake"]),
        ("16c3xmine/xception.py:makex10", ["16c3", "mine/xception.py:make", "10"]),
        ("a.py:fxb.py:g", ["a.py:f", "b.py:g"]),
        ("ax2.py:f", ["ax2.py:f"]),
        # What is no word is left to be refused as one.
        ("300x", ["300", ""]),
        ("x300", ["", "300"]),
        ("300xx150", ["300", "", "150"]),
        ("32c5s2,64", ["32c5s2,64"]),
        ("32cx10", ["32c", "10"]),
    ],
)
def test_words_are_joined_by_x(text, words):
    assert split_words(text) == words


# An x in the path of a file after the first would read as one that joins.
FILES = st.sampled_from(["own.py:make", "my encoders/own.py:next_layer", "../own.py:r8"])


@given(st.lists(WORDS.filter(lambda word: ".py" not in str(word)) | FILES, min_size=1, max_size=5))
@example(["my encoders/xception.py:make", 1, "r2", "own.py:make", "3c3"])
def test_joined_words_are_split_again(words):
    assert split_words("x".join(map(str, words))) == [str(word) for word in words]
