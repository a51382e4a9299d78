"""Tables, .csv, .tsv and .parquet, as arrays: numbers, and a column of 0 and 1 for each category of texts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.config.counts import some
from pretrain.config.fields import ConfigError
from pretrain.config.settings import DataConfig
from pretrain.config.suggestions import suggestion
from pretrain.data import columns, delimited, frames, keys, of_tables, room, targets
from pretrain.data.arrays import Arrays
from pretrain.data.columns import Encoded, Missing, Record
from pretrain.data.files import State, state_of, unaltered

_TEXT = (".csv", ".tsv")
SUFFIXES = (*_TEXT, ".parquet", ".pq")
_MOST_NAMED = 20
_INPUT = 8  # of a number as an input


def read(path: Path, config: DataConfig) -> Arrays:
    """Reads a table: inputs [N, D] float64, NaN where missing; labels [N] numbers, NaN where missing, or texts.

    Raises:
      ConfigError: it is not there or damaged, or a column is missing or of no use; a line for each fault.
    """
    table, encoding, files = _whole(path)
    names, faults = table.column_names, []
    if len(names) == 1 and path.suffix.lower() in _TEXT:
        remedy = f"has a single column, {names[0][:60]!r}; separate columns by commas, semicolons or tabs"
        raise ConfigError("data.name", str(path), remedy)
    if not len(table):
        raise ConfigError("data.name", str(path), "has no rows; add some")
    if odd := next((name for name in names if "\0" in name), ""):
        raise ConfigError("data.name", str(path), f"has a NUL character in the name {odd!r}; rename the column")
    dropped, codes = listed(config.drop, names), listed(config.categories, names)
    time = config.time if config.time != keys.ORDER or keys.ORDER in names else ""
    fields = {"target": (config.target,), "group": (config.group,), "time": (time,), "drop": dropped}
    for field, named in (fields | {"categories": codes}).items():
        faults += [_unknown(field, name, names) for name in named if name and name not in names]
    if not config.target:
        remedy = f"names no column; give --data.target one of {', '.join(names[:20])}"
        faults.append(ConfigError("data.target", config.target, remedy))
    twice = sorted({name for name in names if names.count(name) > 1})
    faults += [ConfigError("data.name", str(path), f"has several columns {name!r}; rename them") for name in twice]
    no_inputs = [name for name in (config.target, config.group, time, *dropped) if name]
    faults += [ConfigError("data.categories", name, "is no input; leave it out") for name in codes if name in no_inputs]
    left_out = dict.fromkeys(dropped, "data.drop") | frames.unnamed(table, [*no_inputs, *twice])
    codes += frames.categorical(table)
    encoded: dict[str, Encoded] = {}
    missing, n_columns = Missing.named(listed(config.missing, ())), 0
    for name in names:
        if name not in (*no_inputs, *twice, *left_out):
            try:
                encoded[name] = columns.encoded(name, table[name], missing, name in codes)
                n_columns += encoded[name].values.shape[1]
                room.check(str(path), len(table) * n_columns * _INPUT, f"{n_columns:,} columns once texts are columns")
            except ValueError as error:
                faults.append(ConfigError("data.name", str(path), f"{error}, or leave it out by --data.drop {name}"))
    labels, of_target = np.zeros(0), []
    try:
        if names.count(config.target) == 1:
            column = table[config.target]
            if len(column) and column.null_count == len(column):
                raise ValueError("has no value in any row; name the column of the targets, or fill it")
            labels, record = _labels(config.target, column)
            of_target.append(record)
    except ValueError as error:
        faults.append(ConfigError("data.target", config.target, str(error)))
    times = None
    try:
        times = keys.times(keys.of_column(table[time])) if time and names.count(time) == 1 else None
    except ValueError as error:
        faults.append(ConfigError("data.time", time, str(error)))
    if faults and of_target:  # else checked with all rows
        given = {"train": labels}, {"train": config.target}
        faults += [ConfigError("data.name", str(path), fault) for fault in targets.read(config.task, *given).faults]
    if not faults and not any(each.columns for each in encoded.values()):
        faults.append(ConfigError("data.name", str(path), of_tables.nothing_left(encoded)))
    if faults:
        raise ConfigError.of_all(faults)
    groups = keys.groups(keys.of_column(table[config.group])) if config.group else None
    cut_by = {"group": config.group, "time": time}
    of_keys = [
        Record(name, columns.kind_of(table[name].type), field, table[name].null_count)
        for field, name in cut_by.items()
        if name
    ]
    of_others = [_left_out(name, table[name], reason) for name, reason in left_out.items()]
    of_inputs = [each.record for each in encoded.values()]
    records = {record.name: record for record in (*of_inputs, *of_others, *of_target, *of_keys)}
    said = [*of_tables.of_encoding(encoding), *of_tables.of_unnamed(of_others)]
    said += of_tables.of_header(names) if path.suffix.lower() in _TEXT else []
    findings = [*said, *of_tables.findings(encoded, len(table))]
    del table
    made = tuple(column for each in encoded.values() for column in each.columns)
    inputs = np.concatenate([each.values for each in encoded.values()], axis=1, dtype=np.float64)
    del encoded
    _release()
    return Arrays(
        {"train_inputs": inputs, "train_labels": labels},
        {"train_inputs": "inputs", "train_labels": config.target},
        columns=made,
        groups=groups,
        times=times,
        findings=tuple(findings),
        records=tuple(records[name] for name in names),
        files=files,
    )


def _left_out(name: str, values: Any, reason: str) -> Record:
    return Record(name, columns.kind_of(values.type), "nothing", values.null_count, left_out=reason)


def _release() -> None:
    """Returns Arrow's idle memory, twice the table's, to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _files(path: Path) -> list[State]:
    """Returns the files of a table, a Parquet data set in a directory among them."""
    try:
        places = [path]
        if path.is_dir():
            places = [place for place in sorted(path.rglob("*")) if not place.is_dir()]
        return [state_of(place) for place in places]
    except FileNotFoundError:
        raise ConfigError("data.name", str(path), "is no file; give the path of a table that is there") from None
    except (OSError, ValueError) as error:
        raise ConfigError("data.name", str(path), f"is no readable table ({error}); write it anew") from None


