"""READMEs cannot rot: their commands are taken, their Python runs as it stands, and their links lead somewhere.

Launches of the top README are planned, with ``--dry-run``, others read and checked; tests/test_launch.py and
tests/config/test_config_files.py train.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pretrain.commands.command_line import parse
from pretrain.commands.launch import main
from tests.data.sources import people, write_csv
from tests.launching import ROOT

READMES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("**/README.md") if ".venv" not in path.parts)
CONFIGS = ROOT / "configs"
BENCHES = {path.stem for path in (ROOT / "tests" / "bench").glob("*.py")}
GITHUB_DROPS = re.compile(r"[^\w\- ]")


def text_of(readme):
    return (ROOT / readme).read_text()


def commands_of(readme):
    """The shell commands of a README: indented lines and code within a line or a table."""
    text = re.sub(r"^```.*?^```$", "", text_of(readme), flags=re.M | re.S)
    lines = re.findall(r"^    (.*)$", text, flags=re.M)
    lines += [" ".join(code.split()) for code in re.findall(r"`(python[^`]+)`", text)]
    for line in lines:
        for command in re.split(r"\s+&&\s+", line):
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]  # an environment variable
            if words:
                yield words


def blocks_of(readme):
    return re.findall(r"^```python\n(.*?)^```$", text_of(readme), flags=re.M | re.S)


LAUNCHES = sorted(
    {
        (readme, *words[words.index("launch.py") + 1 :])
        for readme in READMES
        for words in commands_of(readme)
        if "launch.py" in words and not {"NAME", "CONFIG", "path/to/it.py"} & set(words)
    }
)
OTHERS = sorted({(readme, *words) for readme in READMES for words in commands_of(readme) if "launch.py" not in words})


def test_readmes_stand_where_the_top_one_sends_people():
    folders = ("", "configs/", "pretrain/", "pretrain/data/", "pretrain/study/", "pretrain/sweep/", "tests/")
    assert sorted(f"{folder}README.md" for folder in folders) == READMES
    assert len(text_of("README.md").encode()) <= 8192


@pytest.fixture
def place(tmp_path, monkeypatch, run, tiny_arrays):
    """A directory with what README's commands find there: a run, data and layers of one's own."""
    (tmp_path / "runs").mkdir()
    shutil.copytree(run, tmp_path / "runs" / "geron")
    shutil.copytree(run.with_name("first-store") / "packs", tmp_path / "runs" / "store" / "packs")
    shutil.copytree(CONFIGS, tmp_path / "configs")
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 256, (8000, 8, 8), dtype=np.uint8) for name in ("train_images", "test_images")}
    labels = {name: rng.integers(0, 10, 8000) for name in ("train_labels", "test_labels")}
    np.savez(tmp_path / "my.npz", **arrays, **labels)
    write_csv(people(), tmp_path / "people.csv")
    (tmp_path / "arrays").mkdir()
    for name, array in {**arrays, **labels}.items():
        np.save(tmp_path / "arrays" / f"{name}.npy", array)
    (tmp_path / "my_data.py").write_text("import numpy as np\n\n\ndef load():\n    return dict(np.load('my.npz'))\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("launch", LAUNCHES, ids=" ".join)
def test_a_launch_of_a_readme_is_one_that_the_launcher_takes(launch, place, capsys):
    readme, *argv = launch
    if argv[:1] not in (["report"], ["table"], ["store"]) and "--help" not in argv:
        if readme != "README.md":
            names = bool(argv) and not argv[0].startswith("-")
            name, options = (argv[0], argv[1:]) if names else ("geron", argv)
            assert parse(options, config_of(name), name, "").experiment
            return
        argv = [*argv, "--dry-run"]
    try:
        code = main(argv, configs=CONFIGS)
    except SystemExit as stop:  # of --help
        code = stop.code
    shown = capsys.readouterr()
    assert code in (0, None), shown.err
    assert shown.out


def config_of(name):
    """The experiment of a config, named as on a command line."""
    file = CONFIGS / f"{name}.py" if "/" not in name else ROOT / name
    names: dict = {"__file__": str(file)}
    exec(compile(file.read_text(), file, "exec"), names)
    return names["get_config"]()


@pytest.mark.parametrize("command", OTHERS, ids=" ".join)
def test_another_command_of_a_readme_names_what_there_is(command):
    _, program, *rest = command
    program = Path(program).name or program
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if program == "pip" or rest[:2] == ["-m", "pip"]:
        for extra in re.findall(r"\[(\w+)\]", " ".join(rest)):
            assert extra in extras
    elif program in ("python", "python3"):
        module = rest[rest.index("-m") + 1]
        assert module in {"venv", "pytest", "pretrain", *(f"tests.bench.{name}" for name in BENCHES)}
        if module.startswith("tests.bench."):
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
            done = subprocess.run([sys.executable, "-m", module, "--help"], **options)
            assert done.returncode == 0, done.stderr
            for option in (word for word in rest if word.startswith("--")):
                assert option in done.stdout
    else:  # options alone are those of a patch, which tests/test_readme_of_pretrain.py launches with
        assert program in {"ray", "."} or program.startswith("--")


# Python of pretrain/README.md needs its patches: tests/test_readme_of_pretrain.py runs it, in a copy with them.
@pytest.mark.parametrize(
    ("readme", "number"),
    [(name, number) for name in READMES if name != "pretrain/README.md" for number in range(len(blocks_of(name)))],
)
def test_python_of_a_readme_runs(readme, number, place):
    block = blocks_of(readme)[number]
    names: dict = {}
    exec(compile(block, readme, "exec"), names)
    if "get_config" in names:
        (place / "asked.py").write_text(block)
        assert main(["asked.py", "--dry-run"], configs=CONFIGS) == 0


def anchors_of(path):
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.M)
    return {GITHUB_DROPS.sub("", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", READMES)
def test_links_of_a_readme_lead_somewhere(readme):
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text_of(readme), flags=re.S)):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / readme).parent / name if name else ROOT / readme
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target), link
