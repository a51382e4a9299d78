"""Parts that all figures share: canvas, colours, wrapped names, and files."""

import contextlib
import io
import logging
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretrain.report.letters import plain

# Okabe and Ito's palette: distinguished with any kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_SERIES = 3  # of these are too dark for a dark page, which sets them by ``--series-0`` and so on
DASHES = ("-", "--", "-.", ":")
INK = "#1b1b1b"
WIDTH = 5.4  # inches; so narrow that letters stay legible where a page is 400 pixels wide
_DOTS = 240  # per inch
_LONGEST_NAME = 120  # characters


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """Draws in matplotlib's own style meanwhile, whatever a notebook has set, and without its remarks."""
    with quiet(), warnings.catch_warnings():
        import matplotlib

        warnings.simplefilter("ignore", UserWarning)  # of letters that a font lacks, and of room that it lacks
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what matplotlib logs, as of caches of fonts that it writes, from the terminal."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


class Drawing(NamedTuple):
    """A figure with its words."""

    name: str  # of its files
    figure: Any
    caption: str
    alt: str  # for readers who do not see it


def canvas(height: float, columns: int = 1, rows: int = 1, sharey: bool = True):
    """Returns a figure of a height (inches) and its axes, plain and with ink of one colour."""
    import matplotlib
    from matplotlib.figure import Figure  # half a second to import, and only needed when there is a run to draw

    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with matplotlib.rc_context(dict.fromkeys(ink, INK)):
        figure = Figure(figsize=(WIDTH, height), dpi=_DOTS, layout="constrained")
        all_axes = figure.subplots(rows, columns, sharey=sharey)
    for axes in np.ravel(all_axes):
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, all_axes


def panels(n: int, height: float, margin: float, sharey: bool = False):
    """Returns a figure of so many panels in two columns, each of a height (inches), and the panels."""
    columns = min(2, n)
    rows = -(-n // columns)
    figure, all_axes = canvas(margin + height * rows, columns, rows, sharey)
    for axes in np.ravel(all_axes)[n:]:
        axes.set_axis_off()
    return figure, np.ravel(all_axes)[:n]


def style(index: int, **more) -> dict[str, Any]:
    """Returns the style of the line of an index, as Matplotlib takes it."""
    return {"color": COLOURS[index], "linestyle": DASHES[index % len(DASHES)], **more}


def title(figure, text: str) -> None:
    """Writes a figure's title over all of its width, so that long names beside the axes do not push it out."""
    figure.suptitle(text, x=0.02, ha="left", fontsize=10, color=INK)


def legend(figure, *all_axes) -> None:
    """Writes a legend under a figure that names the lines of some axes, and makes the figure so much higher."""
    handles, labels = [], list[str]()
    for axes in all_axes:
        pairs = zip(*axes.get_legend_handles_labels(), strict=True)
        others = [(handle, label) for handle, label in pairs if label not in labels]
        handles += [handle for handle, _ in others]
        labels += [label for _, label in others]
    if not handles:
        return
    columns = 2 if max(map(len, labels)) < 28 else 1
    n_lines = sum(1 + label.count("\n") for label in labels)
    figure.set_figheight(figure.get_figheight() + 0.22 * -(-n_lines // columns) + 0.1)
    style = {"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 3}
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, **style)


def thin_lines(axes, lines: np.ndarray, colours: str | Sequence[str], linewidth: float, alpha: float) -> None:
    """Draws many lines [N, points, 2] as one artist, for thousands take seconds; markers are the caller's."""
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(lines, colors=colours, linewidths=linewidth, alpha=alpha, zorder=2))


def written(name: str, width: int = 60) -> str:
    """Returns a name as a figure shows it: as it is, no formula, in lines of at most so many characters."""
    name = plain(name)
    name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return "\n".join(textwrap.wrap(name, width)).replace("$", r"\$")


def save(figure, directory: Path, name: str) -> str:
    """Writes a figure as PNG and SVG, and returns the SVG for a page.

    There ink takes the colour of the text around it, the first colours can be set by the page, which may be dark, and
    no other figure has the same ids.
    """
    import matplotlib

    directory.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": name}):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of names in other scripts, which tables show
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine(None)  # laid out by now, which every drawing would do twice again
        figure.savefig(directory / f"{name}.png", format="png")
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    (directory / f"{name}.svg").write_text(text.getvalue(), encoding="utf-8")
    body = text.getvalue()
    body = re.sub(r"\s*(<!--.*?-->|<metadata>.*?</metadata>)", "", body[body.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for number, colour in enumerate(COLOURS[:_SERIES]):
        body = body.replace(colour.lower(), f"var(--series-{number}, {colour.lower()})")
    return body.replace(INK, "currentColor").replace("#000000", "currentColor")
