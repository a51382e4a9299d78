"""The answer says what the numbers say: simulated runs whose truth is known, and a second reading of random ones."""

import dataclasses
import io
import re

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from pretrain.commands import options
from pretrain.config import Experiment, FinetuneConfig, PretrainConfig
from pretrain.config.fields import replace_all
from pretrain.report import listings, terminal, words
from pretrain.report.names import arm_name, setting, treatment
from pretrain.report.short_names import named_shortly
from pretrain.report.terminal import BATCHES
from pretrain.study.answer import answer as conclude

INIT, FROZEN = "finetune.encoder_init", "finetune.frozen_layers"
GOES_ON = "pretrain.encoder_init"
# (pretrained, frozen), in the order in which the arms are run.
CORNERS = {
    (True, True): ("pretrained", 2),
    (True, False): ("pretrained", 0),
    (False, True): ("he", 2),
    (False, False): ("he", 0),
}
HE_TRAINABLE, PRETRAINED_FROZEN = (False, False), (True, True)

NO_SLOW_START = "No slow start"
UNCERTAIN = "Whether the pretrained, frozen network starts slowly is not certain"
OPPOSITE = "The opposite of a slow start"
FREEZING = "Freezing the encoder, not pretraining it, makes the slow start"
PRETRAINING = "Pretraining the encoder, not freezing it, makes the slow start"
BOTH = "Pretraining and freezing both make the slow start"
OPEN = "What makes the slow start stays open"


def answer(trials, curves):
    """What explains the result, in words."""
    return " ".join(words.explanation(conclude(trials, curves)))


def show(trials, curves, console):
    """Prints all."""
    terminal.show(conclude(trials, curves), trials, curves, console, Experiment(), "runs/here")


def finetune_curves(rows):
    """Curves of fine-tunings, from (trial id, metric, step, value), in the precision in which effects are planted."""
    trial_ids, metrics, steps, values = zip(*rows, strict=True)
    columns = {
        "trial_id": pa.array(trial_ids).dictionary_encode(),
        "stage": pa.array(["finetune"] * len(rows)).dictionary_encode(),
        "step": pa.array(steps, pa.int32()),
        "metric": pa.array(metrics).dictionary_encode(),
        "value": pa.array(values, pa.float64()),
    }
    return pa.table(columns)


def tables(arms, diverged=()):
    """Trials and curves from, for each arm, its point and what its seeds measured: (start, end) arrays.

    The start is the accuracy after every one of ``BATCHES``, the end the accuracies on validation and test images.
    """
    trials, curves = [], []
    for number, (point, start, end) in enumerate(arms):
        for seed in range(len(start)):
            trial, lost = f"{number:x}{seed:x}", (number, seed) in diverged
            results = dict.fromkeys(("test_accuracy", "validation_accuracy"), float("nan") if lost else end[seed])
            trials.append({"trial_id": trial, "seed": seed, **point, "status": "diverged" if lost else "ok", **results})
            metrics = ("post_update_accuracy", "validation_accuracy")
            curves += [(trial, metric, step, start[seed]) for metric in metrics for step in BATCHES]
    return pa.Table.from_pylist(trials), finetune_curves(curves)


def four_corners(start, end, diverged=()):
    """The tables of a run over the four corners, from arrays [seeds] by corner."""
    points = [{INIT: init, FROZEN: frozen} for init, frozen in CORNERS.values()]
    arms = [(point, start[key], end[key]) for point, key in zip(points, CORNERS, strict=True)]
    return tables(arms, diverged)


def effects(base, pretraining=0.0, freezing=0.0, n=8, noise=0.01, seed=0):
    """Accuracies [n] by corner, in which each factor has an effect of its own, which their means hold exactly."""
    rng = np.random.default_rng(seed)

    def around_zero(scale):
        draws = rng.normal(0, scale, n)
        return draws - draws.mean()

    shared = around_zero(noise)  # by the seed's label subset and batches
    return {key: base + pretraining * key[0] + freezing * key[1] + shared + around_zero(noise / 4) for key in CORNERS}


