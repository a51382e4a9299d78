"""Full factorials: which arms make one, what their gaps are made of, and what is said of it."""

import functools
import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from pretrain.config import Experiment
from pretrain.report import gaps, report, verdicts, words
from pretrain.study.answer import answer, main_arms
from pretrain.study.arms import Arm, arms
from pretrain.study.curves import Curves
from pretrain.study.factorial import BATCHES, _in_all_seeds, factorials
from pretrain.study.statistics import estimate
from tests.report.test_terminal import finetune_curves

INIT, FROZEN = "finetune.encoder_init", "finetune.frozen_layers"
CODES, MATCHED, HEAD = "finetune.codes", "finetune.first_logit_change", "finetune.head_init"
# Each field with its value before and after, in the order of the sweep.
FIVE = {
    INIT: ("he", "pretrained"),
    FROZEN: (0, 2),
    CODES: ("raw", "standardised"),
    MATCHED: (0.0, 1.0),
    HEAD: ("random", "ridge"),
}
TWO = {name: FIVE[name] for name in (INIT, FROZEN)}
STEPS = (*BATCHES, 2, 10)
CHANGE = "logit_change"


def run(levels, effect, n=8, noise=0.0, lost=(), seed=0, changes=None):
    """Tables of a factorial run.

    Each metric of a trial is ``effect(on, step)`` of the fields that are on, plus noise of the trial's own; ``None`` as
    step stands for the test. ``changes`` gives the diagnosed change of the logits.
    """
    rng = np.random.default_rng(seed)
    trials, curves = [], []
    for number, values in enumerate(itertools.product(*levels.values())):
        point = dict(zip(levels, values, strict=True))
        on = {name for name, value in point.items() if value == levels[name][-1]}
        for s in range(n):
            trial, drawn = f"{number:02x}{s:02x}", rng.normal(0, noise)
            status = "diverged" if (number, s) in lost else "ok"
            ends = dict.fromkeys(("test_accuracy", "validation_accuracy"), effect(on, None) + drawn)
            trials.append({"trial_id": trial, "seed": s, **point, "status": status, **ends})
            for step in STEPS:
                value = effect(on, step) + drawn
                curves += [(trial, name, step, value) for name in ("post_update_accuracy", "validation_accuracy")]
            if changes:
                curves.append((trial, CHANGE, 1, changes(on) * (1 + 0.01 * rng.normal())))
    return pa.Table.from_pylist(trials), finetune_curves(curves)


def found_in(tables, level=0.95):
    trials, curves = tables
    return factorials(arms(trials), Curves(curves), level)


def explained(tables):
    return " ".join(words.explanation(answer(*tables)))


def constant(on, step):
    return 0.5


def test_corners_are_found_by_what_is_on_whatever_the_order_of_values():
    turned = {INIT: ("pretrained", "he"), FROZEN: (2, 0)}
    (found,) = found_in(run(turned, constant))
    assert [(factor.field, factor.off, factor.on) for factor in found.factors] == [
        (INIT, "he", "pretrained"),
        (FROZEN, 0, 2),
    ]
    assert found.first.point == {INIT: "he", FROZEN: 0} and found.last.point == {INIT: "pretrained", FROZEN: 2}
    assert found.cells[True, False].point == {INIT: "pretrained", FROZEN: 0}
    assert found.is_original_question and found.n == 8


def test_cells_are_cut_to_the_seeds_in_which_each_trains():
    (found,) = found_in(run(TWO, constant, lost={(0, 1), (2, 3), (3, 3)}))
    kept = [set(arm.seeds) for arm in found.cells.values()]
    assert kept == [set(range(8)) - lost for lost in ({1}, set(), {3}, {3})] and (found.n, found.seeds) == (7, 8)
    assert found_in(run(TWO, constant, lost={(0, 1), (0, 2), (0, 3)})) == []  # five are too few beside failures


def test_cells_of_fewer_seeds_keep_their_means_and_errors():
    rng = np.random.default_rng(0)
    values = {0: rng.normal(size=9), 1: rng.normal(size=6)}
    filled = _in_all_seeds(values, {0: range(9), 1: (0, 2, 3, 5, 6, 8)})
    assert filled[0] is not values[0] and np.array_equal(filled[0], values[0])
    assert filled[1].shape == (9,) and set(np.flatnonzero(filled[1] == filled[1][1])) == {1, 4, 7}
    np.testing.assert_allclose(filled[1].mean(), values[1].mean())
    np.testing.assert_allclose(stats.sem(filled[1]), stats.sem(values[1]))


