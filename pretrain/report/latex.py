"""Tables as LaTeX, to be read in with ``\\input`` where the package ``booktabs`` is loaded."""

import re
from collections.abc import Iterable, Sequence

from pretrain.report.letters import plain

_LETTERS = {
    **{letter: f"\\{letter}" for letter in "{}$&#%_"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    # As they are, these would come out as other letters in LaTeX's own fonts.
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    # At the beginning of a row, these would be arguments of the end of the row before.
    **{"[": "{[}", "]": "{]}", "*": "{*}"},
    **{"±": r"$\pm$", "×": r"$\times$", "−": "$-$", "≤": r"$\leq$", "≥": r"$\geq$"},
    **{"–": "--", "—": "---", "…": r"\ldots{}", "\u00a0": "~"},
}
# A letter that would melt into one sign with the next.
_LIGATURE = re.compile("[-–—](?=[-–—])|['\"](?=['\"])|`(?=`)|,(?=,)|[?!](?=`)")
# A number with a sign or an exponent, which stands by itself: no part of a name or a range.
_NUMBER = re.compile(r"(?<![\w.)\]])([+\-−]?)(\d[\d,]*(?:\.\d+)?|\.\d+)(?:e([+-]?\d+))?(?![\w.])")


def tabular(headings: Sequence[str], rows: Iterable[Sequence[str]], align: str | None = None) -> str:
    """Returns a complete ``tabular`` environment.

    Args:
      headings: of the columns.
      rows: cells as plain text, of which every letter is shown as it is.
      align: ``l`` or ``r`` for each column; by default the first is ``l``.
    """
    lines = [_row(headings), r"\midrule", *map(_row, rows)]
    body = "\n".join(lines)
    columns = align or "l" + "r" * (len(headings) - 1)
    head = f"% needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule"
    return f"{head}\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def escaped(text: str) -> str:
    """Returns plain text as LaTeX shows it; numbers with a sign or an exponent are set as mathematics."""
    text, parts, end = plain(text), [], 0
    for match in _NUMBER.finditer(text):
        sign, digits, exponent = match.groups()
        if not sign and not exponent:
            continue
        parts += [_letters(text[end : match.start()]), _number(sign, digits, exponent)]
        end = match.end()
    return "".join([*parts, _letters(text[end:])])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def _letters(text: str) -> str:
    apart = {match.start() for match in _LIGATURE.finditer(text)}
    return "".join(_LETTERS.get(letter, letter) + "{}" * (index in apart) for index, letter in enumerate(text))


def _number(sign: str, digits: str, exponent: str | None) -> str:
    power = rf" \times 10^{{{int(exponent)}}}" if exponent else ""
    return f"${sign.replace('−', '-')}{digits.replace(',', '{,}')}{power}$"
