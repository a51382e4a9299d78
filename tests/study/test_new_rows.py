"""Comparisons of a run, judged for new rows by a table of their variance components, and said so."""

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import Experiment, StudyConfig
from pretrain.report import gaps, listings, verdicts, words
from pretrain.runs.scored import RowScores
from pretrain.study import new_rows, run_tables, sequential
from pretrain.study.answer import answer
from pretrain.study.power import SeedRange
from pretrain.study.row_parts import RowParts
from pretrain.study.rows import components, for_new_rows, interval
from tests.report.test_terminal import FROZEN, INIT, finetune_curves

N, ROWS = 8, 400


class Simulated:
    """A run of pretrained and He networks that predict rows right or wrong."""

    def __init__(self, gain, of_rows, noise=0.1, rows=ROWS, split=1.0, groups=None, seed=0, n=N):
        rng = np.random.default_rng(seed)
        hard, apart = rng.normal(1, 1, rows), rng.normal(0, of_rows, rows)
        self.hits, self.scores, trials = {}, {}, []
        for number in range(n):
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

    def parts(self, **changed):
        scores = {**self.scores, **changed}
        return RowParts(read=lambda metric, ids: {name: scores[name] for name in ids})

    def table(self, **changed):
        parts = self.parts(**changed)
        answer(self.trials, self.curves, rows=parts)
        return parts.table()

    def concluded(self, table=None, **asked):
        return answer(self.trials, self.curves, StudyConfig(), rows=RowParts(table) if table else self.parts(), **asked)


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


def test_where_no_row_separates_the_arms_rows_are_named_too():
    """Of few rows, a few more seeds that agree would settle nothing."""
    few = Simulated(gain=0.0, of_rows=0.0, rows=60)
    he, columns = few.trials.slice(0, N), {name: few.trials[name] for name in few.trials.column_names}
    for name in ("test_accuracy", "validation_accuracy"):
        columns[name] = pa.array(he[name].to_pylist() * 2)
    few.trials = pa.table(columns)
    few.scores |= {f"pretrained{number}": few.scores[f"he{number}"] for number in range(N)}
    (comparison,) = few.concluded().comparisons
    assert comparison.verdict == "inconclusive" and comparison.difference.mean == 0
    assert comparison.rows.of_rows == pytest.approx(1 / 60**2)
    assert comparison.rows_to_settle > 600 and comparison.seeds_to_settle.low > N
    assert f"{comparison.rows_to_settle:,} test rows" in verdicts.verdict([comparison])
    assert comparison.smallest_seen > 0.005


def test_without_a_table_a_verdict_is_over_seeds():
    found = answer(OPEN.trials, OPEN.curves)
    assert answer(OPEN.trials, OPEN.curves, rows=RowParts()).comparisons[0].new_rows is None
    assert found.comparisons[0].new_rows is None and "rows" not in words.headline(found, Experiment())
    table = OPEN.table()
    other = table.set_column(table.column_names.index("n"), "n", pa.array([7]))
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
    (comparison,) = answer(simulated.trials, simulated.curves, study, rows=simulated.parts()).comparisons
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
    run = OPEN.concluded().arms
    six = [comparison._replace(new_rows=None)] * 6
    held = new_rows.judged(six, run, OPEN.parts(), StudyConfig())
    assert held[0].p_new_rows == pytest.approx(min(1, 6 * comparison.p_new_rows))


def test_a_table_gives_what_was_measured_and_older_tables_do_too():
    table = CLEAR.table()
    (measured,), (kept,) = CLEAR.concluded().comparisons, CLEAR.concluded(table).comparisons
    assert measured.new_rows == kept.new_rows and RowParts(table).table() == table
    older = table.drop_columns(["part", "seeds"])
    (kept,) = CLEAR.concluded(run_tables.completed("rows", older)).comparisons
    assert measured.new_rows == kept.new_rows


def test_what_is_open_for_new_rows_takes_more_seeds_as_long_as_they_can_settle_it():
    (comparison,) = Simulated(gain=0.5, of_rows=1.0, seed=1).concluded().comparisons
    for rows_to_settle, of_new_rows, is_open in ((None, False, True), (900, False, False), (None, True, False)):
        other = comparison._replace(
            holds_for_new_rows=of_new_rows, rows_to_settle=rows_to_settle, seeds_to_settle=SeedRange(9, 20)
        )
        assert other.verdict == "helps"
        assert sequential.is_open(other) == bool(sequential.in_need_of_seeds([other])) == is_open
        assert bool(sequential.needed([other])) == is_open