def test_shares_cover_the_truth_where_a_cell_collapses():
    """One cell at chance in a tenth of its seeds: shares of today's kind, over all seeds, cover in 79 to 83 %."""
    rng, held, n = np.random.default_rng(1), [], 16
    for _ in range(60):
        shared, cells = rng.normal(0, 0.01, n), {}
        for corner, mean in {(0, 0): 0.8, (1, 0): 0.84, (0, 1): 0.82, (1, 1): 0.87}.items():
            values = mean + shared + rng.normal(0, 0.01, n)
            values[(rng.random(n) < 0.1) & (corner == (1, 1))] = 0.1
            results = {"test_accuracy": values, "validation_accuracy": values}
            results |= {
                f"test_accuracy_chance{end}": np.full(n, level) for end, level in (("", 0.1), ("_margin", 0.02))
            }
            ids = tuple(f"{corner}{seed}" for seed in range(n))
            cells[corner] = Arm(dict(zip(("a", "b"), corner, strict=True)), tuple(range(n)), ids, (), (), (), results)
        (found,) = factorials(list(cells.values()), Curves(finetune_curves([("no trial", "loss", 1, 0.0)])), 0.95)
        shares = found.causes["test_accuracy"].parts.shares
        held += [shares["a"].low <= 0.045 <= shares["a"].high, shares["b"].low <= 0.025 <= shares["b"].high]
    assert np.mean(held) >= 0.9


def test_frozen_is_the_most_layers_that_were_frozen():
    (found,) = found_in(run({INIT: TWO[INIT], FROZEN: (0, 1, 3)}, constant))
    assert found.factors[1].on == 3 and found.last.point[FROZEN] == 3


def test_a_field_of_one_value_is_no_factor():
    (found,) = found_in(run({**TWO, "finetune.labels": (500,)}, constant))
    assert [factor.field for factor in found.factors] == [INIT, FROZEN]
    assert found.first.point["finetune.labels"] == 500


def test_any_fields_of_two_values_make_a_factorial():
    (found,) = found_in(run({"finetune.labels": (100, 500), "finetune.l2": (0.0, 0.1)}, constant))
    assert not found.is_original_question and found.last.point == {"finetune.labels": 500, "finetune.l2": 0.1}


@pytest.mark.parametrize(
    ("levels", "lost"),
    [
        ({INIT: TWO[INIT]}, ()),
        ({INIT: TWO[INIT], FROZEN: (2,)}, ()),
        ({"finetune.l2": (0.0, 0.1), "finetune.labels": (100, 200, 500)}, ()),
        (TWO, {(2, seed) for seed in range(8)}),
        (TWO, {(1, seed) for seed in range(4)} | {(2, seed) for seed in range(4, 8)}),
    ],
    ids=["one field", "always frozen", "a field of three values", "a cell diverged", "no common seed"],
)
def test_what_is_no_full_factorial_is_not_taken_for_one(levels, lost):
    assert found_in(run(levels, constant, lost=lost)) == []


def test_the_original_question_is_answered_at_each_of_few_settings():
    found = found_in(run({**TWO, "finetune.labels": (100, 200, 500)}, constant, noise=1e-4))
    assert [one.setting for one in found] == [{"finetune.labels": labels} for labels in (100, 200, 500)]
    assert all(one.is_original_question and len(one.cells) == 4 for one in found)
    many = found_in(run({**TWO, "finetune.labels": (50, 100, 200, 500, 1000)}, constant))
    assert [one.setting for one in many] == [{"finetune.labels": 50}]
    text = explained(run({**TWO, "finetune.labels": (100, 200, 500)}, constant, noise=1e-4))
    assert text.count("No slow start") == 3 and "At 100 labels: No slow start" in text


def test_layers_that_are_frozen_more_or_less_are_not_the_original_question():
    (found,) = found_in(run({INIT: TWO[INIT], FROZEN: (2, 1)}, constant))
    assert (found.factors[1].off, found.factors[1].on) == (1, 2) and not found.is_original_question
    assert "trainable" not in explained(run({INIT: TWO[INIT], FROZEN: (2, 1)}, constant))


