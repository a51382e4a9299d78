"""Sets made on demand after Larochelle et al. (2007), "An empirical evaluation of deep architectures", from one seed.

Images are 28 x 28 bytes. Their online companion has the rules: of digits, rotated or on noise, which are drawn from
MNIST; of rectangles, tall or wide; and of sets of pixels, convex or not.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

_SIDE = 28  # pixels
_WHITE = 255
_SEED = 2007
_BLOCK = 4096  # candidates that are drawn at once
Images = np.ndarray  # [N, 28, 28, 1] uint8
CLASSES = {"rectangles": ("wide", "tall"), "convex": ("not convex", "convex")}  # of other sets, digits


class Sizes(NamedTuple):
    """Rows by split."""

    train: int
    validation: int
    test: int


_OF_DIGITS = Sizes(10_000, 2_000, 50_000)
SIZES = {
    "mnist_basic": _OF_DIGITS,
    "mnist_rot": _OF_DIGITS,
    "mnist_back_rand": _OF_DIGITS,
    "rectangles": Sizes(1_000, 200, 50_000),
    "convex": Sizes(6_500, 1_500, 50_000),
}


def make(
    name: str, digits: Callable[[], tuple[Images, np.ndarray]], sizes: Sizes | None = None
) -> dict[str, np.ndarray]:
    """Returns the arrays of a set by canonical name.

    Args:
      name: a key of ``SIZES``.
      digits: returns all images of MNIST and their labels [N].
      sizes: rows by split; by default those of the paper.
    """
    sizes, rng = sizes or SIZES[name], np.random.default_rng(_SEED)
    if name in ("rectangles", "convex"):
        images, labels = (_rectangles if name == "rectangles" else _convex)(rng, sum(sizes))
    else:
        images, labels = digits()
        rows = rng.permutation(len(images))[: sum(sizes)]
        images, labels = _CHANGES[name](rng, images[rows]), labels[rows]
    ends = np.cumsum(sizes)[:-1]
    inputs, targets = (dict(zip(sizes._fields, np.split(each, ends), strict=True)) for each in (images, labels))
    return {f"{split}_inputs": inputs[split] for split in inputs} | {
        f"{split}_labels": targets[split] for split in targets
    }


def _rotated(rng: np.random.Generator, images: Images) -> Images:
    """Returns images turned about their middle by any angle, by bilinear interpolation."""
    from scipy import ndimage

    turned = np.empty_like(images)
    for image, degrees, into in zip(images, rng.uniform(0, 360, len(images)), turned, strict=True):
        into[..., 0] = ndimage.rotate(image[..., 0], degrees, reshape=False, order=1)
    return turned


def _on_noise(rng: np.random.Generator, images: Images) -> Images:
    """Returns images before noise, each value of which is as likely."""
    return np.maximum(images, rng.integers(0, _WHITE, images.shape, np.uint8, endpoint=True))


_CHANGES: dict[str, Callable[[np.random.Generator, Images], Images]] = {
    "mnist_basic": lambda rng, images: images,
    "mnist_rot": _rotated,
    "mnist_back_rand": _on_noise,
}


def _rectangles(rng: np.random.Generator, n: int) -> tuple[Images, np.ndarray]:
    """Returns outlines of rectangles, whose sides differ by three pixels or more; 1 where they are tall."""
    sides = rng.integers(1, _SIDE, (3 * n, 2), endpoint=True)  # a fifth is refused
    sides = sides[np.abs(sides[:, 0] - sides[:, 1]) >= 3][:n]
    first = (rng.uniform(size=(n, 2)) * (_SIDE - sides + 1)).astype(int)[:, None]
    places = np.arange(_SIDE)[:, None]
    last = first + sides[:, None] - 1
    inside = (places >= first) & (places <= last)  # [N, 28, axis]
    edge = (places == first) | (places == last)
    down, right = inside[:, :, None, 0], inside[:, None, :, 1]
    outline = down & right & (edge[:, :, None, 0] | edge[:, None, :, 1])
    return _bytes(outline), (sides[:, 0] > sides[:, 1]).astype(np.uint8)


def _convex(rng: np.random.Generator, n: int) -> tuple[Images, np.ndarray]:
    """Returns sets of pixels, half of them convex, which are 1.

    A convex set is what half-planes have in common; another is the union of two to four of them. Their parameters give
    both kinds as many pixels on average.
    """
    labels = rng.permutation(np.arange(n) % 2).astype(np.uint8)
    images = np.empty((n, _SIDE, _SIDE), bool)
    single, parts = _intersections(rng, 0.195, 19), _intersections(rng, 0.07, 10)
    for row, label in enumerate(labels):
        pixels = next(single)
        while not label:
            pixels = np.any([next(parts) for _ in range(rng.integers(2, 4, endpoint=True))], axis=0)
            label = not is_convex(pixels)
        images[row] = pixels
    return _bytes(images), labels


def _intersections(rng: np.random.Generator, probability: float, fewest: int) -> Iterator[np.ndarray]:
    """Yields sets of pixels [28, 28] bool that half-planes of a geometrically distributed number have in common."""
    places = np.arange(_SIDE)
    while True:
        counts = rng.geometric(probability, _BLOCK) - 1  # none leaves the whole image
        left, right = np.zeros((_BLOCK, _SIDE)), np.full((_BLOCK, _SIDE), _SIDE - 1.0)  # ends of each row of pixels
        for number in range(counts.max()):
            rows = np.flatnonzero(counts > number)
            down, across = rng.uniform(0, _SIDE - 1, (2, len(rows), 1))
            angle = rng.uniform(0, 2 * np.pi, (len(rows), 1))
            border = across - (places - down) * np.tan(angle)  # where a half-plane begins or ends
            begins = np.cos(angle) > 0
            left[rows] = np.maximum(left[rows], np.where(begins, border, 0))
            right[rows] = np.minimum(right[rows], np.where(begins, _SIDE - 1, border))
        pixels = (places >= left[..., None]) & (places <= right[..., None])
        yield from pixels[pixels.sum((1, 2)) >= fewest]


def is_convex(pixels: np.ndarray) -> bool:
    """Returns whether a set of pixels [H, W] holds every pixel between any of its pixels."""
    from scipy.spatial import ConvexHull

    if pixels.all():
        return True
    for lines in (pixels, pixels.T):
        if (np.count_nonzero(np.diff(lines.astype(np.int8), prepend=0, append=0), axis=1) > 2).any():
            return False  # a line of pixels has a gap
    own = np.argwhere(pixels)
    if np.linalg.matrix_rank(own - own[0]) < 2:  # on one line
        return len(own) == np.gcd(*np.ptp(own, axis=0)) + 1
    sides = ConvexHull(own).equations
    return not ((np.argwhere(~pixels) @ sides[:, :2].T + sides[:, 2]) <= 1e-9).all(axis=1).any()


def _bytes(pixels: np.ndarray) -> Images:
    """Returns white pixels on black."""
    return (pixels[..., None] * _WHITE).astype(np.uint8)
