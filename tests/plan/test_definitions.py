"""Digests of definitions ignore local names, words and places, and nothing else."""

import re

import pytest

from pretrain.plan import definitions

SOURCE = """
import numpy as np

from pretrain import helpers

_SCALE = 2.0


def moved(rows, *, n_lanes=4):
    kept = {}
    for place, row in enumerate(rows):
        if place < n_lanes and not row.empty:
            kept[f"lane {place:03}"] = helpers.halved(row) * _SCALE
        else:
            continue
        row.close(now=True)
    try:
        return [np.float32(each[0]) for each in kept.values()], lambda rows: rows.max()
    except KeyError as error:
        raise ValueError("no lane") from error


class Kept:
    def taken(self, lane):
        return self.rows[lane]
"""
HELPERS = "from pretrain.parts import part\n\n\ndef halved(row):\n    return part(row) / 2\n"
PARTS = "def part(row):\n    return row[1:]\n"
FILES = {"source": SOURCE, "helpers": HELPERS, "parts": PARTS}
GOLDEN = "92dcf92192a8fb99cbf7efca5b65610cde1adcc252ef49d2741863410378bce3"  # on every Python


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """Returns a function that gives the digests of a function and of a method, whose modules have some sources."""
    root = tmp_path / "pretrain"
    (root / "plan").mkdir(parents=True)
    monkeypatch.setattr(definitions, "__file__", str(root / "plan" / "definitions.py"))

    def forget():
        definitions._module.cache_clear()
        definitions.digest_of.cache_clear()

    def make(**changed):
        forget()
        for name, text in (FILES | changed).items():
            (root / f"{name}.py").write_text(text)
        return [definitions.digest_of("pretrain.source", name) for name in ("moved", "Kept.taken")]

    yield make
    forget()


def replaced(text, *pairs):
    for old, new in pairs:
        text, n = re.subn(old, new, text)
        assert n, old
    return text


LOCALS = {"kept": "found", "place": "i", "row": "kept", "each": "row", "error": "e"}
ALIKE = {
    "locals": {"source": replaced(SOURCE, *((rf"\b{old}\b", new) for old, new in LOCALS.items()))},
    "a constant's name": {"source": replaced(SOURCE, ("_SCALE", "_FACTOR"))},
    "a place": {"source": replaced(SOURCE, ("helpers", "parts")), "parts": PARTS + HELPERS.partition("part\n")[2]},
    "an import": {"source": replaced(SOURCE, ("import numpy as np", "import numpy"), (r"np\.", "numpy."))},
    "a docstring": {"source": replaced(SOURCE, ("    kept = {}", '    """Words."""\n    kept = {}'))},
    "a comment": {"source": replaced(SOURCE, ("kept = {}", "kept = (  # nothing yet\n        {}\n    )"))},
    "annotations": {
        "source": replaced(SOURCE, (r"rows, \*, n_lanes", "rows: list, *, n_lanes: int"), ("kept =", "kept: dict ="))
    },
    "a neighbour": {
        "source": replaced(SOURCE, ("class Kept:", "class Kept:\n    def other(self):\n        return 1\n"))
    },
}
UNLIKE = {
    "source": [
        *(("<", "<="), ("and not", "or not"), (r"\* _SCALE", "/ _SCALE"), ("not row", "row")),  # operators
        *(
            ("=4", "=5"),
            ("2.0", "2.5"),
            ("2.0", "2"),
            ("lane {", "Lane {"),
            (":03", ":04"),
            (r"\[0\]", "[1]"),
            ("True", "False"),
        ),
        *((r"\.empty", ".full"), ("float32", "float16"), ("now=", "then="), ("import numpy", "import jax.numpy")),
        *(("KeyError", "IndexError"), ("kept.values", "rows.values"), ("rows.max", "kept.max")),  # names
        *(
            (r"\n        row.close.*", ""),
            (" from error", ""),
            ("        else:\n    ", ""),
            ("        row.close", "            row.close"),
        ),
    ],
    "helpers": [("/ 2", "/ 3"), ("part\\(row\\)", "row")],
    "parts": [("1:", "2:")],
}


@pytest.mark.parametrize("change", ALIKE)
def test_what_decides_nothing_changes_no_digest(change, digests):
    assert FILES | ALIKE[change] != FILES
    assert digests(**ALIKE[change]) == digests()


@pytest.mark.parametrize(("file", "pair"), [(file, pair) for file, pairs in UNLIKE.items() for pair in pairs])
def test_any_other_change_of_a_function_or_of_what_it_calls_does(file, pair, digests):
    of_function, of_method = digests(**{file: replaced(FILES[file], pair)})
    assert of_function != digests()[0] and of_method == digests()[1]


def test_digests_are_those_of_every_python(digests):
    assert digests()[0] == GOLDEN


def test_definitions_that_name_each_other_are_read_once(digests):
    def circle(first, second):
        text = "def moved(n):\n    return n and {0}(n - 1)\n\n\ndef {0}(n):\n    return {1}\n\n\n{2}"
        return {"source": text.format(first, second, SOURCE[SOURCE.index("class") :])}

    names = [digests(**circle(*pair))[0] for pair in (("odd", "moved(n)"), ("even", "moved(n)"), ("odd", "odd(n)"))]
    assert names[0] == names[1] != names[2]