def union(*grids):
    """The tables of a run over a union of grids: what a grid does not sweep is missing there."""
    names = list(dict.fromkeys(name for grid in grids for name in grid))
    rows = []
    for number, grid in enumerate(grids):
        for row in run(grid, constant)[0].to_pylist():
            ends = {name: row.pop(name) for name in ("status", "test_accuracy", "validation_accuracy")}
            rows.append(
                {"trial_id": f"{number}{row['trial_id']}", "seed": row["seed"]}
                | {name: row.get(name) for name in names}
                | ends
            )
    return pa.Table.from_pylist(rows), run(TWO, constant)[1]


@pytest.mark.parametrize(
    "grids",
    [
        ({FROZEN: (0, 2)}, {INIT: ("he",)}),
        ({INIT: ("he", "pretrained")}, {INIT: ("he", "pretrained"), "finetune.labels": (50,)}),
        ({INIT: ("he", "pretrained"), "encoder.layers": ([9], [9, 5])}, {"finetune.labels": (50, 100)}),
    ],
)
def test_unions_of_grids_that_sweep_different_fields_are_answered(grids):
    trials, curves = union(*grids)
    found = answer(trials, curves)
    assert found.factorials == [] and words.explanation(found) and verdicts.verdict(found.comparisons) is not None


def test_swept_tuples_are_factors_like_any_other_value(tmp_path):
    tables = run({INIT: TWO[INIT], "encoder.layers": ([300, 150], [50])}, constant)
    (found,) = found_in(tables)
    assert found.last.point["encoder.layers"] == [50]
    report.write(answer(*tables), *tables, Experiment(), "2 x cpu", tmp_path)


def test_fields_of_one_last_name_keep_their_own_share(tmp_path):
    effect = lambda on, step: 0.5 + 0.2 * ("pretrain.l2" in on)
    tables = run({"finetune.l2": (0.0, 0.1), "pretrain.l2": (0.0, 0.1)}, effect, noise=0.001)
    assert "made by pretrain.l2: l2=0.1 instead of 0 +" in explained(tables)
    report.write(answer(*tables), *tables, Experiment(), "2 x cpu", tmp_path)
    (reported,) = json.loads((tmp_path / "answer.json").read_text())["attribution"]
    shares = reported["metrics"]["test_accuracy"]["shares"]
    assert shares.keys() == {"finetune.l2", "pretrain.l2"} and shares["pretrain.l2"]["mean"] == pytest.approx(
        0.2, abs=0.01
    )


@pytest.mark.parametrize(("n_runs", "most"), [(8, 4), pytest.param(40, 12, marks=pytest.mark.slow)])
def test_without_an_effect_interactions_and_shares_are_seldom_announced(n_runs, most):
    announced = 0
    for seed in range(n_runs):
        draw = functools.partial(np.random.default_rng(seed).normal, 0.5, 0.05)
        text = explained(run(FIVE, lambda on, step, draw=draw: draw(), n=8, seed=seed))
        announced += "Changes interact" in text or "made by" in text
    # Shares of three metrics and interactions of one are each announced in at most 5 %, and so any in at most 20 %.
    assert announced <= most


def additive(on, step):
    """Freezing costs most at the start and pretraining pays in the end; the rest have small effects."""
    weights = {INIT: 0.0 if step else 0.03, FROZEN: -0.3 / (step or 1e9), CODES: 0.02, MATCHED: 0.05, HEAD: 0.1}
    return 0.6 + sum(weights[name] for name in on)


def test_the_original_question_comes_first_with_the_other_factors_off():
    square, whole = found_in(run(FIVE, additive, n=4))
    assert square.is_original_question and len(square.cells) == 4 and len(whole.cells) == 32
    assert {arm.point[HEAD] for arm in square.cells.values()} == {"random"}
    assert whole.first.point == square.first.point and whole.last.point[HEAD] == "ridge"


