"""The README's read-out of one's own: scikit-learn's numbers, names by what it traces to, refusals in one line."""

import jax
import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from pretrain.config import Experiment, FinetuneConfig, from_json, own_methods, to_json
from pretrain.config.effects import inert_because
from pretrain.config.fields import ConfigError, fields, is_traced, replace_all
from tests.commands import lines
from tests.commands.test_help import helped
from tests.experiments import one_line
from tests.own_readout import KIND, written
from tests.small_sweep import make_plan, path, run_all

OWN = ["--finetune.readout", "own", "--finetune.ending.kind", KIND]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory to launch from, with the file."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    return tmp_path


@pytest.fixture
def jobs(planned, tmp_path):
    """Returns a function from changes of the file, and fields, to the jobs of a trial."""

    def make(*changed, folder="here", **values):
        ending = {"kind": written(tmp_path / folder, *changed), **values}
        return path(planned(finetune={"readout": "own", "ending": ending}, encoder={"layers": (9,)}))

    return make


def read(*argv):
    return lines.read(*argv, default=Experiment())


def test_its_fields_are_options_traced_swept_and_go_through_json(here, capsys, monkeypatch):
    experiment = read(*OWN, "--finetune.ending.shrinkage", "3").experiment
    ending = experiment.finetune.ending
    assert (ending.kind, ending.shrinkage, ending.section) == (KIND, 3.0, "finetune.ending")
    assert is_traced(fields(experiment)["finetune.ending.shrinkage"])
    assert from_json(to_json(experiment)) == experiment
    assert FinetuneConfig(readout="own", ending={"kind": KIND, "shrinkage": 3.0}).ending == ending
    swept = read(*OWN, "--sweep", "finetune.ending.shrinkage=0.5,2").experiment
    assert {point.settings.finetune.ending.shrinkage for point in swept.points} == {0.5, 2.0}
    both = read("--sweep", "finetune.readout=none,own", *OWN[2:]).experiment
    assert {point.settings.finetune.kind for point in both.points} == {"finetuning", "own"}
    page = helped([*OWN, "--help"], Experiment(), capsys, monkeypatch)
    assert "--finetune.ending.shrinkageFLOATRowsthatthemeanofallcountsas" in page


def test_it_has_no_effect_beside_another_read_out(here):
    assert "finetune.ending.kind: " in lines.refused("--finetune.readout", "knn", *OWN[2:], default=Experiment())
    experiment = replace_all(Experiment(), {"finetune.readout": "own", "finetune.ending.kind": KIND})
    assert inert_because(experiment, "finetune.epochs") == "finetune.readout is 'own'"
    assert inert_because(experiment, "finetune.l2") and not inert_because(experiment, "finetune.codes")


def test_a_finished_run_is_read_without_its_file(here):
    experiment = read(*OWN, "--finetune.ending.shrinkage", "3").experiment
    (here / "my_readout.py").unlink()
    read_back = own_methods.recorded(to_json(experiment).encode(), from_json)
    assert to_json(read_back) == to_json(experiment) and read_back.finetune.ending.shrinkage == 3.0
    with pytest.raises(ConfigError) as error:
        own_methods.blamed_on(read_back.finetune.ending)
    one_line(error, "finetune.ending.kind: ", "which was not read")


@pytest.mark.parametrize(
    ("kind", "changed", "parts"),
    [
        ("absent.py:METHOD", (), ("absent.py, which is no file",)),
        ("my_readout.py", (), ("write FILE.py:NAME",)),
        ("my_readout.py:METHODS", (), ("names METHODS, which its file does not define",)),
        ("my_readout.py:finish", (), ("must be a pretrain.learn.method.Method",)),
        (KIND, (("Method(init, finish,", "Method(init, finish, init,"),), ("makes updates", "let init fit")),
        (KIND, (("Method(init, finish,", "Method(init, finish, fit=print,"),), ("fits on the host", "let init fit")),
    ],
)
def test_what_is_no_read_out_is_refused_in_one_line(kind, changed, parts, here):
    written(here, *changed)
    line = lines.refused("--finetune.readout", "own", "--finetune.ending.kind", kind, default=Experiment())
    assert line.startswith(f"finetune.ending.kind: {kind!r} ") and all(part in line for part in parts), line


def test_a_stage_is_named_by_what_it_computes(jobs):
    def ids(*changed, **values):
        return [job.id for job in jobs(*changed, **values)]

    before = ids()
    assert len(before) == 2 and ids() == before
    assert ids(("members", "belongs"), ("Means of the codes", "Centres of the codes"), folder="elsewhere") == before
    edited = ids(("config.method.shrinkage, jnp", "2 * config.method.shrinkage, jnp"))
    for other in (edited, ids(shrinkage=2.0)):
        assert other[0] == before[0] and other[1] != before[1]


def test_a_read_out_whose_functions_fail_or_return_anything_else_is_refused_in_one_line(jobs, planned):
    for changed, parts in {
        ("jnp.mean(codes, axis=0)", "jnp.mean(missing, axis=0)"): ("NameError", "missing", "my_readout.py:"),
        ('{**params, "head": head}', "params"): ("fails with ", "head"),
        ('"bias": -', '"bias": -jnp.ones(2) -'): ("fails with ",),
        (', splits=("validation", "test")', ""): ("finish returns no validation_accuracy",),
        ("return results.of_network", 'return Results({}, {"test_scores": jnp.ones(3)}) or results.of_network'): (
            "finish returns no validation_scores, not of (60, 3); learn.results.of_network, or predicted, makes them",
        ),
    }.items():
        with pytest.raises(ConfigError) as error:
            jobs(changed)
        one_line(error, "finetune.ending.kind: '", *parts)
    with pytest.raises(ConfigError) as error:
        planned(finetune={"readout": "own"})
    one_line(error, "finetune.ending.kind: 'none' names no read-out of your own; write FILE.py:NAME")


def test_it_predicts_as_scikit_learn_does_and_a_trial_of_a_pack_as_alone(experiment, dataset, tmp_path):
    ending = {"kind": written(tmp_path), "shrinkage": 0.0}
    sweep = ({"finetune.ending.shrinkage": (0.0, 2.0), "finetune.encoder_init": ("none",)},)
    made = experiment(
        sweep=sweep, seeds=2, finetune={"readout": "own", "ending": ending, "labels": 0, "label_subset": "first"}
    )
    found = make_plan(made, dataset)
    packed, alone = (run_all(found, dataset, memory=memory) for memory in (1 << 30, 1))
    jax.tree.map(np.testing.assert_array_equal, packed, alone)
    rows = [split.inputs.reshape(len(split.inputs), -1) / 255 for split in (dataset.train, dataset.test)]
    theirs = NearestCentroid().fit(rows[0], dataset.train.labels)
    n, means = np.bincount(dataset.train.labels)[:, None], theirs.centroids_
    share = np.mean(theirs.predict(rows[1]) == dataset.test.labels)
    for trial in found.trials:
        params, _, results, _ = packed[trial.jobs[-1]]
        shrinkage = trial.point["finetune.ending.shrinkage"]
        expected = (n * means + shrinkage * rows[0].mean(axis=0)) / (n + shrinkage)
        np.testing.assert_allclose(params["head"]["kernel"].T, expected, rtol=1e-5)
        np.testing.assert_allclose(params["head"]["bias"], -np.square(expected).sum(axis=1) / 2, rtol=1e-5)
        assert shrinkage or results["test_accuracy"] == pytest.approx(share)
