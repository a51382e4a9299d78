"""``inputs.json``, a file of a run: how rows of its data, and rows to come, turn to inputs of its encoders."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from pretrain.config import DataConfig
from pretrain.config.kinds import TaskKind
from pretrain.data.columns import Record
from pretrain.data.dataset import Dataset, Units
from pretrain.data.raw import Raw
from pretrain.data.scaling import Scaling

FILE = "inputs.json"
_CONFIG = TypeAdapter(DataConfig)
_LISTS = ("categories", "marks")  # of a record of a column


class Inputs(NamedTuple):
    """How rows of some data become inputs: in the form of ``raw``, and by ``scaling.as_read``.

    Of a table, ``scaling.columns`` names their values.
    """

    data: DataConfig
    example_shape: tuple[int, ...]  # of an input, unflattened
    task: TaskKind
    output_names: tuple[str, ...]  # of classes, labels or numbers
    scaling: Scaling
    units: Units | None  # of numbers: predictions become theirs by ``units.restored``
    columns: tuple[Record, ...] = ()  # of a table: all columns of its file, read or left out
    raw: Raw | None = None  # rows as the source has them; None of files of earlier versions


def write(datasets: Mapping[DataConfig, Dataset], path: Path) -> None:
    """Writes how rows of each dataset become inputs.

    Raises:
      OSError: the file could not be written.
    """
    content = [content_of(inputs_of(config, dataset)) for config, dataset in datasets.items()]
    path.write_text(json.dumps(content), encoding="utf-8")


def inputs_of(config: DataConfig, dataset: Dataset) -> Inputs:
    """Returns how rows of a dataset become inputs."""
    names, units = dataset.output_names, dataset.units
    shape, scaling = dataset.example_shape, dataset.scaling
    return Inputs(config, shape, dataset.task, names, scaling, units, dataset.records, dataset.raw)


def read(content: bytes) -> list[Inputs]:
    """Returns the inputs that a file's content describes.

    Raises:
      ValueError: it is damaged, or of no such file.
    """
    try:
        return [of_content(each) for each in json.loads(content)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no description of inputs ({error!r})") from None


def content_of(inputs: Inputs) -> dict[str, Any]:
    """Returns inputs as JSON has them."""
    return {
        "data": _CONFIG.dump_python(inputs.data, mode="json"),
        "example_shape": inputs.example_shape,
        "task": inputs.task,
        "output_names": inputs.output_names,
        "units": inputs.units and {name: _plain(value) for name, value in inputs.units._asdict().items()},
        "scaling": {name: _plain(value) for name, value in inputs.scaling._asdict().items()},
        "columns": [record._asdict() for record in inputs.columns],
        "raw": inputs.raw and inputs.raw._asdict(),
    }


def of_content(content: Mapping[str, Any]) -> Inputs:
    """Returns the inputs of ``content_of``.

    Raises:
      KeyError, TypeError, AttributeError, ValueError: it is of no inputs.
    """
    kept = content["scaling"]
    kinds = {"kept": int, "marked": int, "fill": float, "offset": float, "divisor": float}
    arrays: dict[str, Any] = {name: np.array(kept[name], kind) for name, kind in kinds.items()}
    scaling = Scaling(**{**kept, **arrays, "columns": tuple(kept["columns"])})
    config = _CONFIG.validate_json(json.dumps(content["data"]))
    units = content["units"] and Units(*(np.array(content["units"][name], float) for name in Units._fields))
    shape, names = tuple(content["example_shape"]), tuple(content["output_names"])
    columns = [
        Record(**{**each, **{name: tuple(each[name]) for name in _LISTS}}) for each in content.get("columns", ())
    ]
    raw = content.get("raw")
    raw = raw and Raw(**{**raw, "shape": tuple(raw["shape"])})
    return Inputs(config, shape, content["task"], names, scaling, units or None, tuple(columns), raw)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