def test_shares_are_the_planted_effects_and_add_up_to_every_gap():
    for found in found_in(run(FIVE, additive, n=6, noise=0.01)):
        whens = [*(f"after batch {batch}" for batch in BATCHES), "over 40 batches"]
        accuracies = ("post_update_accuracy", "validation_accuracy")
        assert set(found.causes) == {*(f"{name} {when}" for name in accuracies for when in whens), "test_accuracy"}
        for cause in found.causes.values():
            total = sum(share.mean for share in cause.parts.shares.values())
            assert total == pytest.approx(cause.parts.gap.mean, abs=1e-9)
            assert cause.last - cause.first == pytest.approx(cause.parts.gap.mean, abs=1e-9)
        start = found.causes["validation_accuracy after batch 1"].parts.shares
        assert start[FROZEN].mean == pytest.approx(-0.3, abs=0.03) and abs(start[INIT].mean) < 0.03


def test_a_curve_is_averaged_by_the_trapezoidal_rule_over_the_updates_measured():
    (found,) = found_in(run(TWO, lambda on, step: 0.1 + (step or 0) / 100))
    cause = found.causes["validation_accuracy over 40 batches"]
    assert cause.first == pytest.approx(0.1 + 41 / 2 / 100)  # a straight line's mean
    trials, curves = run(TWO, constant)
    short = curves.filter(pa.compute.less(curves["step"], 40))
    (found,) = found_in((trials, short))
    assert not {"validation_accuracy over 40 batches", "validation_accuracy after batch 40"} & set(found.causes)
    assert "validation_accuracy after batch 20" in found.causes


def test_remedies_are_what_a_change_alone_does_to_the_slow_network():
    def effect(on, step):  # fitting the head helps the frozen network only
        return (
            0.6 - 0.4 * (FROZEN in on) + 0.35 * (HEAD in on and FROZEN in on) - 0.1 * (HEAD in on and FROZEN not in on)
        )

    square, whole = found_in(run(FIVE, effect, noise=0.001))
    effects = square.remedies["post_update_accuracy after batch 1"]
    assert set(effects) == {CODES, MATCHED, HEAD} and whole.remedies == {}
    assert effects[HEAD].mean == pytest.approx(0.35, abs=0.01) and abs(effects[CODES].mean) < 0.01
    together = whole.causes["test_accuracy"].parts.interactions[FROZEN, HEAD]
    assert together.mean == pytest.approx(0.45, abs=0.01)


def test_diagnostics_are_reported_of_both_corners():
    tables = run(TWO, additive, changes=lambda on: 0.2 if FROZEN in on else 5.0)
    (found,) = found_in(tables)
    first, last = found.diagnostics[CHANGE]
    assert first.mean == pytest.approx(5, rel=0.05) and last.mean == pytest.approx(0.2, rel=0.05)
    assert "times less." in explained(tables) and "by 0.2 [" in explained(tables)


# Words: with other numbers it says other things.

FASTER, SLOWER = "The opposite of a slow start", "Freezing the encoder, not pretraining it, makes the slow start"


def reported(noise=0.0, **effects):
    """What is said of a run of five factors with effects at every step, by field's short name."""
    fields = {"init": INIT, "frozen": FROZEN, "codes": CODES, "matched": MATCHED, "head": HEAD}
    effect = lambda on, step: 0.5 + sum(value for name, value in effects.items() if fields[name] in on)
    return explained(run(FIVE, effect, noise=noise))


def test_other_effects_make_other_words():
    slow = reported(frozen=-0.3, head=0.2, noise=1e-4)
    assert slow.startswith(SLOWER) and "fitting the head +0.2" in slow
    assert "made by freezing -0.3" in slow and "and fitting the head +0.2" in slow
    assert "not certainly by" in slow and "pretraining" in slow.split("not certainly by")[1]
    quick = reported(frozen=0.3, matched=0.1, noise=1e-4)
    assert quick.startswith(FASTER) and "freezing +0.3" in quick and "made by freezing -" not in quick
    nothing = reported(noise=1e-4)
    assert nothing.startswith("No slow start") and "of which no share is certain" in nothing
    assert len({slow, quick, nothing}) == 3


def test_interactions_are_reported_where_they_are_certain_and_only_there():
    assert "no two changes certainly add" in reported(frozen=-0.3)

    def effect(on, step):
        return 0.5 + 0.2 * (INIT in on and CODES in on)

    text = explained(run(FIVE, effect, noise=0.002, n=12))
    assert "Changes interact: to validation accuracy after batch 1, pretraining and standardising the codes add" in text
    assert "more together than apart" in text
    assert "less together than apart" in explained(run(FIVE, lambda on, step: 1 - effect(on, step), noise=0.002, n=12))


