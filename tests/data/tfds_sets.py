"""Small sets of TensorFlow Datasets, written as ArrayRecord by its own parts, and processes of their own that read."""

import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image

from pretrain.config.fields import ConfigError
from pretrain.data import tfds_images

NAMES = ["ant", "bee", "cat"]
COLOUR = tfds.features.Image(shape=(4, 5, 3))
GREY = tfds.features.Image(shape=(4, 5, 1))
LABEL = tfds.features.ClassLabel(names=NAMES)


def png(pixels, mode=None):
    image = Image.fromarray(pixels.squeeze())
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, "PNG")
    return file.getvalue()


def draw(shape, size, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (size, *shape), np.uint8), random.integers(0, len(NAMES), size)


def examples(images, labels):
    return [{"image": png(image), "label": int(label)} for image, label in zip(images, labels, strict=True)]


def write_set(root, path, splits, image=COLOUR, label=LABEL, file_format="array_record", **more):
    """Writes a prepared set at root/path, as name/[config/]version, and returns its directory."""
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {name: kind for name, kind in {"image": image, "label": label, **more}.items() if kind is not None}
    features = tfds.features.FeaturesDict(kinds)
    names = tfds.core.ShardedFileTemplate(folder, dataset_name=Path(path).parts[0], filetype_suffix=file_format)
    infos = []
    for split, rows in splits.items():
        shard = names.replace(split=split).sharded_filepath(shard_index=0, num_shards=1)
        writer = array_record_module.ArrayRecordWriter(os.fspath(shard), "group_size:1")
        for row in rows:
            writer.write(features.serialize_example(features.encode_example({name: row[name] for name in kinds})))
        writer.close()
        lengths = {"shard_lengths": [len(rows)], "num_bytes": shard.stat().length}
        infos.append(tfds.core.SplitInfo(name=split, filename_template=names.replace(split=split), **lengths))
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, filename_template=names, check_data=False
    )
    return folder


def write_pair(root, path="insects/1.0.0", seed=0, shape=(4, 5, 3), **kinds):
    train, test = draw(shape, 7, seed), draw(shape, 3, seed + 1)
    return write_set(root, path, {"train": examples(*train), "test": examples(*test)}, **kinds), train, test


def refusal(name, root):
    with pytest.raises(ConfigError) as caught:
        tfds_images.read(name, str(root))
    line = str(caught.value)
    assert "\n" not in line and line.startswith(f"data.name: {name!r} ")
    return line


def same(first, second):
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


def run_alone(code, *paths, **environment):
    """Runs code in a fresh process and returns its last printed line as JSON, and its standard error."""
    paths = os.pathsep.join([*map(str, paths), str(Path(tfds_images.__file__).parents[2]), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths, **environment}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout.splitlines()[-1]), child.stderr


READ_AND_LIST = """
    import json, sys, time
    from pretrain.data import tfds_images
    from pretrain.data import tfds_prepare
    from pretrain.config.fields import ConfigError
    start, line = time.monotonic(), ""
    try:
        tfds_images.read(*sys.argv[1:], {name!r}, {root!r})
    except ConfigError as error:
        line = str(error)
    seen = [name for name in ("tensorflow", "tensorflow_datasets") if name in sys.modules]
    print(json.dumps([line, seen, time.monotonic() - start]))
"""
