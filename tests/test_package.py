"""The package as others install and cite it: the wheel is complete outside a clone, and versions and licences agree."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version

import pytest

import pretrain
from pretrain.commands.launch import main
from pretrain.config import config_file
from pretrain.config.fields import ConfigError
from tests.launching import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheel_has_every_folder_of_the_package_and_the_configs():
    found = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "pretrain").rglob("*.py")}
    packages = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted({name.replace("/", ".") for name in found} | {"pretrain.configs"})
    assert PROJECT["tool"]["setuptools"]["package-dir"] == {"pretrain.configs": "configs"}


def test_a_config_is_found_by_its_name_from_any_place(tmp_path, monkeypatch, capsys):
    assert config_file.packaged() == ROOT / "configs"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["geron", "--help"])
    assert "Does pretraining slow a network down?" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"seeds: '?0"):
        pretrain.run("geron", {"seeds": 0})
    with pytest.raises(ConfigError, match=r"config: 'gerom' is none of .*; did you mean 'geron'"):
        pretrain.run("gerom")


def test_versions_agree():
    assert pretrain.__version__ == version("pretrain")
    stated = PROJECT["project"]["version"]
    assert re.search(rf"^version: {re.escape(stated)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert f"\n## {stated}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_both_licences_are_stated_and_there():
    project = PROJECT["project"]
    assert project["license"] == "Apache-2.0 AND CC-BY-SA-3.0"
    apache, shared = ((ROOT / name).read_text() for name in project["license-files"])
    assert "Apache License" in apache and "Version 2.0" in apache
    assert "mnist.npz" in shared and "Attribution-ShareAlike 3.0 Unported" in shared and "8. Miscellaneous" in shared
    assert all(name in (ROOT / "CITATION.cff").read_text() for name in project["license"].split(" AND "))


def test_no_text_names_a_registry_that_does_not_have_the_package():
    for path in [*ROOT.glob("*.md"), *(ROOT / "configs").iterdir(), *(ROOT / "pretrain").rglob("*.*")]:
        if path.suffix in (".md", ".py"):
            assert not re.search(r"pip install ['\"]?pretrain", path.read_text()), path


@pytest.mark.slow
def test_outside_a_clone_the_wheel_plans_a_config_by_its_name(tmp_path):
    clone = tmp_path / "clone"  # so that none of our files is built from what an earlier build left here
    for name in ("pretrain", "configs"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone / name)
    command = [sys.executable, "-m", "pip", "wheel", str(clone), "--no-deps", "--no-build-isolation", "-q", "-w", "."]
    subprocess.run(command, cwd=tmp_path, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    site, place = tmp_path / "site", tmp_path / "elsewhere"
    (info,) = site.glob("*.dist-info")
    assert "pretrain = pretrain.__main__:main" in (info / "entry_points.txt").read_text()
    assert (site / "pretrain" / "py.typed").is_file()
    assert len([*(info / "licenses").rglob("LICENSE")]) == 2
    place.mkdir()
    code = "import sys; from pretrain.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "geron", "--dry-run"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "48 of 48 stages would run" in done.stdout and not [*place.iterdir()]
