"""A report that asks nothing runs none of the user's code for its looks."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

from pretrain.commands import report
from pretrain.config import DataConfig, EncoderConfig, Experiment
from pretrain.runs.looks_file import Looks
from pretrain.study import looks
from tests.study.test_looks import concluded

STAGES = pa.table({"trial_id": [], "stage_id": []})


@pytest.mark.parametrize(
    "own", [{"data": DataConfig(name="mine.py:load")}, {"encoder": EncoderConfig(layers=("mine.py:made",))}]
)
def test_code_runs_only_where_something_is_asked(own, monkeypatch):
    run, found = SimpleNamespace(experiment=Experiment(**own), stages=STAGES, trials=STAGES), concluded()
    monkeypatch.setattr(looks, "take", lambda *_: pytest.fail("it opens data and layers"))
    same, stale = Looks(looks.stated(found, STAGES, ())), Looks("of others")
    assert report._looks(run, found, (), same, False) is same
    assert report._looks(run, found, (), stale, False) is None
    assert report._looks(run, found, (), None, False) is None
    taken = Looks("taken")
    monkeypatch.setattr(looks, "take", lambda *_: taken)
    assert report._looks(run, found, (), stale, True) is taken
    plain = SimpleNamespace(experiment=Experiment(), stages=STAGES, trials=STAGES)
    assert report._looks(plain, found, (), stale, False) is taken
