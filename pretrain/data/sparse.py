"""Sparse matrices of SciPy, as ``scipy.sparse.save_npz`` writes them, as arrays."""

from pathlib import Path
from typing import Any

import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.data import room
from pretrain.data.files import npz_kinds, read_npz

_PARTS = {"csr": ("data", "indices", "indptr"), "csc": ("data", "indices", "indptr"), "coo": ("data", "row", "col")}
_MOST_BYTES = 1 << 34  # of a matrix with its zeros


def is_sparse(path: Path) -> bool:
    """Returns whether an .npz file is a sparse matrix; no array in it is read.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged.
    """
    return {"format", "shape", "data"} <= npz_kinds(path).keys()


def read(path: Path) -> np.ndarray:
    """Returns a sparse matrix of an .npz file with its zeros: [N, D].

    Raises:
      ConfigError: it is too large, or in a form of its own.
      OSError: it cannot be read.
      ValueError: it is damaged.
    """
    from scipy import sparse

    described = read_npz(path, ["format", "shape"])
    form = str(described["format"].astype(str))
    if form not in _PARTS:
        raise ConfigError("data.name", str(path), f"is a sparse matrix as {form}; save matrix.tocsr()")
    first, *places = read_npz(path, _PARTS[form]).values()
    shape = tuple(described["shape"].tolist())
    if len(shape) != 2 or first.dtype.kind not in "buif":
        raise ValueError(f"a matrix of {first.dtype} {shape}")
    if form == "coo":
        matrix: Any = sparse.coo_matrix((first, tuple(places)), shape)
    else:
        matrix = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[form]((first, *places), shape)
        matrix.check_format(full_check=True)  # or places beyond the matrix would be written
    return dense(str(path), matrix)


def dense(source: str, matrix: Any) -> np.ndarray:
    """Returns a sparse matrix with its zeros.

    Raises:
      ConfigError: it is too large.
    """
    size = matrix.shape[0] * matrix.shape[1] * matrix.dtype.itemsize
    if size > min(_MOST_BYTES, room.available()):
        what = f"has a sparse matrix of {matrix.shape[0]:,} rows and {matrix.shape[1]:,} columns"
        remedy = "leave out the rarest columns, or take components by TruncatedSVD"
        raise ConfigError("data.name", source, f"{what}, {size / 2**30:,.0f} GiB with its zeros; {remedy}")
    return matrix.toarray()