@pytest.mark.parametrize(
    ("start", "cause"),
    [
        (effects(0.6, freezing=-0.4), FREEZING),
        (effects(0.6, pretraining=-0.4), PRETRAINING),
        (effects(0.7, freezing=-0.3, pretraining=-0.2), BOTH),
        # Freezing slows by more than pretraining helps, and pretraining by more than freezing helps.
        (effects(0.6, freezing=-0.4, pretraining=0.2), FREEZING),
        (effects(0.6, freezing=0.2, pretraining=-0.4), PRETRAINING),
        (effects(0.6, freezing=0.2), OPPOSITE),
        (effects(0.6, freezing=-0.2, pretraining=0.3), OPPOSITE),
        # Each has its effect, and between them they make no gap.
        (effects(0.6, freezing=-0.3, pretraining=0.3, noise=0.1), NO_SLOW_START),
        (effects(0.6), NO_SLOW_START),
        (effects(0.6, noise=0.0), "Whether the pretrained, frozen network starts slowly is not certain"),
    ],
    ids=[
        "freezing",
        "pretraining",
        "both",
        "freezing against pretraining",
        "pretraining against freezing",
        "a quick start",
        "a quick start in spite of freezing",
        "effects that cancel",
        "nothing",
        "nothing, without any noise",
    ],
)
def test_the_cause_is_the_simulated_one(start, cause):
    assert answer(*four_corners(start, effects(0.9))).startswith(f"{cause}: after batch 1")


def test_a_gap_whose_parts_are_both_uncertain_is_left_open():
    # The parts vary against each other from seed to seed, so that only their sum is certain.
    swing = np.array([0.5, -0.5, 0.4, -0.4, 0.3, -0.3, 0.2, -0.2])
    start = {
        (False, False): 0.6 + 0 * swing,
        (True, False): 0.55 + swing,
        (False, True): 0.55 - swing,
        (True, True): 0.5 + 0 * swing,
    }
    assert answer(*four_corners(start, effects(0.9))).startswith(OPEN)


def test_a_part_that_may_be_large_is_not_said_to_be_none():
    swing = 0.25 * np.array([1, -1, 1, -1, 1, -1, 0.5, -0.5])
    start = {
        (False, False): 0.6 + swing / 2,
        (True, False): 0.57 - swing / 2,
        (False, True): 0.2 + swing / 2,
        (True, True): 0.17 - swing / 2,
    }
    text = answer(*four_corners(start, effects(0.9)))
    assert text.startswith("Freezing makes the slow start; whether pretraining has a part in it is not certain")


def test_a_gap_that_may_be_large_is_not_said_to_be_none():
    noisy = effects(0.6, freezing=-0.1)
    noisy[True, True] = noisy[True, True] + 0.3 * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    assert answer(*four_corners(noisy, effects(0.9))).startswith(UNCERTAIN)


def test_few_seeds_settle_nothing_however_clear_they_look():
    text = answer(*four_corners(effects(0.6, freezing=-0.4, n=5), effects(0.9, n=5)))
    assert text.startswith("5 seeds settle nothing, at least 6 can: after batch 1")
    assert "makes the slow start" not in text and "not distinguished" in text


@pytest.mark.parametrize(
    ("end", "verdict"),
    [
        (effects(0.85, pretraining=0.05), "better"),
        (effects(0.85, freezing=0.05), "better"),
        (effects(0.85, pretraining=-0.05), "worse"),
        (effects(0.85), "not distinguished"),
        (effects(0.85, pretraining=0.05, freezing=-0.05), "not distinguished"),
        (effects(0.85, noise=0.0), "not distinguished"),
        (effects(0.85, pretraining=0.02, n=7, noise=0.2), "not distinguished"),
    ],
)
def test_the_end_is_better_worse_or_not_distinguished(end, verdict):
    text = answer(*four_corners(effects(0.6, freezing=-0.4, n=len(end[HE_TRAINABLE])), end))
    assert re.search(rf", {verdict} \(", text)


