"""Methods of one's own: their fields are options, swept, tuned, written and read as those of the package are."""

import dataclasses
import sys

import pytest

from pretrain.config import Experiment, PretrainConfig, RbmConfig, Settings, from_json, own_methods, to_json
from pretrain.config.effects import decisive
from pretrain.config.fields import ConfigError, fields, is_traced, replace_all
from pretrain.config.overrides import override
from tests.commands.lines import read, refused
from tests.commands.test_help import helped
from tests.experiments import one_line
from tests.own_method import KIND, SOURCE, written

OWN = {"pretrain.method.projected": 8, "pretrain.method.kind": KIND}
SMALL = """
from pretrain.config.method import Method as Config
from pretrain.config.kinds import Count, Rate
from pretrain.learn import results, start
from pretrain.learn.method import Method

class Own(Config):
    {field}

METHOD = Method(start.pretraining, results.of_pretraining, config=Own{more})
"""


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    """A directory to launch from, with the file."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    return tmp_path / "my_method.py"


def argv(values):
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def test_fields_are_options_in_any_order_and_go_through_json():
    for values in (OWN, dict(reversed(OWN.items()))):
        method = read(*argv(values)).experiment.pretrain.method
        assert (method.kind, method.projected, method.temperature, method.decodes) == (KIND, 8, 0.1, False)
    experiment = read(*argv(OWN)).experiment
    again = from_json(to_json(experiment))
    assert again == experiment and again.pretrain.method == method
    assert PretrainConfig(method={"kind": KIND, "projected": 8}).method == method
    assert replace_all(Experiment(), OWN).pretrain.method == method
    assert override(Experiment(), OWN).experiment.pretrain.method == method


def test_fields_are_static_or_traced_by_their_type():
    config = replace_all(Experiment(), OWN)
    kinds = {name.rpartition(".")[2]: kind for name, kind in fields(config.pretrain).items() if "method." in name}
    assert {name for name, kind in kinds.items() if is_traced(kind)} == {"corruption_level", "temperature"}
    assert decisive(config.pretrain.method) == {
        "kind": KIND, "projected": 8, "corruption_level": 0.3, "temperature": 0.1
    }  # fmt: skip


def test_the_kind_and_its_fields_are_swept_tuned_and_given_per_layer():
    swept = read("--sweep", f"pretrain.method.kind=autoencoder,{KIND}").experiment
    kinds = [point.settings.pretrain.method.kind for point in swept.points]
    assert set(kinds) == {"autoencoder", KIND}
    sizes = read("--sweep", "pretrain.method.projected=4,8", *argv({"pretrain.method.kind": KIND})).experiment
    assert {point.settings.pretrain.method.projected for point in sizes.points} == {4, 8}
    tuned = read(*argv(OWN), "--tune", "pretrain.method.temperature=log:0.05:0.5:3").experiment
    assert tuned.study.tune == ("pretrain.method.temperature",)
    by_layer = read(
        *("--encoder.layers", "9", "6", "--per-layer", f"pretrain.method.kind=autoencoder,{KIND}"),
    ).experiment
    methods = [by_layer.at_layer(layer).greedy_method for layer in range(2)]
    assert [method.kind for method in methods] == ["autoencoder", KIND]
    kind = argv({"pretrain.method.kind": KIND})
    by_layer = read(*kind, "--encoder.layers", "9", "6", "--per-layer", "pretrain.method.projected=3,5").experiment
    assert [by_layer.at_layer(layer).greedy_method.projected for layer in range(2)] == [3, 5]
    for experiment in (swept, sizes, tuned, by_layer):
        assert from_json(to_json(experiment)) == experiment


def test_a_swept_kind_may_have_fields_that_are_compared():
    grids = {"pretrain.method.kind": (KIND,), "pretrain.method.projected": (4, 8)}
    made = override(Experiment(sweep=(grids,)), {"study.compare": "pretrain.method.projected"})
    assert made.experiment.study.compare in fields(Settings)


def test_help_lists_its_fields(capsys, monkeypatch):
    page = helped(["--pretrain.method.kind", KIND, "--help"], Experiment(), capsys, monkeypatch)
    assert "--pretrain.method.projectedINTUnitsoftheprojectioninwhichviewsarecompared(units).(default:64)" in page
    assert "--pretrain.method.temperature" in page and "--pretrain.method.corruption-schedule" not in page


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("absent.py:METHOD", ("absent.py, which is no file",)),
        ("my_method.py", ("write FILE.py:NAME",)),
        ("my_method.py:OTHER", ("names OTHER, which its file does not define",)),
        ("my_method.py:objective", ("objective, which must be a pretrain.learn.method.Method",)),
        ("my_method.py:ContrastConfig", ("which must be a pretrain.learn.method.Method",)),
    ],
)
def test_what_is_no_method_is_refused_in_one_line(kind, parts):
    for line in (
        refused("--pretrain.method.kind", kind),
        refused("--sweep", f"pretrain.method.kind=pca,{kind}"),
        refused("--pretrain.method.kind", kind, "--help"),
    ):
        assert line.startswith(f"pretrain.method.kind: {kind!r} ") and all(part in line for part in parts)
    for make in (
        lambda: PretrainConfig(method={"kind": kind}),
        lambda: from_json(f'{{"pretrain": {{"method": {{"kind": "{kind}"}}}}}}'),
    ):
        with pytest.raises(ConfigError) as error:
            make()
        one_line(error, *parts)


def test_fields_that_are_unknown_or_do_not_fit_are_refused_in_one_line():
    kind = ["--pretrain.method.kind", KIND]
    assert "did you mean --pretrain.method.projected?" in refused(*kind, "--pretrain.method.projectd", "8")
    assert (
        refused(*kind, "--pretrain.method.projected", "0") == "pretrain.method.projected: '0' should be greater than 0"
    )
    assert f"is of pretrain.method.kind {KIND}, not of rbm" in refused(
        *(
            "--sweep",
            f"pretrain.method.kind={KIND}",
            "--pretrain.method.kind",
            "rbm",
            "--pretrain.method.projected",
            "2",
        )
    )
    assert "pretrain.method.gibbs_steps" not in fields(replace_all(Experiment(), OWN))
    line = refused(*kind, "--pretrain.method.gibbs-steps", "2")
    assert f"is of pretrain.method.kind rbm, not of {KIND}" in line
    text = to_json(replace_all(Experiment(), OWN)).replace('"projected": 8', '"projected": 0')
    with pytest.raises(ConfigError) as error:
        from_json(text)
    one_line(error, "pretrain.method.projected: 0 should be greater than 0")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("1 / 0", ("fails with ZeroDivisionError", "my_method.py:1)")),
        ("def broken(:", ("fails with SyntaxError", "my_method.py:1)")),
        ("raise SystemExit(3)", ("fails with SystemExit: 3",)),
        (SMALL.format(field="width: Count", more=""), ("pretrain.method.width: None has no default",)),
        (SMALL.format(field="width: Count = 0", more=""), ("pretrain.method.width: 0 should be greater than 0",)),
        (SMALL.format(field="width: int = 'a'", more=""), ("pretrain.method.width: 'a' should be a valid integer",)),
        (SMALL.format(field="width: list = None", more=""), ("pretrain.method.width",)),
        (SMALL.format(field="inner: Config = Config()", more=""), ("pretrain.method.inner", "give the method each")),
        (SMALL.format(field="pass", more=", fit=print"), ("fits on the host", "let init fit")),
    ],
)  # fmt: skip
def test_a_file_that_fails_is_refused_in_one_line(source, parts, file):
    file.write_text(source)
    line = refused("--pretrain.method.kind", KIND)
    assert all(part in line for part in parts), line


def test_a_method_whose_config_is_forgotten_is_refused_in_one_line(file):
    file.write_text(SOURCE.replace(", config=ContrastConfig", ""))
    line = refused("--pretrain.method.kind", KIND)
    assert "names METHOD, which lacks the fields of ContrastConfig; give it config=ContrastConfig" in line


def test_modules_beside_a_file_are_imported_and_their_edits_are_seen(file, tmp_path):
    file.write_text("from my_helpers import units\n" + SOURCE.replace("Count = 64", "Count = units()"))
    helpers = tmp_path / "my_helpers.py"
    found = []
    for units in (5, 7, 7):
        helpers.write_text(f"def units():\n    return {units}\n")
        found.append(PretrainConfig(method={"kind": KIND}).method.projected)
    other = tmp_path / "other"
    other.mkdir()
    (other / "my_helpers.py").write_text("def units():\n    return 9\n")
    (other / "my_method.py").write_text(file.read_text())
    found.append(PretrainConfig(method={"kind": f"other/{KIND}"}).method.projected)
    found.append(PretrainConfig(method={"kind": KIND}).method.projected)
    assert found == [5, 7, 7, 9, 7]
    assert str(tmp_path) not in sys.path and not list(tmp_path.rglob("__pycache__"))
    helpers.write_text("1 / 0")
    assert "fails with ZeroDivisionError" in refused("--pretrain.method.kind", KIND)
    helpers.unlink()
    assert "fails with ModuleNotFoundError: No module named 'my_helpers'" in refused("--pretrain.method.kind", KIND)


def test_an_edited_file_is_another_class_and_an_unedited_one_the_same(file):
    before = PretrainConfig(method={"kind": KIND}).method
    assert type(PretrainConfig(method={"kind": KIND}).method) is type(before)
    file.write_text(SOURCE.replace("projected: Count = 64", "projected: Count = 32"))
    after = PretrainConfig(method={"kind": KIND}).method
    assert (before.projected, after.projected) == (64, 32) and type(after) is not type(before)


def test_a_method_needs_no_fields_of_its_own(file):
    file.write_text(SMALL.format(field="makes_updates = False", more="").replace("config=Own", ""))
    method = PretrainConfig(method={"kind": KIND}).method
    assert fields(method).keys() == {"kind"} and method.makes_updates


def test_methods_of_files_leave_the_package_s_as_they_are():
    replace_all(Experiment(), OWN)
    assert PretrainConfig(method=RbmConfig(gibbs_steps=2)).method == RbmConfig(gibbs_steps=2)
    assert from_json(to_json(Experiment())) == Experiment()
    assert refused("--pretrain.method.kind", "knn").startswith("pretrain.method.kind: 'knn' should be 'autoencoder'")


@pytest.mark.parametrize("swept", [False, True])
def test_a_finished_run_is_read_without_its_file(swept, file):
    experiment = replace_all(Experiment(), OWN)
    if swept:
        grid = {"pretrain.method.kind": (KIND,), "pretrain.method.projected": (4, 8)}
        experiment = Experiment(sweep=(grid, {"pretrain.method.kind": ("autoencoder", "pca")}))
    text = to_json(experiment)
    file.write_text("raise RuntimeError")
    read_back = own_methods.recorded(text.encode(), from_json)
    assert to_json(read_back) == text
    for point, before in zip(read_back.points, experiment.points, strict=True):
        method, expected = point.settings.pretrain.method, before.settings.pretrain.method
        assert point.values == before.values and method.kind == expected.kind
        assert "autoencoder" in method.kind or getattr(method, "projected", 0) == getattr(expected, "projected", 0)
    assert "fails with RuntimeError" in refused("--pretrain.method.kind", KIND)
    file.unlink()
    assert dataclasses.replace(read_back) == read_back
    with pytest.raises(ConfigError) as error:
        own_methods.blamed_on(read_back.points[0].settings.pretrain.method)
    one_line(error, "names", "which was not read")
