"""Tables, .csv, .tsv and .parquet, as arrays: numbers, and a column of 0 and 1 for each category of texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.fields import ConfigError, nearest
from pretrain.config.settings import DataConfig
from pretrain.data import delimited, keys
from pretrain.data.scaling import Column

_TEXT = (".csv", ".tsv")
SUFFIXES = (*_TEXT, ".parquet", ".pq")
_MOST_CATEGORIES = 1000
_ALL_DIFFERENT = 20  # rows, above which texts without repetition are names of rows


class Table(NamedTuple):
    """A table as arrays, row by row."""

    inputs: np.ndarray  # [N, D] float64, NaN where a number is missing
    columns: tuple[Column, ...]
    labels: np.ndarray  # [N] numbers, NaN where missing, or texts, empty where missing
    groups: np.ndarray | None  # [N] int, as ``keys.groups`` has them
    times: np.ndarray | None = None  # [N] int, as ``keys.times`` has them


def read(path: Path, config: DataConfig) -> Table:
    """Reads a table.

    Raises:
      ConfigError: it is not there or damaged, or a column is missing or of no use; a line for each fault.
    """
    table = _table(path)
    names, faults = table.column_names, []
    if len(names) == 1 and path.suffix.lower() in _TEXT:
        remedy = f"has a single column, {names[0][:60]!r}; separate columns by commas, semicolons or tabs"
        raise ConfigError("data.name", str(path), remedy)
    dropped = _dropped(config.drop, names)
    time = config.time if config.time != keys.ORDER or keys.ORDER in names else ""
    single = (("target", config.target), ("group", config.group), ("time", time))
    for field, named in (*((field, (name,)) for field, name in single), ("drop", dropped)):
        faults += [_unknown(field, name, names) for name in named if name and name not in names]
    if not config.target:
        remedy = f"names no column; give --data.target one of {', '.join(names[:20])}"
        faults.append(ConfigError("data.target", config.target, remedy))
    twice = sorted({name for name in names if names.count(name) > 1})
    faults += [ConfigError("data.name", str(path), f"has several columns {name!r}; rename them") for name in twice]
    encoded: list[np.ndarray] = []
    columns: list[Column] = []
    for name in names:
        if name not in (config.target, config.group, time, *dropped, *twice):
            try:
                values, columns_of_values = _encoded(name, table[name])
                encoded.append(values)
                columns += columns_of_values
            except ValueError as error:
                faults.append(ConfigError("data.name", str(path), f"{error}, or leave it out by --data.drop {name}"))
    try:
        labels = _labels(config.target, table[config.target]) if names.count(config.target) == 1 else np.zeros(0)
    except ValueError as error:
        faults.append(ConfigError("data.target", config.target, str(error)))
    times = None
    try:
        times = keys.times(keys.of_column(table[time])) if names.count(time) == 1 else None
    except ValueError as error:
        faults.append(ConfigError("data.time", time, str(error)))
    if not faults and not columns:
        faults.append(ConfigError("data.name", str(path), "has no column besides target and group; add some"))
    if not faults and not len(table):
        faults.append(ConfigError("data.name", str(path), "has no rows; add some"))
    if faults:
        raise ConfigError.of_all(faults)
    inputs = np.concatenate(encoded, axis=1, dtype=np.float64)
    groups = keys.groups(keys.of_column(table[config.group])) if config.group else None
    del table, encoded
    _release()
    return Table(inputs, tuple(columns), labels, groups, times)


def _release() -> None:
    """Returns Arrow's idle memory, twice the table's, to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _table(path: Path) -> Any:
    """Returns a file as an Arrow table."""
    import pyarrow as pa

    try:
        if path.suffix.lower() in _TEXT:
            return delimited.read(path)
        import pyarrow.parquet

        return pa.parquet.read_table(path)
    except FileNotFoundError:
        raise ConfigError("data.name", str(path), "is no file; give the path of a table that is there") from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError("data.name", str(path), f"is no readable table ({reason}); write it anew") from None


