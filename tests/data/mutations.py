"""Mutated files of each format that is read, drawn by a seed: bytes flipped, cut, repeated, moved, and put in."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
from scipy import sparse

_ODD = (
    b"\0",
    b'"',
    b"\n",
    b"\r",
    b",",
    b";",
    b"\t",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"nan",
    b"1e999",
    b"-",
    b"'",
)
_ROWS, _COLUMNS = 60, 4


def _table() -> pa.Table:
    rng = np.random.default_rng(0)
    columns = {f"x{place}": rng.normal(size=_ROWS).round(3) for place in range(_COLUMNS)}
    kind = rng.choice(["red", "green", "blue, dark"], _ROWS)
    return pa.table({**columns, "kind": kind, "y": (columns["x0"] > 0).astype(int)})


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, _ROWS)
    return {"X": (rng.normal(size=(3, 5))[labels] + rng.normal(size=(_ROWS, 5))).astype(np.float32), "y": labels}


def _write_table(folder: Path, suffix: str) -> tuple[Path, Path]:
    path, table = folder / f"table.{suffix}", _table()
    match suffix:
        case "csv" | "tsv":
            mark = "\t" if suffix == "tsv" else ","
            pa.csv.write_csv(table, path, pa.csv.WriteOptions(delimiter=mark))
        case "parquet":
            pa.parquet.write_table(table, path)
        case "feather":
            pa.feather.write_feather(table, path)
        case "jsonl":
            path.write_text("\n".join(str(row).replace("'", '"') for row in table.to_pylist()))
    return path, path


def _write_npz(folder: Path, save: Callable = np.savez) -> tuple[Path, Path]:
    path = folder / "arrays.npz"
    save(path, **_arrays())
    return path, path


def _write_folder(folder: Path) -> tuple[Path, Path]:
    for name, array in _arrays().items():
        np.save(folder / f"{name}.npy", array)
    return folder, folder / "X.npy"


def _write_labels(folder: Path) -> tuple[Path, Path]:
    return folder, _write_folder(folder)[0] / "y.npy"


def _write_sparse(folder: Path) -> tuple[Path, Path]:
    np.save(folder / "y.npy", _arrays()["y"])
    sparse.save_npz(folder / "X.npz", sparse.csr_matrix(np.maximum(_arrays()["X"], 0)), compressed=False)
    return folder, folder / "X.npz"


# Each writes a sound source into an empty folder, and returns its name and the file of it to mutate.
FORMATS: dict[str, Callable[[Path], tuple[Path, Path]]] = {
    **{suffix: lambda folder, suffix=suffix: _write_table(folder, suffix) for suffix in ("csv", "tsv", "parquet")},
    **{suffix: lambda folder, suffix=suffix: _write_table(folder, suffix) for suffix in ("feather", "jsonl")},
    "npz": _write_npz,
    "npz, compressed": lambda folder: _write_npz(folder, np.savez_compressed),
    "folder": _write_folder,
    "folder, labels": _write_labels,
    "sparse": _write_sparse,
}


def of(content: bytes, number: int, seed: int = 0) -> Iterator[bytes]:
    """Yields so many mutations of a file's content; one of a zip is of a member, sealed again, in half of them."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        if content.startswith(b"PK") and rng.random() < 0.5:
            yield _member_mutated(content, rng)
        else:
            yield _mutated(content, rng)


def _mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns bytes with one to four changes, most of them near an end, where headers are."""
    for _ in range(rng.integers(1, 5)):
        ends = min(len(content), 200)
        at = int(
            rng.choice([rng.integers(len(content) + 1), rng.integers(ends + 1), len(content) - rng.integers(ends + 1)])
        )
        n = int(rng.choice([1, 1, 2, 4, 8, 64, 1000]))
        piece = content[at : at + n]
        match rng.integers(8):
            case 0:
                changed = bytes(byte ^ (1 << int(rng.integers(8))) for byte in piece[:1]) + piece[1:]
            case 1:
                changed = b""
            case 2:
                changed = piece * int(rng.integers(2, 5))
            case 3:
                changed = rng.bytes(len(piece))
            case 4:
                changed = bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))]) * len(piece)
            case 5:
                changed = _ODD[rng.integers(len(_ODD))] + piece
            case 6:
                changed = content[(start := int(rng.integers(len(content) + 1))) : start + n]
            case _:
                content, changed, piece, at = content[:at] or b"x", b"", b"", len(content)
        content = content[:at] + changed + content[at + len(piece) :]
    return content


def _member_mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns a zip of which one member is mutated, with the checksum that fits it."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(made, "w") as target:
        names = archive.namelist()
        chosen = names[rng.integers(len(names))]
        for name in names:
            member = archive.read(name)
            target.writestr(name, _mutated(member, rng) if name == chosen else member)
    return made.getvalue()