def test_every_number_of_the_answer_is_the_simulated_one():
    start, end = effects(0.62, freezing=-0.35, pretraining=-0.05), effects(0.85, pretraining=0.03)
    text = answer(*four_corners(start, end))
    first, second = start[PRETRAINED_FROZEN].mean(), start[HE_TRAINABLE].mean()
    gap = end[PRETRAINED_FROZEN] - end[HE_TRAINABLE]
    low, high = stats.t.interval(0.95, 7, loc=gap.mean(), scale=stats.sem(gap))
    assert (
        f"the pretrained, frozen network is at {first:.2f} and the trainable one from scratch (He) at {second:.2f}"
        in text
    )
    assert f"a gap of {first - second:+.2f} of which freezing makes -0.35" in text
    ends = f"{end[PRETRAINED_FROZEN].mean():.3f} and the latter at {end[HE_TRAINABLE].mean():.3f}"
    assert f"the former tests at {ends}, better ({gap.mean():+.3f} [{low:+.3f}, {high:+.3f}]; 8 seeds" in text
    assert text.count("\n") == 0 and text.endswith(".")


@pytest.mark.parametrize("n_runs", [10, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("pretraining", "freezing"), [(0.0, 0.0), (-0.1, -0.2), (0.0, -0.2), (0.1, -0.1)])
def test_what_is_said_of_noisy_runs_is_seldom_false(pretraining, freezing, n_runs):
    wrong = 0
    for seed in range(n_runs):
        rng = np.random.default_rng(seed)
        start = effects(0.5, pretraining, freezing, 8, 0.05, seed)
        start = {key: values + rng.normal(0, 0.1, 8) for key, values in start.items()}
        said = answer(*four_corners(start, effects(0.8, seed=seed))).split(":")[0]
        false = {
            FREEZING: not freezing < 0 <= pretraining,
            PRETRAINING: not pretraining < 0 <= freezing,
            BOTH: not (pretraining < 0 and freezing < 0),
            OPPOSITE: pretraining + freezing <= 0,
            NO_SLOW_START: pretraining + freezing < -0.05,
        }
        wrong += false.get(said, False)
    # "not pretraining" is also said of a part that is small beside the gap, and so is not certainly none.
    assert wrong / n_runs <= 0.1, wrong / n_runs


def test_one_seed_settles_nothing():
    text = answer(*four_corners(effects(0.6, freezing=-0.4, n=1), effects(0.9, n=1)))
    assert text.startswith("One seed settles nothing") and "--seeds" in text
    for word in ("better", "worse", "makes the slow start", "[", "nan", "inf"):
        assert word not in text


def test_corners_are_explained_by_the_seeds_in_which_each_trains():
    start, end = effects(0.6, freezing=-0.4, n=9), effects(0.9, n=9)
    whole = answer(*four_corners(start, end, diverged={(0, 1), (3, 4)}))
    assert "9 seeds, each cell where it trains, in 8 at least" in whole and whole.startswith(FREEZING)


def test_when_all_diverged_the_answer_says_so():
    everything = {(number, seed) for number in range(4) for seed in range(3)}
    run = four_corners(effects(0.6, n=3), effects(0.9, n=3), diverged=everything)
    assert answer(*run) == "Every trial diverged; lower the learning rates."
    assert "3 diverged" in shown(*run)


def test_without_a_whole_corner_the_best_of_the_others_is_named():
    run = four_corners(effects(0.6, n=3), effects(0.8, pretraining=0.1, n=3), diverged={(0, seed) for seed in range(3)})
    text = answer(*run)
    assert text.startswith(
        "Best on validation is pretrained, trainable; corrected for choosing among 3, it tests at 0.9"
    )
    assert "n = 3 seeds" in text


def labels_sweep(ends, n=4, diverged=()):
    arms = [({"finetune.labels": labels}, np.full(n, 0.5), mean + 0.01 * np.arange(n)) for labels, mean in ends.items()]
    return tables(arms, diverged)


def test_another_sweep_is_answered_by_its_best_arm_on_validation():
    trials, curves = labels_sweep({100: 0.7, 200: 0.8, 300: 0.75})
    # Test accuracies say otherwise, and must not be asked.
    misleading = pa.array([0.99 if labels == 100 else 0.5 for labels in trials["finetune.labels"].to_pylist()])
    trials = trials.set_column(trials.column_names.index("test_accuracy"), "test_accuracy", misleading)
    assert (
        answer(trials, curves)
        == "Best on validation is labels=200; corrected for choosing among 3, it tests at 0.500 (n = 4 seeds)."
    )


def test_the_margin_of_the_best_arm_is_students():
    values = 0.8 + 0.01 * np.arange(4)
    margin = stats.t.ppf(0.975, 3) * stats.sem(values)
    text = answer(*labels_sweep({100: 0.7, 200: 0.8}))
    assert text.endswith(
        f"it tests at {values.mean():.3f} [{values.mean() - margin:.3f}, {values.mean() + margin:.3f}] (n = 4 seeds)."
    )


def test_one_seed_of_another_sweep_has_no_margin():
    text = answer(*labels_sweep({100: 0.7, 200: 0.8}, n=1))
    assert text == "Best on validation is labels=200; it tests at 0.800 (n = 1 seed)."


def test_a_run_without_a_sweep_is_answered():
    assert "all trials; it tests at 0.7" in answer(*tables([({}, np.full(3, 0.5), np.full(3, 0.7))]))


def shown(trials, curves, width=130):
    """What a terminal of so many columns is shown."""
    console = options.console(io.StringIO(), width)
    show(trials, curves, console)
    return console.file.getvalue()


HE = "from scratch (He)"


def row_of(page, *values):
    """The cells beside those of the swept fields, in the one row that begins with their values."""
    rows = [line.replace(HE, "he").split() for line in page.splitlines()]
    (row,) = [row for row in rows if row[: len(values)] == [str(value) for value in values]]
    return row[len(values) :]


def cell(values, digits):
    return [f"{np.mean(values):.{digits}f}"[1:], f"±{np.std(values, ddof=1):.{digits}f}".replace("±0", "±")]


def test_the_table_has_a_row_an_arm_with_mean_and_deviation():
    start, end = effects(0.5, freezing=-0.3, noise=0.05), effects(0.85, pretraining=0.02, noise=0.01)
    page = shown(*four_corners(start, end))
    for key, (init, frozen) in CORNERS.items():
        assert row_of(page, init, frozen) == [*cell(start[key], 2) * 6, *cell(end[key], 3), "8"]
    assert answer(*four_corners(start, end)) in page
    assert page.count("trained ") >= 3 and page.count("validation") == 3


def test_the_table_counts_what_diverged_and_marks_what_was_not_measured():
    trials, curves = four_corners(effects(0.5, n=3), effects(0.85, n=3), diverged={(0, 1)})
    early = curves.filter(pa.compute.less(curves["step"], 20))
    page = shown(trials, early)
    assert page.count("(1 diverged)") == 1 and "trials that diverged: 1." in page
    cells = row_of(page, "pretrained", 2)
    assert cells[-3:] == ["2", "(1", "diverged)"]
    assert cells.count("–") == 0 and "batch 5" in page and "batch 20" not in page  # which nobody measured
    lost = pa.compute.equal(curves["trial_id"], trials["trial_id"][-1])
    partly = curves.filter(pa.compute.invert(pa.compute.and_(lost, pa.compute.greater_equal(curves["step"], 20))))
    assert shown(trials, partly).count("–") == 2
    assert row_of(page, "he", 0)[-1] == "3"


def test_the_table_of_one_seed_has_no_deviations():
    page = shown(*four_corners(effects(0.5, n=1), effects(0.85, n=1)))
    body = [line for line in page.splitlines() if line.startswith(("pretrained ", HE))]
    assert len(body) == 4 and not any("±" in line for line in body)


@pytest.mark.parametrize(("width", "n_columns"), [(127, 6), (107, 4), (77, 2), (65, 1), (52, 0)])
def test_a_narrow_terminal_is_shown_fewer_columns_and_no_row_is_wrapped(width, n_columns):
    page = shown(*four_corners(effects(0.5, n=3, noise=0.05), effects(0.85, n=3)), width)
    assert page.count("encoder_init") == page.count("frozen_layers") == 1
    for init, frozen in CORNERS.values():
        cells = row_of(page, init, frozen)
        assert len(cells) == 2 * n_columns + 3 and not any("…" in cell for cell in cells)


def test_of_many_arms_a_dozen_are_shown_both_of_each_comparison():
    arms = [
        ({INIT: init, "finetune.labels": labels}, np.full(3, 0.5), np.full(3, 0.7))
        for init in ("pretrained", "he")
        for labels in range(100, 1100, 100)
    ]
    page = shown(*tables(arms))
    rows = [line.replace(HE, "he").split()[:2] for line in page.splitlines() if line.startswith(("pretrained ", HE))]
    assert len(rows) == 12
    assert [labels for init, labels in rows if init == "he"] == [labels for init, labels in rows if init != "he"]
    assert "12 of 20 arms; python launch.py table runs/here shows all" in page


def test_a_name_is_no_markup():
    arms = [({"data.name": f"[bold]{name}[/]"}, np.full(3, 0.5), np.full(3, 0.7)) for name in "ab"]
    assert "[bold]a[/]" in shown(*tables(arms))


def test_a_perfect_accuracy_is_not_shortened():
    page = shown(*four_corners(effects(1.0, n=3, noise=0.0), effects(1.0, n=3, noise=0.0)))
    assert row_of(page, "he", 0) == [*["1.00", "±.00"] * 6, "1.000", "±.000", "3"]


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ({INIT: "pretrained", FROZEN: 2}, "pretrained, 2 frozen"),
        ({INIT: "pretrained", FROZEN: 0}, "pretrained, trainable"),
        ({INIT: "he", FROZEN: 0}, "from scratch (He), trainable"),
        ({"finetune.labels": 100, "finetune.optimizer.learning_rate": 0.1}, "labels=100, learning_rate=0.1"),
        ({INIT: "he"}, "from scratch (He)"),
        ({}, "all trials"),
        ({"finetune.l2": 0.1, "pretrain.l2": 0.2}, "finetune.l2=0.1, pretrain.l2=0.2"),
        ({"encoder.layers": [300, 150]}, "layers=[300, 150]"),
        (
            {INIT: "he", FROZEN: 2, "finetune.first_logit_change": 2.0},
            "from scratch (He), 2 frozen, start matched to 2",
        ),
    ],
)
def test_arms_are_named_as_one_says_it(point, name):
    assert arm_name(point) == name