def _dropped(listed: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Returns the names of columns to leave out, which may be listed with commas."""
    return [name for text in listed for name in ([text] if text in columns else text.split(",")) if name]


def _unknown(field: str, name: str, columns: Sequence[str]) -> ConfigError:
    near = f"; did you mean {nearest(name, columns)!r}?" if columns else ""
    return ConfigError(f"data.{field}", name, f"is no column of the table{near}")


def _encoded(name: str, values: Any) -> tuple[np.ndarray, list[Column]]:
    """Returns a column as numbers [N, columns], and a description of each.

    Raises:
      ValueError: it cannot be read.
    """
    import pyarrow as pa

    kind = values.type
    if pa.types.is_null(kind) or values.null_count == len(values):
        raise ValueError(f"has no value at all in column {name!r}; fill it")
    are_numbers = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    if any(is_kind(kind) for is_kind in are_numbers):
        return _numbers(values)[:, None], [Column(name)]
    if not _is_text(kind):
        raise ValueError(f"has {kind} in column {name!r}; turn it to numbers or texts")
    codes, categories = _codes(values)
    if _are_numbers(name, categories):
        return _written_numbers(name, values)[:, None], [Column(name)]
    if len(categories) > _MOST_CATEGORIES or (len(categories) == len(values) > _ALL_DIFFERENT):
        raise ValueError(f"has {len(categories):,} different texts in column {name!r}; group them")
    if len(categories) == 2:  # one column says it all
        return (codes == 1).astype(np.uint8)[:, None], [Column(name, categories[1])]
    return np.eye(len(categories), dtype=np.uint8)[codes], [Column(name, category) for category in categories]


def _are_numbers(name: str, categories: Sequence[str]) -> bool:
    """Returns whether texts are many numbers.

    Raises:
      ValueError: most of them are, and others are not, or have commas.
    """
    written = [category for category in categories if category]
    if len(written) <= _ALL_DIFFERENT or 2 * sum(_is_number(text.replace(",", "")) for text in written) <= len(written):
        return False
    odd = [text for text in written if not _is_number(text)]
    texts = [text for text in odd if not _is_number(text.replace(",", ""))]
    if texts:
        such = f"such as {texts[0]!r}, in column {name!r}"
        raise ValueError(f"has numbers and texts, {such}; leave missing numbers empty")
    if odd:
        raise ValueError(f"has numbers with commas, such as {odd[0]!r}, in column {name!r}; write decimal points alone")
    return True


def _written_numbers(name: str, values: Any) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = values.cast(pa.string())
    try:
        return _numbers(pc.if_else(pc.equal(texts, ""), None, texts))
    except pa.ArrowInvalid as error:
        reason = f"in column {name!r} ({str(error)[:100]})"
        raise ValueError(f"has numbers that cannot be read {reason}; mend them") from None


def _numbers(values: Any) -> np.ndarray:
    import pyarrow as pa

    return values.cast(pa.float64()).to_numpy().astype(np.float64, copy=False)


def _codes(values: Any) -> tuple[np.ndarray, list[str]]:
    """Returns texts as numbers of categories [N], and the categories in order; a missing text is an empty one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.fill_null(values.cast(pa.string()), "").combine_chunks()
    encoded = (texts if isinstance(texts, pa.Array) else pa.concat_arrays(texts.chunks)).dictionary_encode()
    categories = encoded.dictionary.to_pylist()
    order = np.argsort(np.array(categories, str), kind="stable")
    rank = np.argsort(order)
    return rank[encoded.indices.to_numpy(zero_copy_only=False)], [categories[place] for place in order]


def _labels(name: str, values: Any) -> np.ndarray:
    """Returns the targets as numbers or texts.

    Raises:
      ValueError: most of them are numbers, and others are not.
    """
    import pyarrow as pa

    if pa.types.is_boolean(values.type) and not values.null_count:
        return values.to_numpy()
    if not _is_text(values.type) and not pa.types.is_boolean(values.type):
        return _numbers(values) if values.null_count else values.to_numpy()
    codes, categories = _codes(values)
    if _are_numbers(name, categories):
        return _written_numbers(name, values)
    return np.array(categories, str)[codes]


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
