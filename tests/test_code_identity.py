"""A change of the code trains again what it affects, and nothing else, in launches of a copy of the package."""

import ast
import contextlib
import json
import re
import shutil

import pytest

from tests.launching import N_STAGES, ROOT, contents, copied, execute, n_run, results

LOSS = ("learn/methods/autoencoder.py", "    loss = jnp.mean(errors)\n", "    loss = 1.5 * jnp.mean(errors)\n")
LOGITS = ("learn/stack.py", "        return apply(self.head, ", "        return 1.5 * apply(self.head, ")
REPEATED = {  # of two seeds; fine-tunings from He have no such stage before them
    "pretrain/0": (2, "another program"),
    "pretrain/1": (2, "another program"),
    "finetune": (4, "after a stage that runs again"),
}


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """A copy of the package, its configs and its launcher."""
    path = tmp_path_factory.mktemp("code")
    shutil.copytree(ROOT / "pretrain", path / "pretrain", ignore=shutil.ignore_patterns("mnist.npz"))
    shutil.copytree(ROOT / "configs", path / "configs")
    shutil.copy(ROOT / "launch.py", path)
    return path


@pytest.fixture(scope="module")
def at(site, run):
    """Options for a run whose store holds the stages that the original code has trained."""
    return copied(site, "identity")


@contextlib.contextmanager
def edited(code, file, old, new):
    """Edits a file of the copy for a while."""
    path = code / "pretrain" / file
    text = path.read_text()
    assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
    assert len(new) != len(old), "bytecode of an edit within a second is known to be stale by the size of its source"
    path.write_text(text.replace(old, new))
    yield
    path.write_text(text)


def launched(site, code, *options):
    """A launch of the copy."""
    done = execute(site.command(*options, launcher=code / "launch.py"), code)
    assert done.returncode == 0, done.stderr
    return done


def with_other_words(tree):
    """The same code with other docstrings."""
    for node in ast.walk(tree):
        named = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if named and ast.get_docstring(node) is not None:
            node.body[0] = ast.Expr(ast.Constant("Says the same in other words."))
    return tree


def moved(source, target, *functions):
    """Moves functions to a new file, from which the old one imports them."""
    text = source.read_text()
    body = ast.parse(text).body
    imports = [ast.get_source_segment(text, node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    found = {node.name: ast.get_source_segment(text, node) for node in body if isinstance(node, ast.FunctionDef)}
    target.write_text("\n".join([*imports, *(found[name] for name in functions)]) + "\n")
    for name in functions:
        text = text.replace(found[name], f"from pretrain.learn.{target.stem} import {name}")
    source.write_text(text)


def test_code_that_is_renamed_moved_and_written_in_other_words_trains_nothing(site, run, code, at, tmp_path):
    rewritten = shutil.copytree(code, tmp_path / "rewritten")
    learn = rewritten / "pretrain" / "learn"
    moved(learn / "methods" / "autoencoder.py", learn / "reconstructions.py", "reconstruction", "mse")
    file = learn / "reconstructions.py"
    file.write_text(re.sub(r"\berrors\b", "squared_differences", file.read_text()))
    assert "squared_differences = " in file.read_text()
    for path in (rewritten / "pretrain").rglob("*.py"):
        # Without comments and the author's line breaks.
        path.write_text(ast.unparse(with_other_words(ast.parse(path.read_text()))) + "\n")
    done = launched(site, rewritten, *at)
    assert (n_run(done), done.stderr) == (0, "")
    assert results(site.path / "identity-run") == results(run)


def test_a_dry_run_lists_what_a_change_affects_and_why(site, code, at):
    before = contents(site.path / "identity-store")
    dry = [*at[2:], "--run-dir", "dry", "--dry-run"]
    with edited(code, *LOSS):
        reported = launched(site, code, *dry).stdout.splitlines()[-1]
    assert reported == "8 of 12 stages would run: 4 another program, 4 after a stage that runs again"
    reported = site.launch(*dry, "--finetune.l2", "0.25", "--seeds", "3").stdout.splitlines()[-1]
    assert reported == "14 of 18 stages would run: 14 new settings"
    assert site.launch(*dry).stdout.splitlines()[-1] == "0 of 12 stages would run"
    assert contents(site.path / "identity-store") == before
    assert not any((path / "dry").exists() for path in (code, site.path))


@pytest.mark.slow
def test_a_change_of_the_last_stage_affects_no_other(site, code, at):
    with edited(code, *LOGITS):
        reported = launched(site, code, *at[2:], "--run-dir", "dry", "--dry-run").stdout.splitlines()[-1]
    assert reported == "8 of 12 stages would run: 8 another program"


def test_stored_stages_can_be_taken_whatever_code_trained_them(site, run, code, at):
    with edited(code, *LOSS):
        done = launched(site, code, "--run-dir", "ignoring", *at[2:], "--code", "ignore")
    assert (n_run(done), done.stderr) == (0, "")
    assert results(code / "ignoring") == results(run)
    reported = json.loads((code / "ignoring" / "answer.json").read_text())
    assert reported["design"]["stored_stages"] == "all of the same settings and data, whatever code trained them"
    page = (code / "ignoring" / "report.html").read_text()
    assert reported["design"]["stored_stages"] in page
    # The copy is under nobody's version control.
    assert reported["schema"] == 4 and (reported["versions"]["commit"], reported["versions"]["clean"]) == (None, None)
    assert json.loads((run / "answer.json").read_text())["design"]["stored_stages"] == (
        "only those that this code would train alike"
    )


def test_a_change_of_a_loss_trains_what_it_affects_again_and_going_back_finds_what_was_there(site, run, code, at):
    directory = site.path / "identity-run"
    with edited(code, *LOSS):
        changed = launched(site, code, *at)
        assert n_run(changed) == 8 < N_STAGES
        parts = ", ".join(f"{n} of {name} ({reason})" for name, (n, reason) in REPEATED.items())
        assert changed.stderr.splitlines()[0] == (
            f"8 stored stages run again: {parts}; --code ignore takes them as they are"
        )
        found = results(directory)
        assert found.keys() == results(run).keys() and all(found[name] != results(run)[name] for name in found)
    back = site.launch(*at)  # of the code that the copy was made from
    assert (n_run(back), back.stderr) == (0, "")
    assert results(directory) == results(run)