def test_the_terminal_names_what_a_conclusion_rests_on():
    run = four_corners(effects(0.5), effects(0.85), diverged={(0, 1), (2, 3)})
    text = words.basis(conclude(*run), Experiment())
    for part in (
        "8 seeds of 4 arms on mnist",
        "trials that diverged: 2",
        "is 0.01 for all arms, tuned for none",
    ):
        assert part in text
    assert text in shown(*run)
    rate = "finetune.optimizer.learning_rate"
    swept = tables([({rate: value}, np.full(1, 0.5), np.full(1, 0.7)) for value in (0.1, 0.01)])
    text = words.basis(conclude(*swept), Experiment())
    for part in ("1 seed of 2 arms", "no trial diverged", "learning rate is swept;"):
        assert part in text
    others = tables([({"data.name": name}, np.full(1, 0.5), np.full(1, 0.7)) for name in ("a.npz", "b.npz")])
    fresh = replace_all(Experiment(), {"data.splits": "fresh", "finetune.readout": "ridge"})
    text = words.basis(conclude(*others), fresh)
    assert "2 arms on a.npz and b.npz," in text and text.endswith("each seed on a split of the data of its own.")


def test_he_stands_once_where_only_pretraining_is_swept():
    """His networks are the same whatever pretraining did, and a seed's are trained once."""
    arms = [
        ({INIT: init, "pretrain.l2": value}, np.full(3, 0.5), np.full(3, 0.7 if init == "he" else 0.8))
        for value in (0.0, 0.1, 0.2)
        for init in ("pretrained", "he")
    ]
    trials, curves = tables(arms)
    page, found = shown(trials, curves), conclude(trials, curves)
    rows = [line.split()[:4] for line in page.splitlines() if line.startswith(("pretrained ", HE))]
    assert [row[1] for row in rows if row[0] == "pretrained"] == ["0", "0.1", "0.2"]
    assert [row for row in rows if row[0] == "from"] == [["from", "scratch", "(He)", "–"]]
    assert len(found.comparisons) == 3 and len(found.arms) == 6
    listed = [row[0] for row in listings.arms(found).rows]
    assert listed == ["pretrained, l2=0", HE, "pretrained, l2=0.1", "pretrained, l2=0.2"]
    assert "of 4 arms" in page and page.count(HE) == 1


