"""Launches without drawing: figures are blank files of the right names, since drawing outlasts all else of a small run.

``python tests/undrawn.py LAUNCHER [ARGUMENT ...]`` runs a launcher so.
"""

import contextlib
import runpy
import sys
from pathlib import Path

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c63fa0f0001050102cfa02ecd0000000049454e44ae426082"
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>'


def blank(figure, directory, name):
    """Writes a blank figure in the place of ``drawing.save``."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.png").write_bytes(PNG)
    (directory / f"{name}.svg").write_text(SVG)
    return SVG


@contextlib.contextmanager
def undrawn():
    """Figures are blank meanwhile."""
    from pretrain.report import drawing

    save, drawing.save = drawing.save, blank
    try:
        yield
    finally:
        drawing.save = save


if __name__ == "__main__":
    _, launcher, *arguments = sys.argv
    sys.argv, sys.path[0] = [launcher, *arguments], str(Path(launcher).parent)
    with undrawn():
        runpy.run_path(launcher, run_name="__main__")