def test_a_look_that_leaves_new_rows_open_settles_nothing():
    simulated = Simulated(gain=0.4, of_rows=0.2, noise=0.3, seed=2, n=10)
    first, last = sequential.looks_at([8, 10])

    def at_last(rows):
        study = StudyConfig()
        return answer(simulated.trials, simulated.curves, study, last.level, before=[first], rows=rows).comparisons[0]

    over_seeds, measured = at_last(None), simulated.parts()
    assert over_seeds.look == at_last(measured).look == 1
    (row,) = measured.table().to_pylist()
    # So much that new rows are open at the first look, and so little that seeds can settle them.
    row |= {"row_variance": (over_seeds.difference.mean / 3.2) ** 2 * ROWS}
    both = [row, row | {"seeds": 10, "n": 10, "cells": 10 * ROWS}]
    found = at_last(RowParts(pa.Table.from_pylist(both, measured.table().schema), level=last.level))
    assert found.look is None and found.n == 10 and found.rows


def test_progress_says_what_is_open_for_new_rows_only():
    (comparison,) = CLEAR.concluded().comparisons
    planned = sequential.looks_at([8, 16])
    still = comparison._replace(holds_for_new_rows=False, seeds_to_settle=SeedRange(9, 20))
    text = verdicts.progress(planned[0], planned, [still])
    assert "1 of 1 comparisons open, some for new rows only (" in text and text.endswith("next look at 16 seeds")


def test_shares_of_a_gap_are_for_new_rows_by_the_components_of_their_own_differences():
    rng, rows = np.random.default_rng(0), 200
    hard, of_arm = rng.normal(1, 1, rows), {}
    scores, trials = {}, []
    for init in ("he", "pretrained"):
        for frozen in (2, 0):
            of_arm[init, frozen] = hard + 0.3 * (frozen == 0) + rng.normal(0, 1, rows)
            for seed in range(N):
                chances = 1 / (1 + np.exp(-2 * of_arm[init, frozen] - rng.normal(0, 0.2)))
                hits, name = (rng.random(rows) < chances).astype(float), f"{init}{frozen}{seed}"
                scores[name] = RowScores(hits - hits.mean(), np.arange(rows), None, np.arange(rows) % 2)
                result = {"test_accuracy": hits.mean(), "validation_accuracy": hits.mean()}
                trials.append({"trial_id": name, "seed": seed, INIT: init, FROZEN: frozen, "status": "ok", **result})
    curves = finetune_curves([(row["trial_id"], "validation_accuracy", 1, row["test_accuracy"]) for row in trials])
    trials, parts = (
        pa.Table.from_pylist(trials),
        RowParts(read=lambda metric, ids: {name: scores[name] for name in ids}),
    )
    (over,), (found,) = (answer(trials, curves, rows=each).factorials for each in (None, parts))
    before, after = (each.causes["test_accuracy"].parts for each in (over, found))
    means = dict(zip(*(trials[name].to_pylist() for name in ("trial_id", "test_accuracy")), strict=True))

    def right(init, frozen):
        return np.array([scores[name].values + means[name] for name in (f"{init}{frozen}{seed}" for seed in range(N))])

    hits = {arm: right(*arm) for arm in of_arm}
    # From the trainable He network to the pretrained, frozen one: half a change's effect in each state of the other.
    (init, frozen), on = (factor.field for factor in found.factors), {f.field: f.on for f in found.factors}
    assert (init, frozen) == (INIT, FROZEN) and on[FROZEN] == 2
    share = (hits["pretrained", 0] - hits["he", 0] + hits["pretrained", 2] - hits["he", 2]) / 2
    on_new = for_new_rows(share.mean(axis=1), components(share))
    expected = interval(on_new, before.shares[INIT])
    assert after.is_for_new_rows and not before.is_for_new_rows
    np.testing.assert_allclose(after.shares[INIT], expected, rtol=1e-6)
    assert after.p_values[INIT] == pytest.approx(max(before.p_values[INIT], on_new.p_apart()))
    together = hits["pretrained", 2] - hits["pretrained", 0] - hits["he", 2] + hits["he", 0]
    of_pair = interval(for_new_rows(together.mean(axis=1), components(together)), before.interactions[INIT, FROZEN])
    np.testing.assert_allclose(after.interactions[INIT, FROZEN], of_pair, rtol=1e-6)
    gap = hits["pretrained", 2] - hits["he", 0]
    np.testing.assert_allclose(
        after.gap, interval(for_new_rows(gap.mean(axis=1), components(gap)), before.gap), rtol=1e-6
    )
    (kept,) = answer(trials, curves, rows=RowParts(parts.table())).factorials
    assert kept.causes["test_accuracy"].parts == after
    captions = [part.caption for each in (over, found) for part in gaps.parts([each], 0.95)]
    assert "over seeds, on these held-out rows" in captions[0] and "for new rows like these" in captions[-1]
