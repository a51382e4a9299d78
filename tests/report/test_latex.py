"""LaTeX shows every letter of a table, and as mathematics what is such; read back by a reader of its own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.report.latex import escaped, tabular

COMMANDS = {
    **{r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\ldots{}": "…"},
    **{r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", "''": '"', "--": "–", "---": "—"},
    **{"{}": "", "{[}": "[", "{]}": "]", "{*}": "*", r"$\pm$": "±", r"$\times$": "×", "$-$": "−"},
    **{f"\\{letter}": letter for letter in "{}$&#%_"},
}
TOKEN = re.compile("|".join(re.escape(each) for each in sorted(COMMANDS, key=len, reverse=True)) + "|.", re.DOTALL)
SPECIAL = '\\{}$&#%_^~<>|"[]*±×…'


def shown(source):
    """What LaTeX shows of a source without numbers; it must hold no letter that means something to LaTeX alone."""
    assert not re.search("[?!]`|``|,,", source)
    tokens = TOKEN.findall(source)
    assert not {token for token in tokens if token not in COMMANDS} & set('\\{}$&#%_^~<>|"[]*')
    return "".join(COMMANDS.get(token, token) for token in tokens)


@given(st.text(st.sampled_from(SPECIAL + "abcé ,.;:()=/'`-–—?!")))
def test_every_letter_is_shown_as_it_is(text):
    assert shown(escaped(text)) == text


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("60%", r"60\%"),
        ("0.880 ± 0.003", r"0.880 $\pm$ 0.003"),
        ("-0.3 [-1.5, +0.8]", r"$-0.3$ {[}$-1.5$, $+0.8${]}"),
        ("−2 points", "$-2$ points"),
        ("+1,234", "$+1{,}234$"),
        ("l2=1e-05", r"l2=$1 \times 10^{-5}$"),
        ("learning_rate=-2.5e+3", r"learning\_rate=$-2.5 \times 10^{3}$"),
        ("--labels ''", "-{}-labels '{}'"),
        ("p = 0.016", "p = 0.016"),
        ("cifar-10", "cifar-10"),
        ("2020-01-02", "2020-01-02"),
        ("v1.2-3", "v1.2-3"),
        ("a-1b", "a-1b"),
        ("", ""),
        ("two\nlines\tand\x07more", "two lines and more"),
    ],
)
def test_numbers_are_mathematics_and_names_are_not(text, source):
    assert escaped(text) == source


def test_a_table_is_a_whole_environment_with_a_cell_a_column():
    rows = [("a & b", "+1.0", "x_1"), ("[c]", "50%", r"\end{tabular}")]
    text = tabular(("what", "how much", "50 % of #"), rows, "lrl")
    lines = text.splitlines()
    assert lines[1] == r"\begin{tabular}{lrl}" and lines[-1] == r"\end{tabular}" and text.endswith("\n")
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert [text.count(f"\\{side}{{") for side in ("begin", "end")] == [1, 1]
    cells = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in lines if line.endswith(r" \\")]
    assert [[shown(cell.strip()) if "$+" not in cell else cell.strip() for cell in row] for row in cells] == [
        ["what", "how much", "50 % of #"],
        ["a & b", "$+1.0$", "x_1"],
        ["[c]", "50%", r"\end{tabular}"],
    ]
    assert all(re.match(r"[a-z{]", line) and not line.startswith("[") for line in lines if line.endswith(r" \\"))
    assert tabular(("a", "b"), []).splitlines()[1] == r"\begin{tabular}{lr}"
