"""Columns of a table as inputs: numbers, or a column of 0 and 1 for each category; or left out, with the reason."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.counts import written
from pretrain.data.labels import are_many
from pretrain.data.scaling import Column

_MOST_CATEGORIES = 1000
_ALL_DIFFERENT = 20  # texts, above which they may be numbers, and as many numbers, beside which a mark is a missing one
_MARKS = frozenset(("?", "-", "na", "n/a", "nan", "null", "none"))  # in any case
_DOCUMENT = 4  # words of a text on average, from which on texts are documents rather than names
_AMOUNT = re.compile(r"[-+(]?\s*[$€£¥₹]?\s*[-+]?\d[\d.,' ]*\s*(%|[$€£¥₹]|[^\W\d_]{1,4}[²³]?)?\)?")
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = re.compile(
    rf"(\d{{1,4}}[-/.]\d{{1,2}}[-/.]\d{{1,4}}|\d{{1,2}}[-. ]*({_MONTHS})[a-z]*[-., ]*\d{{2,4}}"
    rf"|({_MONTHS})[a-z]*[-. ]*\d{{1,2}},?[- ]*\d{{2,4}})([T ,]+\d{{1,2}}:\d{{2}}.*)?|\d{{1,2}}:\d{{2}}(:\d{{2}}.*)?",
    re.IGNORECASE,
)


class Record(NamedTuple):
    """What a column of a table is, and what it became."""

    name: str
    kind: str  # numbers, texts, or the type that a file has
    became: str  # numbers, 0 and 1, categories, target, group or nothing
    missing: int  # rows
    categories: tuple[str, ...] = ()  # an empty one of rows without a text
    marks: tuple[str, ...] = ()  # texts and numbers that are read as missing
    left_out: str = ""  # the reason


class Encoded(NamedTuple):
    """A column as inputs."""

    values: np.ndarray  # [N, columns], NaN where a number is missing
    columns: list[Column]
    record: Record
    marked: dict[str, int]  # rows by the text or number that is read as missing
    is_document: bool = False  # whether texts are left out that have many words


class Missing(NamedTuple):
    """Texts and numbers that somebody names as missing values."""

    texts: frozenset[str]
    numbers: tuple[float, ...]

    @classmethod
    def named(cls, listed: Sequence[str]) -> "Missing":
        """Returns them by their texts; a number is one, however it is written."""
        return cls(frozenset(listed), tuple(float(text) for text in listed if is_number(text)))

    def has(self, text: str) -> bool:
        """Returns whether a text is one of them."""
        return text in self.texts or (is_number(text) and float(text) in self.numbers)


class Texts(NamedTuple):
    """A column of texts."""

    codes: np.ndarray  # [N] int, places among the distinct ones
    distinct: list[str]  # in order; a missing text is an empty one
    counts: np.ndarray  # [distinct] rows

    def without(self, dropped: Sequence[str]) -> "Texts":
        """Returns the texts with some of them empty."""
        if not dropped:
            return self
        return _texts(["" if text in dropped else text for text in self.distinct], self.codes)


def encoded(name: str, values: Any, missing: Missing, as_categories: bool) -> Encoded:
    """Returns a column as inputs.

    Args:
      name: of the column.
      values: an Arrow array.
      missing: what is read as missing, beside empty cells and marks among many numbers.
      as_categories: whether numbers are codes.

    Raises:
      ValueError: it cannot be read.
    """
    import pyarrow as pa

    kind = values.type
    if pa.types.is_null(kind) or values.null_count == len(values):
        raise ValueError(f"has no value at all in column {name!r}; fill it")
    if are_numbers(kind) and not as_categories:
        numbers = numbers_of(values)
        n_marked = int(np.isnan(numbers).sum()) - values.null_count  # as Arrow reads texts such as nan
        return _numeric(name, numbers, {"NaN": n_marked} if n_marked else {}, missing)
    if not is_text(kind) and not are_numbers(kind):
        as_days = ", as days since the first," if pa.types.is_temporal(kind) else ""
        by_time = f", order rows by it with --data.time {name}" if as_days else ""
        raise ValueError(f"has {kind} in column {name!r}; turn it to numbers{as_days} or to texts{by_time}")
    return _of_texts(name, texts_of(values), missing, as_categories, is_text(kind))


def _numeric(
    name: str, numbers: np.ndarray, marked: dict[str, int], missing: Missing, kind: str = "numbers"
) -> Encoded:
    for number in missing.numbers:
        is_named = numbers == number
        if is_named.any():
            marked = {**marked, written(number): int(is_named.sum())}
            numbers = np.where(is_named, np.nan, numbers)
    lacking = int(np.isnan(numbers).sum())
    if lacking == len(numbers):
        raise ValueError(f"has no value at all in column {name!r}; fill it")
    record = Record(name, kind, "numbers", lacking, marks=tuple(marked))
    return Encoded(numbers[:, None], [Column(name)], record, marked)


def _of_texts(name: str, texts: Texts, missing: Missing, as_categories: bool, were_texts: bool) -> Encoded:
    named = [text for text in texts.distinct if text and missing.has(text)]
    n_of = dict(zip(texts.distinct, texts.counts.tolist(), strict=True))
    kind, marked = "texts" if were_texts else "numbers", {text: n_of[text] for text in named}
    texts = texts.without(named)
    if not as_categories:
        marks = [text for text in texts.distinct if is_mark(text)]
        rest = [text for text in texts.distinct if text and not is_mark(text)]
        if not rest:
            raise ValueError(f"has no value at all in column {name!r}{f', but {marks[0]!r}' * bool(marks)}; fill it")
        are_many_rows = sum(n_of[text] for text in rest) > _ALL_DIFFERENT
        if are_written_numbers(name, rest, may_be_few=bool(named) or (bool(marks) and are_many_rows)):
            numbers = np.array([float(text) if text in rest else np.nan for text in texts.distinct])[texts.codes]
            return _numeric(name, numbers, marked | {text: n_of[text] for text in marks}, missing, "texts of numbers")
        _check_no_amounts(name, rest)
    n_missing = n_of.get("", 0) + sum(marked.values())
    n_rows, n = len(texts.codes) - n_missing, len(texts.distinct) - ("" in texts.distinct)
    if not n:
        raise ValueError(f"has no value at all in column {name!r}; fill it")
    if are_many(n, n_rows) and not as_categories:
        reason = f"{n:,} different texts in {n_rows:,} rows"
        words = np.mean([len(text.split()) for text in texts.distinct if text])
        record = Record(name, kind, "nothing", n_missing, (), tuple(marked), reason)
        return Encoded(np.zeros((len(texts.codes), 0), np.uint8), [], record, marked, bool(words >= _DOCUMENT))
    if n > _MOST_CATEGORIES:
        raise ValueError(f"has {n:,} different texts in column {name!r}; group them")
    categories = texts.distinct
    became = "0 and 1" if len(categories) == 2 else "categories"
    record = Record(name, kind, became, n_missing, tuple(categories), tuple(marked))
    if len(categories) == 2:  # one column says it all
        return Encoded((texts.codes == 1).astype(np.uint8)[:, None], [Column(name, categories[1])], record, marked)
    columns = [Column(name, category) for category in categories]
    return Encoded(np.eye(len(categories), dtype=np.uint8)[texts.codes], columns, record, marked)


def are_written_numbers(name: str, written: Sequence[str], may_be_few: bool = False) -> bool:
    """Returns whether different texts are all numbers, and many, or few of them may be.

    Raises:
      ValueError: most of many are, and others are not, or have commas.
    """
    odd = [text for text in written if not is_number(text)]
    if written and not odd and (may_be_few or len(written) > _ALL_DIFFERENT):
        return True
    plain = sum(is_number(text.replace(",", "")) for text in written)
    if len(written) <= _ALL_DIFFERENT or 2 * plain <= len(written):
        return False
    texts = [text for text in odd if not is_number(text.replace(",", ""))]
    if texts:
        such = f"such as {texts[0]!r}, in column {name!r}"
        raise ValueError(f"has numbers and texts, {such}; leave missing numbers empty, or name them by --data.missing")
    raise ValueError(f"has numbers with commas, such as {odd[0]!r}, in column {name!r}; write decimal points alone")


def _check_no_amounts(name: str, written: Sequence[str]) -> None:
    """Raises ValueError if most of many texts are amounts or dates, which no category is."""
    if len(written) <= _ALL_DIFFERENT:
        return
    for pattern, such, remedy in (
        (_DATE, "dates", f"turn them to numbers, as days since the first, order rows by them with --data.time {name}"),
        (_AMOUNT, "numbers with units or signs", "write the numbers alone, as in 1299.5"),
    ):
        fitting = [text for text in written if pattern.fullmatch(text)]
        if 2 * len(fitting) > len(written):
            said = f"has {such}, such as {fitting[0]!r}, in column {name!r}"
            raise ValueError(f"{said}; {remedy}, take them as codes by --data.categories {name}")


def is_mark(text: str) -> bool:
    """Returns whether a text among numbers stands for a missing one."""
    return text.lower() in _MARKS or text in arrows_marks()


def arrows_marks() -> frozenset[str]:
    """Returns the texts that readers of text files commonly take for missing numbers, such as ``NA`` and ``#N/A``."""
    from pyarrow import csv

    return frozenset(csv.ConvertOptions().null_values) - {""}


