"""Digests name stages and seal files: they are the same on every machine and in every version."""

import numpy as np
import pytest

from pretrain.config.digests import sha256, sha256_of_arrays, sha256_of_file, sha256_of_json

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-4


def test_texts_bytes_and_files_of_one_content_have_one_digest(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256("abc") == sha256(b"abc") == sha256_of_file(tmp_path / "abc") == ABC


def test_json_is_digested_in_one_form():
    assert sha256_of_json({"b": [1, None], "a": "ö"}) == sha256_of_json({"a": "ö", "b": (1, None)})
    assert sha256_of_json({"a": 1}) == sha256('{"a":1}') != sha256_of_json({"a": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        sha256_of_json(float("nan"))


def test_types_shapes_and_values_of_arrays_count_and_their_strides_do_not():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    others = (array.ravel(), array.astype(np.int64), array + 1, array.T)
    assert len({sha256_of_arrays(other) for other in (array, *others)}) == 5
    assert sha256_of_arrays(array[:, ::-1]) == sha256_of_arrays(array[:, ::-1].copy())
    assert sha256_of_arrays(array, array) != sha256_of_arrays(array)
    assert sha256_of_arrays(np.zeros(1, np.uint8)) == sha256(b"uint8 (1,)\0")