def test_first_updates_that_do_the_same_are_not_called_different():
    rng = np.random.default_rng(3)
    text = explained(run(TWO, additive, n=3, changes=lambda on: 1.0 + rng.normal(0, 0.3)))
    assert "is not certain" in text and "times" not in text
    more = explained(run(TWO, additive, changes=lambda on: 9.0 if FROZEN in on else 3.0))
    assert "3 times more." in more or "2.99 times more." in more or "3.01 times more." in more


def test_a_factorial_of_other_fields_is_reported_without_the_original_question():
    effect = lambda on, step: 0.5 + 0.2 * ("finetune.labels" in on)
    text = explained(run({"finetune.labels": (100, 500), "finetune.l2": (0.0, 0.1)}, effect, noise=0.002))
    assert "slow start" not in text and "labels=500 instead of 100 +0.2" in text


def test_one_seed_settles_nothing():
    text = explained(run(FIVE, additive, n=1))
    assert text.count("One seed settles nothing") == 2 and "[" not in text and "nan" not in text


# The report.


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("why")
    tables = run(FIVE, additive, n=6, noise=0.01, changes=lambda on: 0.2 if FROZEN in on else 5.0)
    found = answer(*tables)
    page = report.write(found, *tables, Experiment(), "2 x cpu", directory).read_text()
    return directory, found, page


def test_the_report_draws_and_lists_both_factorials(written):
    directory, found, page = written
    names = {path.stem for path in (directory / "figures").glob("*.png")}
    assert {"shares", "shares_of_5", "diagnostics"} <= names
    files = {path.stem for path in (directory / "tables").glob("*.tex")}
    assert {"shares", "shares_of_5", "interactions_of_5"} <= files
    text = (directory / "tables" / "interactions_of_5.tex").read_text()
    assert text.count(r"\times") == 10 or text.count("×") == 10  # pairs of five
    assert "What makes the gap" in page and "fitting the head" in page
    assert all(f"<p>{part[:20]}" in page for part in words.explanation(found))


def test_answer_json_holds_shares_interactions_remedies_and_diagnostics(written):
    directory, found, _ = written
    square, whole = json.loads((directory / "answer.json").read_text())["attribution"]
    assert [len(one["factors"]) for one in (square, whole)] == [2, 5]
    assert whole["factors"][4] == {"name": "fitting the head", "field": HEAD, "off": "random", "on": "ridge"}
    assert square["setting"] == {CODES: "raw", MATCHED: 0.0, HEAD: "random"}
    for metric in whole["metrics"].values():
        assert sum(share["mean"] for share in metric["shares"].values()) == pytest.approx(
            metric["gap"]["mean"], abs=1e-9
        )
        assert len(metric["interactions"]) == 10
        assert all(set(share) == {"mean", "low", "high", "p_value"} for share in metric["shares"].values())
    assert square["remedies"]["test_accuracy"].keys() == {CODES, MATCHED, HEAD}
    assert square["diagnostics"][CHANGE]["first"]["mean"] == found.factorials[0].diagnostics[CHANGE][0].mean


def test_of_many_arms_those_of_the_original_question_are_shown(written):
    _, found, _ = written
    shown = main_arms(found, 8)
    assert [arm.point[HEAD] for arm in shown] == ["random"] * 4 and main_arms(found, 32) == found.arms


def test_the_drawn_shares_are_those_of_the_answer(written):
    _, found, _ = written
    axes = gaps.shares(found.factorials[1], 0.95).axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    causes = gaps.shown_causes(found.factorials[1])
    expected = [share.mean for cause in causes.values() for share in cause.parts.shares.values()]
    np.testing.assert_allclose(widths, expected)
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(diamonds, [cause.parts.gap.mean for cause in causes.values()])


def test_intervals_are_of_the_level_asked_for():
    tables = run(TWO, additive, noise=0.02)
    usual, strict = (found_in(tables, level)[0].causes["test_accuracy"].parts.gap for level in (0.95, 0.99))
    assert strict.low < usual.low and usual.high < strict.high
    trials = tables[0].to_pylist()
    sides = [
        [row["test_accuracy"] for row in trials if (row[INIT], row[FROZEN]) == corner]
        for corner in (("pretrained", 2), ("he", 0))
    ]
    np.testing.assert_allclose(usual, estimate(np.subtract(*sides)))
