"""Comparisons of a run, judged for new rows by a table of their variance components, and said so."""

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import Experiment, StudyConfig
from pretrain.report import listings, verdicts, words
from pretrain.runs.scored import RowScores
from pretrain.study import new_rows, run_tables, sequential
from pretrain.study.answer import answer
from tests.report.test_terminal import FROZEN, INIT, finetune_curves

N, ROWS = 8, 400


class Simulated:
    """A run of pretrained and He networks that predict rows right or wrong."""

    def __init__(self, gain, of_rows, noise=0.1, rows=ROWS, split=1.0, groups=None, seed=0):
        rng = np.random.default_rng(seed)
        hard, apart = rng.normal(1, 1, rows), rng.normal(0, of_rows, rows)
        self.hits, self.scores, trials = {}, {}, []
        for number in range(N):
            places = np.sort(rng.permutation(rows)[: int(split * rows)])
            for init, sign in (("he", -1), ("pretrained", 1)):
                logits = hard + sign * (gain + apart) / 2 + rng.normal(0, noise)
                hits = rng.random(rows) < 1 / (1 + np.exp(-4 * logits))
                name, hits = f"{init}{number}", hits[places].astype(float)
                rows_of = None if groups is None else groups[places]
                self.scores[name] = RowScores(hits - hits.mean(), places, rows_of, places % 2)
                accuracy = {"test_accuracy": hits.mean(), "validation_accuracy": hits.mean()}
                trials.append({"trial_id": name, "seed": number, INIT: init, FROZEN: 0, "status": "ok", **accuracy})
        self.trials = pa.Table.from_pylist(sorted(trials, key=lambda row: row[INIT]))
        curves = [(row["trial_id"], "validation_accuracy", 1, row["test_accuracy"]) for row in trials]
        self.curves = finetune_curves(curves)

    def table(self, **changed):
        scores = {**self.scores, **changed}
        found = answer(self.trials, self.curves)
        return new_rows.table_of(
            found.comparisons, found.arms, lambda metric, ids: {name: scores[name] for name in ids}
        )

    def concluded(self, table=None):
        study = StudyConfig()
        found = answer(self.trials, self.curves, study)
        return new_rows.with_rows(found, self.table() if table is None else table, study)


CLEAR = Simulated(gain=0.5, of_rows=0.3)
OPEN = Simulated(gain=0.5, of_rows=2.0, seed=1)


def test_a_clear_gain_is_one_on_new_rows():
    (comparison,) = (found := CLEAR.concluded()).comparisons
    assert comparison.verdict == "helps" and comparison.holds_for_new_rows
    assert comparison.new_rows.low <= comparison.difference.low and comparison.p_new_rows <= 0.05
    assert "points [" in verdicts.verdict([comparison]) and "on new rows like these 400" in words.headline(
        found, Experiment()
    )
    assert "no effect on new rows" in words.basis(found, Experiment())
    assert not sequential.unsettled([comparison])


def test_what_only_seeds_are_certain_of_is_said_to_be_open_for_new_rows():
    (comparison,) = (found := OPEN.concluded()).comparisons
    assert comparison.verdict == "helps" and comparison.holds_for_new_rows is False
    assert comparison.new_rows.low < 0 < comparison.difference.low
    text = verdicts.verdict([comparison])
    assert text.startswith("Pretraining helps, +") and " on these 400 rows (8 seeds; p " in text
    assert "; open for new ones, [-" in text and len(text.split()) < 60
    assert verdicts.tally([comparison] * 2) == "all help on these rows, open for new ones"
    assert listings.comparisons(found).headings[1:3] == ("difference on new rows (points)", "on these rows")


def test_where_seeds_cannot_settle_it_rows_are_named_and_no_more_seeds_are_added():
    (comparison,) = Simulated(gain=0.3, of_rows=2.0, seed=1).concluded().comparisons
    assert comparison.verdict == "inconclusive"
    assert comparison.rows_to_settle > ROWS and comparison.seeds_to_settle
    text = verdicts.verdict([comparison])
    assert text.startswith("Not settled: pretraining changes accuracy by between -") and len(text.split()) <= 60
    assert f"{comparison.rows_to_settle:,} test rows." in text
    assert sequential.unsettled([comparison]) and not sequential.in_need_of_seeds([comparison])


def test_without_a_table_a_verdict_is_over_seeds():
    found = answer(OPEN.trials, OPEN.curves)
    assert new_rows.with_rows(found, None, StudyConfig()) == found
    assert found.comparisons[0].new_rows is None and "rows" not in words.headline(found, Experiment())
    other = OPEN.table().set_column(4, "n", pa.array([7]))
    assert OPEN.concluded(other).comparisons[0].new_rows is None


def test_splits_of_seeds_share_rows_by_their_places():
    simulated = Simulated(gain=0.5, of_rows=0.3, split=0.4)
    (row,) = simulated.table().to_pylist()
    assert (row["n"], row["rows"], row["cells"]) == (
        N,
        len(np.unique([s.places for s in simulated.scores.values()])),
        1280,
    )
    assert row["row_weight"] > 1 / ROWS and row["unit"] == "row"


def test_groups_are_what_is_new_where_rows_come_in_groups():
    simulated = Simulated(gain=0.5, of_rows=0.3, groups=np.arange(ROWS) // 10 + 5)
    (comparison,) = simulated.concluded().comparisons
    assert comparison.rows.rows == 40 and comparison.rows.is_grouped
    assert "on new groups like these 40" in verdicts.verdict([comparison])


def test_arms_of_other_rows_or_targets_have_no_components():
    one = CLEAR.scores["he3"]
    assert CLEAR.table(he3=one._replace(places=one.places + 1)) is None
    assert CLEAR.table(he3=one._replace(targets=1 - one.targets)) is None


def test_a_lower_loss_on_new_rows_is_a_gain():
    loss = [name.replace("accuracy", "loss") for name in CLEAR.trials.column_names]
    simulated = Simulated(gain=0.5, of_rows=0.3)
    simulated.trials = simulated.trials.rename_columns(loss)
    study = StudyConfig(metric="loss")
    found = answer(simulated.trials, simulated.curves, study)
    table = new_rows.table_of(found.comparisons, found.arms, lambda metric, ids: simulated.scores)
    (comparison,) = new_rows.with_rows(found, table, study).comparisons
    assert comparison.verdict == "hurts" and comparison.holds_for_new_rows
    assert comparison.new_rows.low <= comparison.difference.low < comparison.difference.high <= comparison.new_rows.high


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("unit", "image", "has the unit 'image'"),
        ("row_variance", float("nan"), "has a variance or a weight that is no number"),
        ("rows", 1, "has fewer than two seeds or rows"),
    ],
)
def test_a_table_that_no_run_wrote_is_named(column, value, fault):
    table = CLEAR.table()
    place = table.column_names.index(column)
    odd = table.set_column(place, column, pa.array([value], table.schema.field(column).type))
    assert run_tables._of_components(table) == "" and run_tables._of_components(odd) == fault


def test_a_family_of_many_needs_smaller_p_values():
    (comparison,) = OPEN.concluded().comparisons
    found = answer(OPEN.trials, OPEN.curves)
    six = found._replace(comparisons=[comparison._replace(new_rows=None)] * 6)
    held = new_rows.with_rows(six, OPEN.table(), StudyConfig()).comparisons
    assert held[0].p_new_rows == pytest.approx(min(1, 6 * comparison.p_new_rows))
