"""An answer names to programs what it was computed by: which code, and which stored stages it took."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pretrain.config import Experiment, FinetuneConfig
from pretrain.report import record as module
from pretrain.report.record import SCHEMA, record
from pretrain.study import code as of_code
from pretrain.study.answer import answer
from tests.report.test_terminal import effects, four_corners


@pytest.fixture(scope="module")
def corners():
    return answer(*four_corners(effects(0.6), effects(0.8)))


def reported(found, **settings):
    return record(found, dataclasses.replace(Experiment(), **settings), "0" * 64, "2 x cpu")


def test_the_format_has_a_number_and_versions_name_the_code(corners):
    found = reported(corners)
    assert found["schema"] == SCHEMA == 4
    assert {"python", "pretrain", "jax", "jaxlib", "flax", "optax", "numpy", "commit", "clean"} <= found[
        "versions"
    ].keys()


def test_the_readme_lists_every_key(corners):
    text = (Path(module.__file__).parents[1] / "study" / "README.md").read_text()
    section = text.split("## answer.json\n")[1].split("\n## ")[0]
    keys = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    found = reported(corners)
    assert {"schema", *re.findall(r"`(\w+)`", " ".join(keys))} == found.keys()
    (design,) = (row for row in section.splitlines() if row.startswith("| `design`"))
    assert found["design"].keys() <= set(re.findall(r"`(\w+)`", design))


def test_an_answer_names_its_basis(corners):
    basis = reported(corners)["basis"]
    assert "paired within a seed" in basis and "is 0.01 for all arms, tuned for none" in basis


def test_an_answer_names_the_weights_of_classes_where_they_are_on(corners):
    for weights in ("none", "balanced"):
        basis = reported(corners, finetune=FinetuneConfig(class_weights=weights))["basis"]
        assert ("weighs each class alike" in basis) == (weights == "balanced")


def test_the_design_says_which_stored_stages_count(corners):
    said = {code: reported(corners, code=code)["design"]["stored_stages"] for code in ("match", "ignore")}
    assert said == {
        "match": "only those that this code would train alike",
        "ignore": "all of the same settings and data, whatever code trained them",
    }


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Returns a function that runs git in a checkout of the module, from which it is taken to run."""
    file = tmp_path / "pretrain" / "study" / "code.py"
    file.parent.mkdir(parents=True)
    shutil.copy(of_code.__file__, file)
    monkeypatch.setattr(of_code, "__file__", str(file))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.invalid", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return git


def code():
    return tuple(of_code.code().values())


def test_code_names_its_commit_and_whether_it_was_changed_since(repository, tmp_path):
    assert code() == (None, None)  # no checkout
    repository("init", "--quiet")
    assert code() == (None, None)  # in a checkout of something else
    repository("add", ".")
    repository("commit", "--quiet", "--message", "one")
    commit = repository("rev-parse", "HEAD")
    assert len(commit) == 40 and code() == (commit, True)
    (tmp_path / "notes.txt").write_text("mine")  # is no code
    assert code() == (commit, True)
    with open(of_code.__file__, "a") as file:
        file.write("# changed\n")
    assert code() == (commit, False)
    repository("commit", "--quiet", "--all", "--message", "two")
    assert code() == (repository("rev-parse", "HEAD"), True) and code() != (commit, True)


def test_an_environment_within_a_checkout_of_other_code_has_no_commit(repository, tmp_path):
    (tmp_path / "mine.py").write_text("")
    repository("init", "--quiet")
    repository("add", "mine.py")
    repository("commit", "--quiet", "--message", "mine")
    assert code() == (None, None)


def test_code_without_git_has_no_commit(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(of_code.subprocess, "run", absent)
    assert code() == (None, None)