def texts_of(values: Any) -> Texts:
    """Returns a column's texts without blanks around them; of numbers, as they are written."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not are_numbers(values.type):
        values = pc.fill_null(values.cast(pa.string()), "")
    values = values.combine_chunks()
    array = values if isinstance(values, pa.Array) else pa.concat_arrays(values.chunks)
    encoded = array.dictionary_encode("encode")
    if odd := next((text for text in encoded.dictionary.to_pylist() if isinstance(text, str) and "\0" in text), ""):
        raise ValueError(f"has a text with a NUL character, {odd[:20]!r}; write it anew")
    return _texts(list(map(_text, encoded.dictionary.to_pylist())), encoded.indices.to_numpy(zero_copy_only=False))


def _texts(listed: Sequence[str], codes: np.ndarray) -> Texts:
    """Returns a column of texts by their places in a list, in which some may occur again."""
    distinct = sorted(set(listed))
    place_of = {text: place for place, text in enumerate(distinct)}
    codes = np.array([place_of[text] for text in listed], int)[codes]
    return Texts(codes, distinct, np.bincount(codes, minlength=len(distinct)))


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value == round(value) else str(value).strip()


def numbers_of(values: Any) -> np.ndarray:
    """Returns a column of numbers, NaN where one is missing: [N] float64."""
    import pyarrow as pa

    return values.cast(pa.float64()).to_numpy().astype(np.float64, copy=False)


def are_numbers(kind: Any) -> bool:
    """Returns whether an Arrow type is of numbers, or of true and false."""
    import pyarrow as pa

    kinds = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(is_kind(kind) for is_kind in kinds)


def kind_of(kind: Any) -> str:
    """Returns an Arrow type in words."""
    return "texts" if is_text(kind) else "numbers" if are_numbers(kind) else str(kind)


def is_text(kind: Any) -> bool:
    """Returns whether an Arrow type is of texts."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"


def is_number(text: str) -> bool:
    """Returns whether a text is a number."""
    try:
        return float(text) == float(text) and "_" not in text
    except ValueError:
        return False
