"""Quotes of text files pair, in whatever blocks a file is read; files that no parser reads alike are refused."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.config.fields import ConfigError
from pretrain.data import quotes


def is_sound(text):
    """Whether Python's strict parser reads a text."""
    try:
        list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        return False
    return True


def accepted(path, text, encoding="utf8"):
    path.write_bytes(text.encode(encoding))
    try:
        quotes.check(path, encoding, ",")
    except ConfigError:
        return False
    return True


@given(text=st.text('",\na', max_size=24), size=st.integers(1, 9))
def test_quotes_are_those_that_a_strict_parser_takes(text, size, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "quotes.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quotes, "_BLOCK", size)
        assert accepted(path, text) == is_sound(text)
        assert accepted(path, text, "utf-16") == is_sound(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a,y\n1,"x\n2,"x\n', "line 2 that is not closed, or goes on behind its quote"),
        ('a,y\n1,x\n2,"x', "line 3 that is not closed"),
        ("a,y\n1,x\n2,x\0\n", "NUL character in line 3"),
    ],
)
def test_the_line_is_named(text, said, tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        quotes.check(path, "utf8", ",")


def test_a_text_without_an_end_takes_no_more_memory_than_the_longest(tmp_path, monkeypatch):
    monkeypatch.setattr(quotes, "_BLOCK", 50)
    monkeypatch.setattr(quotes, "_LONGEST", 100)
    assert not accepted(tmp_path / "own.csv", 'a,y\n1,"' + "x" * 1000 + '"\n2,"y"z\n')