def test_what_an_arms_grid_does_not_sweep_is_no_value():
    trials, curves = tables(
        [
            ({INIT: "pretrained", "finetune.readout": None}, np.full(3, 0.5), np.full(3, 0.8)),
            ({INIT: "he", "finetune.readout": None}, np.full(3, 0.5), np.full(3, 0.7)),
            ({INIT: "none", "finetune.readout": "logistic"}, np.full(3, 0.5), np.full(3, 0.75)),
        ]
    )
    page = shown(trials, curves)
    assert "None" not in page and "readout=" not in verdict_of(trials, curves)
    names = [row[0] for row in listings.arms(conclude(trials, curves)).rows]
    assert names == ["pretrained", HE, "no encoder, logistic read-out"]


def verdict_of(trials, curves):
    return words.headline(conclude(trials, curves), Experiment())


@pytest.mark.parametrize(
    ("init", "said"),
    [("he", HE), ("pretrained", "with the encoder pretrained"), ("none", "without an encoder")],
)
def test_an_encoder_that_both_arms_share_is_named(init, said):
    assert setting({INIT: init, "finetune.labels": 100}) == f"{said} at 100 labels"


def test_encoders_pretrained_on_other_data_are_not_called_wrong():
    assert arm_name({INIT: "wrong_data"}) == "another source"
    assert treatment(INIT, "wrong_data", "he") == "pretraining on another source"
    assert treatment(INIT, "pca", "wrong_data") == "PCA instead of another source"
    assert arm_name({INIT: "weights"}) == "from a checkpoint"
    named = Experiment(finetune=FinetuneConfig(encoder_init="weights", weights="a/enc.pt"))
    with named_shortly(named):
        assert arm_name({INIT: "weights"}) == "from enc.pt"
        assert treatment(INIT, "weights", "he") == "starting from enc.pt"


def test_pretraining_that_goes_on_from_a_checkpoint_is_named():
    assert arm_name({INIT: "pretrained", GOES_ON: "he"}) == "pretrained"
    assert arm_name({INIT: "pretrained", GOES_ON: "weights"}) == "pretrained, going on from a checkpoint"
    assert treatment(GOES_ON, "weights", "he") == "going on from a checkpoint"
    own = Experiment(finetune=FinetuneConfig(weights="a/enc.pt"), pretrain=PretrainConfig(encoder_init="weights"))
    with named_shortly(own):
        assert arm_name({INIT: "pretrained"}) == "pretrained going on from enc.pt"
        assert treatment(INIT, "pretrained", "he") == "going on from enc.pt"
        assert arm_name({INIT: "weights"}) == "from enc.pt"
    swept = dataclasses.replace(own, pretrain=PretrainConfig(), sweep=({GOES_ON: ("he", "weights")},))
    with named_shortly(swept):
        assert arm_name({INIT: "pretrained", GOES_ON: "weights"}) == "pretrained, going on from enc.pt"
