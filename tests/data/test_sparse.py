"""Sparse matrices of SciPy are read like the arrays that they stand for."""

import numpy as np
import pytest
from scipy import sparse

from pretrain import data
from pretrain.config import DataConfig
from pretrain.config.fields import ConfigError
from tests.data import sources

COUNTS, TOPICS = sources.word_counts()


def refused(path):
    with pytest.raises(ConfigError) as error:
        data.load(DataConfig(name=str(path)))
    (line,) = str(error.value).splitlines()
    return line


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("kind", [sparse.coo_matrix, sparse.coo_array])
def test_a_folder_may_hold_sparse_inputs(tmp_path, form, kind):
    np.save(tmp_path / "y.npy", TOPICS)
    sparse.save_npz(tmp_path / "X.npz", kind(COUNTS.astype(np.float32)).asformat(form))
    found = data.load(DataConfig(name=str(tmp_path), validation=0.2))
    np.savez(tmp_path / "whole.npz", X=COUNTS.astype(np.float32), y=TOPICS)
    assert found.fingerprints == data.load(DataConfig(name=str(tmp_path / "whole.npz"), validation=0.2)).fingerprints


def test_a_function_may_return_them(tmp_path):
    (tmp_path / "own.py").write_text(
        "import scipy.sparse, numpy\n"
        "def load():\n"
        "    x = numpy.random.default_rng(0).poisson(0.3, (200, 9))\n"
        "    return {'X': scipy.sparse.csr_matrix(x), 'y': x.sum(axis=1) % 2}\n"
    )
    found = data.load(DataConfig(name=f"{tmp_path}/own.py:load", validation=0.2))
    assert found.train.inputs.shape == (120, 9)


def test_one_alone_in_another_form_damaged_or_too_large_is_refused_in_a_line(tmp_path):
    np.save(tmp_path / "y.npy", TOPICS)
    path, matrix = tmp_path / "X.npz", sparse.csr_matrix(COUNTS)
    sparse.save_npz(path, matrix)
    assert "is a sparse matrix without labels; put it into a folder as X.npz, beside y.npy" in refused(path)
    sparse.save_npz(path, matrix.tobsr())
    assert "save matrix.tocsr()" in refused(tmp_path)
    parts = {"format": b"csr", "shape": matrix.shape, "data": matrix.data, "indptr": matrix.indptr}
    np.savez(path, indices=matrix.indices + 1000, **parts)
    assert "holds an unreadable array" in refused(tmp_path)
    np.savez(path, **parts)
    assert "holds an unreadable array" in refused(tmp_path)
    sparse.save_npz(path, sparse.csr_matrix((500, 50_000_000)))
    assert "186 GiB with its zeros; leave out the rarest columns" in refused(tmp_path)
