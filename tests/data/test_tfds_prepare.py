"""Sets that are not there are downloaded and prepared, from a web server of this machine, or named with the reason."""

import functools
import hashlib
import http.server
import json
import socket
import textwrap
import threading
import time

import pytest

from pretrain.data import tfds_images, tfds_prepare
from tests.data.tfds_sets import (
    NAMES,
    READ_AND_LIST,
    draw,
    png,
    refusal,
    run_alone,
)

# A stand-in that proves two things at once: TensorFlow counts as installed, and whoever imports it fails.
STUB = "raise AssertionError('TensorFlow was imported')"

BUILDER = """
import json
import tensorflow_datasets as tfds

class Served(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = {manual!r}

    def _info(self):
        kinds = {{"image": tfds.features.Image(shape=(4, 5, 3)), "label": tfds.features.ClassLabel(names={names})}}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kinds))

    def _split_generators(self, manager):
        rows = json.loads(manager.download({url!r}).read_text())
        return {{split: self._generate_examples(rows[split]) for split in rows}}

    def _generate_examples(self, rows):
        for row in rows:
            yield row["key"], {{"image": bytes.fromhex(row["image"]), "label": row["label"]}}
"""


@pytest.fixture
def tensorflow_stub(tmp_path, monkeypatch):
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "tensorflow.py").write_text(STUB)
    for proxy in "http_proxy", "https_proxy", "all_proxy", "no_proxy":
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    monkeypatch.syspath_prepend(tmp_path / "stub")
    return tmp_path / "stub"


@pytest.fixture
def server(tmp_path):
    """A web server of this machine: the folder it serves, and its address."""
    (tmp_path / "served").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield tmp_path / "served", f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def register(folder, name, url, content=b"", manual=None):
    """Defines a set as its author would, in a module of its own, with the checksum of what it downloads."""
    (folder / name).mkdir()
    class_name = "".join(part.title() for part in name.split("_"))
    code = BUILDER.format(url=url, names=NAMES, manual=manual).replace("Served", class_name)
    (folder / name / "__init__.py").write_text("")
    (folder / name / f"{name}_set.py").write_text(textwrap.dedent(code))
    (folder / name / "checksums.tsv").write_text(
        f"{url}\t{len(content)}\t{hashlib.sha256(content).hexdigest()}\t{name}\n"
    )
    __import__(f"{name}.{name}_set")


def test_downloads_prepares_and_reads(tmp_path, tensorflow_stub, server, capfd):
    served, address = server
    splits = {"train": draw((4, 5, 3), 5), "test": draw((4, 5, 3), 2, 1)}
    rows = {
        split: [
            {"key": key, "image": png(image).hex(), "label": int(label)}
            for key, (image, label) in enumerate(zip(*rows, strict=True))
        ]
        for split, rows in splits.items()
    }
    content = json.dumps(rows).encode()
    (served / "rows.json").write_bytes(content)
    register(tensorflow_stub, "fetched", f"{address}/rows.json", content)
    arrays = tfds_images.read("fetched", str(tmp_path / "sets"))
    assert (tmp_path / "sets" / "fetched" / "1.0.0" / "pretrain-decoded.npz").is_file()
    for split, (images, labels) in splits.items():  # TFDS shuffles what it prepares
        written = sorted((image.tobytes(), label) for image, label in zip(images, labels, strict=True))
        found = zip(arrays[f"{split}_images"], arrays[f"{split}_labels"], strict=True)
        assert sorted((image.tobytes(), label) for image, label in found) == written
    out, err = capfd.readouterr()
    assert out == "" and err == f"pretrain: preparing fetched in {tmp_path / 'sets'}; this is done once\n"


def test_failed_preparation_is_reported(tmp_path, tensorflow_stub, server, capfd):
    register(tensorflow_stub, "gone", f"{server[1]}/nothing.json")
    line = refusal("gone", tmp_path / "sets")
    assert "could not be prepared; mend this and run again (DownloadError: " in line and "404" in line
    assert capfd.readouterr().err.count("\n") == 1


def test_leftovers_of_a_preparation_are_reported(tmp_path, tensorflow_stub, server):
    register(tensorflow_stub, "left_over", f"{server[1]}/nothing.json")
    (tmp_path / "sets" / "left_over" / "1.0.0").mkdir(parents=True)
    assert f"({tmp_path}/sets/left_over/1.0.0 is incomplete; remove it)" in refusal("left_over", tmp_path / "sets")


def test_unreachable_host_is_reported(tmp_path, tensorflow_stub, closed_port):
    register(tensorflow_stub, "unreachable", f"http://127.0.0.1:{closed_port}/rows.json")
    line = refusal("unreachable", tmp_path / "sets")
    assert "127.0.0.1 cannot be reached; go online" in line
    assert not (tmp_path / "sets").exists()


def test_download_by_hand_is_reported(tmp_path, tensorflow_stub, closed_port):
    register(tensorflow_stub, "by_hand", f"http://127.0.0.1:{closed_port}/x", manual="Ask the\n   author.")
    line = refusal("by_hand", tmp_path / "sets")
    assert f"must be downloaded by hand into {tmp_path}/sets/downloads/manual; then run again (Ask the author.)" in line


def test_unknown_config_and_version_are_reported(tmp_path, tensorflow_stub):
    assert "did you mean 'spatter'?" in refusal("mnist_corrupted/spater", tmp_path)
    assert "names a config that cifar10 does not have; leave it out" in refusal("cifar10/large", tmp_path)
    assert "cannot be loaded at version 9.9.9" in refusal("cifar10:9.9.9", tmp_path)
    assert "no feature 'image'" in refusal("imdb_reviews", tmp_path)


def test_offline_is_reported_soon_and_quietly(tmp_path, tensorflow_stub, closed_port):
    proxy = f"http://127.0.0.1:{closed_port}"
    code = READ_AND_LIST.format(name="cifar10", root=str(tmp_path / "sets"))
    (line, seen, seconds), error = run_alone(code, tensorflow_stub, https_proxy=proxy)
    assert line == (
        f"data.name: 'cifar10' is not in {tmp_path}/sets and www.cs.toronto.edu cannot be reached; "
        "go online, or copy the prepared set there"
    )
    assert seen == ["tensorflow_datasets"] and error == "" and seconds < 5


def test_reachable(monkeypatch, server, closed_port):
    for proxy in "http_proxy", "https_proxy", "all_proxy", "no_proxy":
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    assert tfds_prepare.reachable(server[1])
    assert not tfds_prepare.reachable(f"http://127.0.0.1:{closed_port}")
    start = time.monotonic()
    assert not tfds_prepare.reachable("https://192.0.2.1/file", timeout=0.3)  # an address that is nobody's (RFC 5737)
    assert time.monotonic() - start < 2
    monkeypatch.setenv("https_proxy", server[1])
    assert tfds_prepare.reachable("https://192.0.2.1/file")
    monkeypatch.setenv("no_proxy", "192.0.2.1")
    assert not tfds_prepare.reachable("https://192.0.2.1/file", timeout=0.3)
