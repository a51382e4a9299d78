"""Folders of pictures by class, as ``imgs/cat/1.png`` or ``imgs/train/cat/1.png``."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.counts import counted, some
from pretrain.config.fields import ConfigError
from pretrain.data import room
from pretrain.data.arrays import Arrays
from pretrain.data.files import State, state_of, unaltered
from pretrain.data.findings import notes
from pretrain.data.names import split_of

_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
_POOL = "unlabelled"
_MOST_NAMED, _MOST_SIZES, _MOST_FAULTS = 5, 3, 20
_WHITE = 255  # what shows through


class _Found(NamedTuple):
    """The files of a folder."""

    by_split: dict[str, list[tuple[Path, str]]]  # with their class
    empty: list[str]  # folders of a class without a picture
    others: list[str]  # files that are no pictures
    faults: list[str]


def holds_pictures(folder: Path) -> bool:
    """Returns whether a picture lies somewhere below a folder, but not in the folder itself."""
    return any(_is_picture(file) for each in _folders(folder) for file in each.rglob("*"))


def read(folder: Path, size: int) -> Arrays:
    """Returns the pictures of a folder, in the order of their paths, [N, size, size, 1 or 3] uint8; grey ones have 1.

    Args:
      folder: has a folder for each class, or for each split with those; ``unlabelled`` is of no class.
      size: height and width that pictures are brought to (pixels).

    Raises:
      ConfigError: a picture cannot be read, lies in no class, or there is none; a line for each fault.
    """
    found = _found(folder)
    every = [(split, path, label) for split, files in found.by_split.items() for path, label in files]
    room.check(str(folder), 2 * 3 * len(every) * size**2, f"{counted(len(every), 'picture')} of {size} × {size} pixels")
    images, sizes, states, faults = _opened([path for _, path, _ in every], size, folder)
    all_faults = [*found.faults, *faults[:_MOST_FAULTS]]
    if len(faults) > _MOST_FAULTS:
        all_faults.append(f"has {len(faults) - _MOST_FAULTS:,} more pictures that cannot be read")
    if not every and not all_faults:
        all_faults.append("holds no pictures in folders of their class, as in cat/1.png or train/cat/1.png")
    if all_faults:
        raise ConfigError.of_all([ConfigError("data.name", str(folder), fault) for fault in all_faults])
    values = np.stack(images)
    if (values == values[..., :1]).all():
        values = values[..., :1]
    names = sorted({label for split, _, label in every if split != _POOL})
    arrays = {}
    for split in found.by_split:
        rows = np.array([number for number, (of, _, _) in enumerate(every) if of == split])
        arrays[f"{split}_inputs"] = values[rows]
        if split != _POOL:
            arrays[f"{split}_labels"] = np.array([names.index(every[row][2]) for row in rows])
    said = [_described(sizes, size, values.shape[-1], names)]
    if found.empty:
        said.append(f"folders without a picture are left out: {some(found.empty, _MOST_NAMED)}")
    if found.others:
        n = counted(len(found.others), "other file")
        said.append(f"{n} left alone: {some(found.others, _MOST_NAMED)}")
    called = {name: f"{name.partition('_')[0]} pictures" for name in arrays}
    return Arrays(arrays, called, tuple(names), findings=tuple(notes(said)), files=states)


def names(folder: Path) -> list[str]:
    """Returns the paths of the pictures below a folder, relative to it, in their order, whatever their class."""
    below = sorted(path for path in folder.rglob("*") if _is_picture(path))
    shown = [path for path in below if not any(map(_is_hidden, path.relative_to(folder).parts[:-1]))]
    return [path.relative_to(folder).as_posix() for path in shown]


def pictures(folder: Path, size: int, channels: int) -> np.ndarray:
    """Returns the pictures of ``names`` as ``read`` does, with 1 or 3 channels: [N, size, size, channels] uint8.

    Raises:
      ConfigError: one cannot be read, or has colours where there is one channel; a line for each.
    """
    paths = [folder / name for name in names(folder)]
    room.check(str(folder), 2 * 3 * len(paths) * size**2, f"{counted(len(paths), 'picture')} of {size} × {size} pixels")
    images, _, _, faults = _opened(paths, size, folder)
    if channels == 1:
        faults += [
            f"has {_shown(path, folder)} in colours, where the run's pictures are grey"
            for path, image in zip(paths, images, strict=False)
            if not faults and (image != image[..., :1]).any()
        ]
    if faults:
        raise ConfigError.of_all([ConfigError("rows", str(folder), fault) for fault in faults[:_MOST_FAULTS]])
    return np.stack(images)[..., :channels]


def _described(sizes: Counter, size: int, channels: int, names: Sequence[str]) -> str:
    """Returns what was read, in words."""
    sides = [f"{height} × {width}" for height, width in sorted(sizes)]
    if len(sides) > _MOST_SIZES:
        by_area = sorted(sizes, key=lambda each: (each[0] * each[1], each))
        sides = ["{} × {}".format(*by_area[0]), "{} × {}".format(*by_area[-1])]
    of = f" of {' to '.join(sides) if len(sizes) > _MOST_SIZES else ', '.join(sides)} pixels"
    resized = "" if set(sizes) == {(size, size)} else f", brought to {size} × {size} (data.size)"
    colours = "grey" if channels == 1 else "in colour"
    n = counted(sum(sizes.values()), "picture")
    return f"{n}{of}, {colours}, of {len(names)} classes by folder ({some(names, _MOST_NAMED)}){resized}"


def _found(folder: Path) -> _Found:
    """Returns the files below a folder, by split and class, in the order of their paths."""
    found = _Found({}, [], [], [])
    loose = _take(found, folder, folder, "", "", deep=False)
    top = _folders(folder)
    splits = {each: split_of(each.name) for each in top}
    found.faults.extend(
        f"has the folder {_shown(each, folder)}, whose name is no UTF-8; rename it"
        for each in folder.rglob("*")
        if each.is_dir() and _shown(each, folder) != each.relative_to(folder).as_posix()
    )
    if len(top) == 1 and splits[top[0]] is None and any(holds_pictures(each) for each in (top[0], *_folders(top[0]))):
        found.faults.append(f"has all pictures in one folder; name that, as {_shown(top[0], folder.parent)}/")
        return found
    if not any(split not in (None, _POOL) for split in splits.values()):
        splits = {each: split or "train" for each, split in splits.items()}
        classes = {each: [each] if split != _POOL else [] for each, split in splits.items()}
    else:
        for each in (each for each, split in splits.items() if split is None):
            found.faults.append(f"has {each.name} beside folders of splits; move it into one, as train/{each.name}")
        classes = {each: _folders(each) for each, split in splits.items() if split not in (None, _POOL)}
        loose += [path for each in classes for path in _take(found, folder, each, "", "", deep=False)]
    for each, split in splits.items():
        if split == _POOL:
            _take(found, folder, each, _POOL, "")
        for one in classes.get(each, []):
            if not _take(found, folder, one, str(split), one.name):
                found.empty.append(_shown(one, folder))
    if loose:
        named = some([_shown(path, folder) for path in loose], _MOST_NAMED)
        found.faults.append(f"has pictures in no folder of a class, {named}; move them into one, or into {_POOL}")
    order = ("train", "validation", "test", _POOL)
    return found._replace(by_split={split: found.by_split[split] for split in order if split in found.by_split})


def _take(found: _Found, root: Path, folder: Path, split: str, label: str, deep: bool = True) -> list[Path]:
    """Adds the pictures of a folder to those found, if of a split, and its other files; returns the pictures."""
    below = folder.rglob("*") if deep else folder.iterdir()
    files = sorted(path for path in below if not path.is_dir() or (deep and path.is_symlink()))
    files = [path for path in files if not any(map(_is_hidden, path.relative_to(folder).parts[:-1]))]
    pictures = [path for path in files if _is_picture(path)]
    found.others.extend(_shown(path, root) for path in files if not _is_picture(path))
    if split and pictures:
        found.by_split.setdefault(split, []).extend((path, label) for path in pictures)
    return pictures


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _is_hidden(folder: str) -> bool:
    return folder.startswith((".", "__"))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()


def _shown(path: Path, root: Path) -> str:
    """Returns a path within a folder, of characters that every stream can print."""
    return os.fsencode(path.relative_to(root).as_posix()).decode(errors="replace")


def _opened(paths: Sequence[Path], size: int, root: Path) -> tuple[list[np.ndarray], Counter, list[State], list[str]]:
    """Returns pictures [size, size, 3] uint8, how many have which size, their files, and the faults of others."""
    from PIL import Image

    def one(path: Path) -> tuple[np.ndarray, tuple[int, int], State] | str:
        try:
            state = state_of(path)
            with Image.open(path) as image:
                return *_pixels(image, size), state
        except Exception as error:  # of its format, of which every decoder has its own
            reason = " ".join(str(error).replace(str(path), path.name).split())[:100] or type(error).__name__
            fault = f"has {_shown(path, root)}, no readable picture ({reason}); mend or remove it"
            return fault.encode(errors="replace").decode()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what else a file says
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with ThreadPoolExecutor() as pool:
            made = list(pool.map(one, paths))
    read = [each for each in made if not isinstance(each, str)]
    states = [state for _, _, state in read]
    with unaltered(states):
        faults = [each for each in made if isinstance(each, str)]
        return [pixels for pixels, _, _ in read], Counter(sides for _, sides, _ in read), states, faults


def _pixels(image: Any, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns an opened picture, upright and without alpha, as [size, size, 3] uint8; and its height and width."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    sides = image.height, image.width
    if image.mode[0] in "IF":  # more than 8 bits of grey
        grey = _grey(np.asarray(image))
        image = Image.fromarray(grey).resize((size, size), Image.Resampling.BILINEAR)
        values = np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8)
        return np.repeat(values[..., None], 3, axis=-1), sides
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (_WHITE, _WHITE, _WHITE, 255)), image)
    image = image.convert("RGB")
    if sides != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image), sides


def _grey(values: np.ndarray) -> np.ndarray:
    """Returns grey of 16 bits, or of floats in [0, 1], as float32 from 0 to 255; raises ValueError of others."""
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError("floats outside of [0, 1]")
        return (values * 255).astype(np.float32)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise ValueError("grey of more than 16 bits")
    return (values / 257).astype(np.float32)
