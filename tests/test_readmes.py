"""READMEs cannot rot: their commands are taken, their Python runs as it stands, and their links lead somewhere.

Every launch is read as it stands; those of the top README are planned, shortened by appended options, and the slow
tests run all launches so.
"""

import itertools
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
import safetensors.numpy
from PIL import Image

from pretrain import load_run
from pretrain.commands.command_line import parse
from pretrain.commands.launch import main
from tests.data.sources import people, write_csv
from tests.launching import ROOT, call

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
    inner = ("data", "study", "plan", "store", "engines", "models")
    folders = ("", "configs/", "pretrain/", *(f"pretrain/{name}/" for name in inner), "tests/")
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
    arrays = {name: rng.integers(0, 256, (3000, 8, 8), dtype=np.uint8) for name in ("train_images", "test_images")}
    labels = {name: rng.integers(0, 10, 3000) for name in ("train_labels", "test_labels")}
    labels["train_labels"][-500:] = -1  # which pretrain only
    np.savez(tmp_path / "my.npz", **arrays, **labels)
    write_csv(people(), tmp_path / "people.csv")
    shutil.copy(tmp_path / "people.csv", tmp_path / "diabetes.csv")
    text = (tmp_path / "diabetes.csv").read_text().replace("income", "target", 1)
    (tmp_path / "diabetes.csv").write_text(text)
    for number in range(200):
        picture = tmp_path / "pictures" / f"class {number % 2}" / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(picture)
    write_results(tmp_path)
    np.save(tmp_path / "rows.npy", tiny_arrays["test_images"])
    encoder = {f"layers_{layer}.kernel": np.ones(shape, "f") for layer, shape in enumerate(((64, 6), (6, 5)))}
    encoder |= {f"layers_{layer}.bias": np.ones(units, "f") for layer, units in enumerate((6, 5))}
    safetensors.numpy.save_file(encoder, tmp_path / "encoder.safetensors", metadata={"format": "flax"})
    (tmp_path / "arrays").mkdir()
    for name, array in {**arrays, **labels}.items():
        np.save(tmp_path / "arrays" / f"{name}.npy", array)
    (tmp_path / "my_data.py").write_text("import numpy as np\n\n\ndef load():\n    return dict(np.load('my.npz'))\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_results(directory):
    """Tables of results as of another program: rows of one dataset and of several, and a column an arm."""
    rng = np.random.default_rng(0)
    names, rows, wide = "abcdef", ["dataset,method,seed,accuracy"], ["seed,ours,plain"]
    for dataset, seed in itertools.product(names, range(8)):
        plain, ours = rng.normal((0.8, 0.82), 0.01)
        rows += [f"{dataset},plain,{seed},{plain:.4f}", f"{dataset},ours,{seed},{ours:.4f}"]
        wide += [f"{seed},{ours:.4f},{plain:.4f}"] if dataset == names[0] else []
    first = [row for row in rows if row.startswith(f"{names[0]},") or row == rows[0]]
    for name, lines in (("sets", rows), ("results", first), ("wide", wide)):
        (directory / f"{name}.csv").write_text("\n".join(lines) + "\n")


COMMANDS = {"report", "table", "store", "judge", "encode", "predict", "export", "runs", "compare", "reproduce"}
EXPERIMENTS = sorted({launch[1:] for launch in LAUNCHES if not COMMANDS & {*launch}})
ELSEWHERE = {"--engine", "--engine.distributed"}  # run by tests/engines/test_ray_engine.py and its neighbours
# Of the top README; tracing the programs of the two left out takes longer than all others together.
PLANNED = [
    argv
    for argv in EXPERIMENTS
    if ("README.md", *argv) in LAUNCHES and argv[:1] not in [("why",), ("--encoder.layers",)]
]
SHORT = {  # for fields that a launch does not name itself
    "--data.name": ["my.npz"],
    "--data.validation": ["60"],
    "--data.unlabelled": ["100"],
    "--pretrain.epochs": ["1"],
    "--pretrain.batch-size": ["20"],
    "--finetune.labels": ["40"],
    "--finetune.batch-size": ["20"],
    "--finetune.epochs": ["1"],
    "--finetune.updates": ["0"],
    "--finetune.optimizer.learning-rate": ["0.01"],
}
OF_TRAINING = {f"--finetune.{name}" for name in ("batch-size", "epochs", "updates", "optimizer.learning-rate")}
OF_OWN_DATA = {  # where training ends early, and arms are tuned
    "--data.name": ["my.npz"],
    "--data.validation": ["60"],
    "--pretrain.updates": ["30"],
    "--pretrain.validate-every": ["2"],
    "--pretrain.batch-size": ["20"],
    "--finetune.labels": ["40"],
    "--finetune.batch-size": ["20"],
    "--finetune.updates": ["15"],
    "--finetune.validate-every": ["1"],
    "--tune": ["finetune.optimizer.learning_rate=0.001,0.01"],
}
FEWER = {"--seeds": ["2"], "--study.most-seeds": ["16"]}


def named_of(argv):
    """The name of a launch's config, and its options."""
    if argv and not argv[0].startswith("-"):
        return argv[0], argv[1:]
    return "does_it_help" if "--data.name" in argv else "geron", argv


def experiment_of(argv):
    """The experiment of a launch, as it stands."""
    name, options = named_of(argv)
    return parse(options, config_of(name), name, "").experiment


def shortened(argv):
    """The launch of two seeds on a little data, of an epoch each and small layers, but for what it names itself."""
    name, options = named_of(argv)
    words, named = [name, *options], " ".join(argv)
    if name in ("does_it_help", "checkpoint"):
        for option, values in (OF_OWN_DATA | {"--encoder.layers": ["6", "5"]} | FEWER).items():
            words += [] if option in argv else [option, *values]
        return words
    stops_early = experiment_of(argv).finetune.stop == "validation"
    lengths = {"--finetune.epochs": ["4"], "--finetune.validate-every": ["1"]} if stops_early else {}
    trains = experiment_of(argv).finetune.readout == "none"
    for option, values in (SHORT | lengths).items():
        if not trains and option in OF_TRAINING:
            continue
        if option not in argv and f"{option.removeprefix('--').replace('-', '_')}=" not in named:
            words += [option, *values]
    if "--encoder.layers" not in argv:
        words += ["--encoder.layers", *("6", "5", "4")[: len(experiment_of(argv).encoder.layers)]]
    for option, values in FEWER.items():
        words += [option, *values]
    return words


@pytest.mark.parametrize("argv", EXPERIMENTS, ids=" ".join)
def test_a_launch_of_a_readme_is_read(argv, place):
    assert experiment_of(argv).points


@pytest.mark.parametrize("argv", PLANNED, ids=" ".join)
def test_a_launch_of_a_readme_is_planned(argv, place, capsys):
    assert main([*shortened(argv), "--dry-run"], configs=CONFIGS) == 0, capsys.readouterr().err
    assert "trials of" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("argv", [argv for argv in EXPERIMENTS if not ELSEWHERE & {*argv}], ids=" ".join)
def test_a_launch_of_a_readme_runs(argv, place, site):
    (place / "short").mkdir()
    (place / "short" / "programs").symlink_to(site.programs)
    places = ["--run-dir", "run", "--store", "short"]
    words = argv if "--dry-run" in argv else shortened(argv)  # a plan takes no time
    done = call([*words, *places], place)
    assert done.returncode == 0, done.stderr
    if "--dry-run" not in argv:
        assert "diverged" not in load_run(place / "run").trials["status"].to_pylist()


# To reproduce a run is to train it: tests/commands/test_reproduce.py does, slowly.
@pytest.mark.parametrize("launch", [one for one in LAUNCHES if (COMMANDS - {"reproduce"}) & {*one}], ids=" ".join)
def test_another_command_of_a_readme_runs(launch, place, capsys):
    assert main(launch[1:], configs=CONFIGS) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


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
        assert module in {"venv", "pytest", "pretrain", "tests.stage_ids", *(f"tests.bench.{name}" for name in BENCHES)}
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