def unaltered_table(path: Path, parse: Callable[[Path], Any] | None = None) -> Any:
    """Returns a file as an Arrow table, by the rules of its kind or by a parser.

    Raises:
      ConfigError: it is not there or damaged, or was altered meanwhile.
    """
    return _whole(path, parse)[0]


def _whole(path: Path, parse: Callable[[Path], Any] | None = None) -> tuple[Any, str, list[State]]:
    """Returns a file as an Arrow table, its encoding, and its files as they were."""
    files = _files(path)
    with unaltered(files):
        return *_table(path, parse), files


def _table(path: Path, parse: Callable[[Path], Any] | None) -> tuple[Any, str]:
    """Returns a file as an Arrow table, and its encoding."""
    import pyarrow as pa

    try:
        if parse:
            return parse(path), "utf8"
        if path.suffix.lower() in _TEXT:
            return delimited.read(path)
        import pyarrow.parquet

        if path.is_file():
            footer = pa.parquet.read_metadata(path)
            n_rows, n_columns = footer.num_rows, footer.num_columns
            room.check(str(path), n_rows * n_columns * room.CELL, f"{n_rows:,} rows of {n_columns:,} columns")
        return pa.parquet.read_table(path), "utf8"
    except ConfigError:
        raise
    except (OSError, pa.ArrowException, UnicodeError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError("data.name", str(path), f"is no readable table ({reason}); write it anew") from None


def listed(given: Sequence[str], known: Sequence[str]) -> list[str]:
    """Returns names or texts, which may be listed with commas, but for known ones that have commas themselves."""
    return list(
        dict.fromkeys(name for text in given for name in ([text] if text in known else text.split(",")) if name)
    )


def _unknown(field: str, name: str, columns: Sequence[str]) -> ConfigError:
    near = suggestion(name, columns, f"it has {some(columns, 9)}" if columns else "it has none")
    return ConfigError(f"data.{field}", name, f"is no column of the table; {near}")


def _labels(name: str, values: Any) -> tuple[np.ndarray, Record]:
    """Returns the targets as numbers or texts."""
    import pyarrow as pa

    if not columns.is_text(values.type):
        if not columns.are_numbers(values.type):
            raise ValueError(f"has {values.type}; turn it to numbers or texts")
        if pa.types.is_boolean(values.type) and values.null_count:
            values = values.cast(pa.string())
        else:
            as_it_is = not values.null_count and not pa.types.is_decimal(values.type)
            numbers = values.to_numpy() if as_it_is else columns.numbers_of(values)
            lacking = int(np.isnan(numbers).sum()) if numbers.dtype.kind == "f" else 0
            return numbers, Record(name, "numbers", "target", lacking)
    texts = columns.texts_of(values)
    marks = [text for text in texts.distinct if text in columns.arrows_marks()]
    rest = [text for text in texts.distinct if text and text not in marks]
    n_of = dict(zip(texts.distinct, texts.counts.tolist(), strict=True))
    if columns.are_written_numbers(name, rest, may_be_few=bool(marks)):
        numbers = np.array([float(text) if text in rest else np.nan for text in texts.distinct])[texts.codes]
        return numbers, Record(name, "texts of numbers", "target", int(np.isnan(numbers).sum()), marks=tuple(marks))
    record = Record(name, "texts", "target", n_of.get("", 0), tuple(texts.distinct) if len(n_of) <= _MOST_NAMED else ())
    return np.array(texts.distinct, str)[texts.codes], record
