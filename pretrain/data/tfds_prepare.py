"""Preparing a TensorFlow Datasets set, by TensorFlow in a separate process.

In this process TensorFlow would claim the accelerator's memory and fill our standard error.
"""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.config.suggestions import suggestion

_PREPARE = """
import importlib, sys
try:
    import tensorflow_datasets as tfds
    name, directory, module = sys.argv[1:]
    importlib.import_module(module)
    tfds.builder(name, data_dir=directory, file_format="array_record").download_and_prepare()
except Exception as error:
    sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))
"""


class SetError(Exception):
    """A fault of a set, and its remedy."""


def prepare(name: str, root: Path, base: str, config: str | None, version: str | None) -> str:
    """Downloads a set and prepares it as array_record.

    Returns:
      The fault, if the set is not there afterwards: another process may have prepared it meanwhile.

    Raises:
      SetError: the set is unknown, or cannot be prepared here.
    """
    require("read", "tensorflow_datasets", "array_record", "PIL")
    import tensorflow_datasets as tfds

    registered = tfds.list_builders(with_community_datasets=False)  # the others would be sought on the network
    if base not in registered:
        there = sorted(str(info.parent.relative_to(root)) for info in root.glob(f"{base}/**/dataset_info.json"))
        remedy = f"choose one of {there}" if there else suggestion(base, registered, "tfds.list_builders() names them")
        raise SetError(f"is no TFDS set and is not prepared in {root}; {remedy}")
    require(f"prepared in {root}", "tensorflow", "importlib_resources")
    kind = tfds.builder_cls(base)
    if config and config not in kind.builder_configs:
        remedy = suggestion(config, kind.builder_configs, "leave it out")
        raise SetError(f"names a config that {base} does not have; {remedy}")
    try:
        builder = kind(data_dir=root, config=config, version=version, file_format="array_record")
        features, urls = builder.info.features, list(builder.url_infos or ())
    except Exception as error:  # each set's own code runs here
        raise SetError(f"cannot be set up; choose another version or set ({one_line(error)})") from None
    check_features(features)
    by_hand, manual = builder.MANUAL_DOWNLOAD_INSTRUCTIONS, root / "downloads" / "manual"
    if by_hand and not (manual.is_dir() and any(manual.iterdir())):
        raise SetError(f"must be downloaded by hand into {manual}; then run again ({one_line(by_hand)})")
    if urls and not by_hand and not reachable(urls[0]):
        host = urllib.parse.urlsplit(urls[0]).hostname
        raise SetError(f"is not in {root} and {host} cannot be reached; go online, or copy the prepared set there")
    print(f"pretrain: preparing {name} in {root}; this is done once", file=sys.stderr, flush=True)
    # The child sees the modules that we see: a user's own builder may lie anywhere on the path.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    environment = {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _PREPARE, name, str(root), kind.__module__]
    child = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    last_words = child.stderr.decode(errors="replace").splitlines()[-1:]
    reasons = {0: [f"{builder.data_dir} is incomplete; remove it"], 1: last_words}
    reason = "".join(reasons.get(child.returncode, [])) or f"exit status {child.returncode}"
    return f"could not be prepared; mend this and run again ({one_line(reason)})"


def reachable(url: str, timeout: float = 2.0) -> bool:
    """Returns whether the host of a URL, or the proxy on the way to it, takes a connection in time (seconds)."""
    target, proxies = urllib.parse.urlsplit(url), urllib.request.getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urllib.parse.urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    address = target.hostname, target.port or {"http": 80, "ftp": 21}.get(target.scheme, 443)
    answered = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection(address, timeout):
            answered.set()

    # Looking up a name has no timeout and may take a minute, so it goes on in a thread.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(timeout)
    return answered.is_set()


def check_features(features: Any) -> None:
    """Checks that a set has uint8 images, grey or colour, with a class number each.

    Raises:
      SetError: it has not.
    """
    import tensorflow_datasets as tfds

    kinds = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    for name in "image", "label":
        if name not in kinds:
            raise SetError(f"is no image classification set: it has no feature {name!r}, only {sorted(kinds)}")
    image, label = kinds["image"], kinds["label"]
    fits = isinstance(image, tfds.features.Image) and image.np_dtype == np.uint8 and len(image.shape) == 3
    if not (fits and image.shape[-1] in (1, 3)):
        raise SetError(f"has images of {one_line(image)}; they must be uint8 [H, W, 1 or 3]")
    if label.shape != () or not np.issubdtype(label.np_dtype, np.integer):
        raise SetError(f"has labels of {one_line(label)}; they must be one class number an image")


def require(purpose: str, *modules: str) -> None:
    """Checks that modules are installed.

    Raises:
      SetError: one is missing.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        needs = f"needs {' and '.join(missing)} to be {purpose}"
        raise SetError(f"{needs}; run pip install -e '.[tfds]' and then this again")


def one_line(text: Any) -> str:
    """Returns a text, or an error's type and message, on one line of bounded length."""
    text = " ".join(f"{type(text).__name__}: {text}".split() if isinstance(text, Exception) else str(text).split())
    return text if len(text) <= 300 else f"{text[:297]}..."
