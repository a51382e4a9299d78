"""What a pack's files hold, against its manifest, whose checksums only say that they are as they were sealed."""

import dataclasses
import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.data.files import npz_kinds
from pretrain.store.manifests import NAME, DamageError
from pretrain.store.records import COUNTS, Record

PREDICTIONS = "predictions.npz"
_OF_STAGES = ("stages", "settings", "programs", "parents")  # lists of as many
FILES = frozenset(("records.json", "curves.parquet"))  # of a finished pack
_CURVES = {"metric", "step", "value"}


def check_manifest(path: Path, manifest: Mapping[str, Any], files: Set[str] = FILES) -> None:
    """Checks that a pack's manifest names its stages and these files; an empty one is of another format.

    Raises:
      DamageError: it does not.
    """
    lists = [manifest.get(name) for name in _OF_STAGES]
    sizes = {len(each) if isinstance(each, list) else 0 for each in lists}
    are_texts = all(isinstance(text, str | None) for each in lists for text in each or ())
    parts = [manifest.get(name, {}) for name in ("versions", "structure", "files", "temporaries")]
    if manifest and not (
        len(sizes) == 1
        and sizes != {0}
        and are_texts
        and None not in {text for each in lists[:3] for text in each or ()}
        and all(isinstance(part, dict) for part in parts)
        and isinstance(manifest.get("kind"), str)
        and files <= manifest.get("files", {}).keys()
    ):
        raise DamageError(f"{path / NAME}: names no stages, or not their files")


def check(path: Path, manifest: Mapping[str, Any]) -> None:
    """Checks that a pack's records, curves and predictions are of as many stages as its manifest names.

    Raises:
      DamageError: they are not.
    """
    n = len(manifest["stages"])
    for name, fits in (
        ("records.json", _records_fit),
        ("curves.parquet", _curves_fit),
        (PREDICTIONS, _predictions_fit),
    ):
        if name in manifest["files"]:
            try:
                if fits(path / name, n):
                    continue
            except (OSError, pa.ArrowException, AttributeError, LookupError, TypeError, ValueError):
                pass
            raise DamageError(f"{path / name}: is not of the {n:,} stages that its manifest names")


def _records_fit(file: Path, n: int) -> bool:
    records = json.loads(file.read_bytes())
    fields = {field.name for field in dataclasses.fields(Record)}
    return len(records) == n and all(each.keys() == fields and isinstance(each["results"], dict) for each in records)


def _curves_fit(file: Path, n: int) -> bool:
    footer = pq.read_metadata(file)
    counts = json.loads(footer.metadata[COUNTS.encode()])
    return (
        len(counts) == n
        and sum(counts) == footer.num_rows
        and min(counts) >= 0
        and {*footer.schema.to_arrow_schema().names} == _CURVES
    )


def _predictions_fit(file: Path, n: int) -> bool:
    # Targets are those of all stages.
    return all(name.endswith("_targets") or kind.shape[:1] == (n,) for name, kind in npz_kinds(file).items())
