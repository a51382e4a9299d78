"""Looks at stored predictions are what NumPy counts in float64; which arms and networks they are of is stated."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import DataConfig, EncoderConfig, FinetuneConfig, Settings
from pretrain.config.fields import ConfigError
from pretrain.data import inputs_file
from pretrain.data.columns import Record
from pretrain.data.dataset import Origin, Units
from pretrain.data.scaling import Column, Scaling, fit
from pretrain.runs.looks_file import Looks
from pretrain.study import look_at_codes, look_at_predictions, look_at_rows, looks
from pretrain.study.answer import answer
from pretrain.study.arms import Arm
from tests.report.test_terminal import FROZEN, INIT, effects, four_corners, tables

RNG = np.random.default_rng(0)
NAMES = tuple("abcd")
EMPTY = np.zeros(0, int)
PLAIN = Scaling("none", (), EMPTY, np.zeros(0), EMPTY, np.zeros(0), np.zeros(0))


def arm(*trials, point=None, **results):
    return Arm(point or {}, tuple(range(len(trials))), trials, results=results)


def source(stored, task="classification", names=NAMES, probable=True, units=None, shape=(3,), scaling=PLAIN, **others):
    """A source of trials' stored predictions, of one dataset, or of one a trial by its rows."""
    rows = others.pop("rows", {})

    def dataset(trial):
        n = len(stored[trial]["targets"])
        inputs = np.arange(n * int(np.prod(shape)), dtype=np.float32).reshape(n, -1)
        labels = stored[trial]["targets"]
        test = SimpleNamespace(inputs=others.get("inputs", inputs), labels=labels)
        origins = {"test": Origin(rows[trial], None)} if trial in rows else {}
        of_data = {"test": test, "origins": origins, "scaling": scaling, "records": others.get("records", ())}
        of_data |= {"example_shape": shape, "has_axes": len(shape) > 1, "interval": (0.0, 1.0)}
        return SimpleNamespace(task=task, output_names=names, units=units, **of_data)

    of_trials = {"dataset": dataset, "predictions": stored.get, "trials": stored}
    return SimpleNamespace(**of_trials, has_probabilities=lambda trial: probable, trained_from=lambda trial: 0)


def of_classes(n=200, k=4, seed=0, missing=()):
    """Predictions as they are stored: logarithms of probabilities in float16; some classes have no test row."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, k))
    scores = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float16)
    targets = rng.choice([number for number in range(k) if number not in missing], n)
    return {"scores": scores, "classes": logits.argmax(axis=1).astype(np.uint8 if k < 256 else np.uint16)} | {
        "targets": targets
    }


@pytest.mark.parametrize("k", [2, 4])
def test_classes_are_counted_by_true_and_predicted_over_all_trials(k):
    stored = {f"t{seed}": of_classes(k=k, seed=seed, missing=(k - 1,)) for seed in range(3)}
    for trial in stored.values():
        trial["classes"] = np.where(trial["classes"] == 0, 1, trial["classes"])  # the first is predicted never
    found, other = look_at_predictions.confused(source(stored, names=NAMES[:k]), [arm("t0", "t1"), arm("t2")])
    expected = np.zeros((k, k), int)
    for trial in ("t0", "t1"):
        for truth, predicted in zip(stored[trial]["targets"], stored[trial]["classes"], strict=True):
            expected[truth, predicted] += 1
    np.testing.assert_array_equal(found.counts, expected)
    assert not expected[k - 1].any() and not expected[:, 0].any() and not len(found.pairs)
    assert other.counts.sum() == 200 and other.trial_ids == ("t2",)


def test_of_300_classes_the_most_confused_pairs_are_kept():
    stored = {f"t{seed}": of_classes(3000, 300, seed) for seed in range(2)}
    for trial in stored.values():
        trial["classes"] = np.where(trial["targets"] == 7, 9, trial["classes"])
    (found,) = look_at_predictions.confused(source(stored, names=tuple(map(str, range(300)))), [arm("t0", "t1")])
    assert found.counts.shape == (0, 0) and found.pairs.shape == (20, 4)
    truth = np.concatenate([each["targets"] for each in stored.values()])
    predicted = np.concatenate([each["classes"] for each in stored.values()])
    for one, other, n, of in found.pairs:
        assert n == np.sum((truth == one) & (predicted == other)) and of == np.sum(truth == one) and one != other
    assert found.pairs[0, :2].tolist() == [7, 9] and (np.diff(found.pairs[:, 2]) <= 0).all()


def reference(chances, are_so, n):
    """Bins of as many rows each, in float64, row by row."""
    order = sorted(range(len(chances)), key=lambda row: chances[row])
    sizes = [len(order) // n + (place < len(order) % n) for place in range(n)]
    bins, start = [], 0
    for size in sizes:
        part = order[start : start + size]
        bins.append((np.mean([chances[row] for row in part]), np.mean([are_so[row] for row in part]), size))
        start += size
    return np.array(bins)


def test_calibration_is_of_the_predicted_class_in_bins_of_as_many_rows():
    stored = {f"t{seed}": of_classes(n=203, seed=seed) for seed in range(2)}
    (found,) = look_at_predictions.calibrated(source(stored), [arm("t0", "t1")])
    for bins, error, each in zip(found.bins, found.errors, stored.values(), strict=True):
        chances = [
            float(np.exp(np.float64(row[which]))) for row, which in zip(each["scores"], each["classes"], strict=True)
        ]
        expected = reference(chances, each["classes"] == each["targets"], 10)
        np.testing.assert_allclose(bins, expected, rtol=1e-12)
        of_rows = np.abs(expected[:, 0] - expected[:, 1]) @ expected[:, 2] / 203
        assert error == pytest.approx(of_rows, rel=1e-12)


@pytest.mark.parametrize(("n", "bins"), [(5, 1), (40, 2), (5000, 15)])
def test_bins_are_fewer_of_few_rows(n, bins):
    (found,) = look_at_predictions.calibrated(source({"t0": of_classes(n=n)}), [arm("t0")])
    assert found.bins.shape == (1, bins, 3) and found.bins[..., 2].sum() == n


def test_calibration_of_labels_is_over_those_that_are_known():
    targets = np.where(RNG.random((50, 3)) < 0.3, np.nan, RNG.integers(0, 2, (50, 3)))
    stored = {"t0": {"scores": RNG.normal(size=(50, 3)).astype(np.float16), "targets": targets}}
    (found,) = look_at_predictions.calibrated(source(stored, "multilabel", NAMES[:3]), [arm("t0")])
    known = ~np.isnan(targets)
    chances = 1 / (1 + np.exp(-stored["t0"]["scores"][known].astype(float)))
    np.testing.assert_allclose(found.bins[0], reference(chances, targets[known] > 0, known.sum() // 20), rtol=1e-12)
    assert found.task == "multilabel"
    assert look_at_predictions.confused(source(stored, "multilabel", NAMES[:3]), [arm("t0")]) == []


@pytest.mark.parametrize(("task", "probable"), [("regression", True), ("classification", False)])
def test_scores_that_are_no_probabilities_are_not_calibrated(task, probable):
    held = {"scores": RNG.normal(size=(9, 1)), "targets": RNG.normal(size=(9, 1))}
    stored = {"t0": held if task == "regression" else of_classes()}
    assert look_at_predictions.calibrated(source(stored, task, probable=probable), [arm("t0")]) == []


def test_rows_are_in_the_order_of_how_surely_they_are_wrong_over_the_trials_that_have_them():
    stored = {f"t{seed}": of_classes(n=60, seed=seed) for seed in range(3)}
    rows = {trial: np.sort(np.random.default_rng(place).permutation(100)[:60]) for place, trial in enumerate(stored)}
    truth = np.random.default_rng(9).integers(0, 4, 100)
    for trial, each in stored.items():
        each["targets"] = truth[rows[trial]]
    (found,) = look_at_rows.wrong(source(stored, rows=rows), [arm("t0", "t1"), arm("t2")])
    sure, n, n_wrong = np.zeros(100), np.zeros(100), np.zeros(100)
    for trial in ("t0", "t1"):
        for row, score, predicted in zip(
            rows[trial], *(stored[trial][name] for name in ("scores", "classes")), strict=True
        ):
            n[row] += 1
            if predicted != truth[row]:
                n_wrong[row] += 1
                sure[row] += np.exp(float(score[predicted]))
    order = np.argsort(-sure / np.maximum(n, 1), kind="stable")[:12]
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_allclose(found.sizes, (sure / np.maximum(n_wrong, 1))[order], rtol=1e-12)
    np.testing.assert_allclose(found.shares, (n_wrong / np.maximum(n, 1))[order])
    assert found.truths == tuple(NAMES[truth[row]] for row in order) and found.measure == "probability"
    assert all(one != other for one, other in zip(found.truths, found.predictions, strict=True))
    for row, other in zip(found.rows, found.others, strict=True):
        at = np.flatnonzero(rows["t2"] == row)
        assert other == (stored["t2"]["classes"][at[0]] != truth[row]) if len(at) else np.isnan(other)
    assert "cut" in found.origin and found.columns == ("0", "1", "2")
    place = np.flatnonzero(rows["t0"] == order[0]) if order[0] in rows["t0"] else np.flatnonzero(rows["t1"] == order[0])
    assert [float(cell) for cell in found.cells[0]] == [3 * place[0] + column for column in range(3)]


def test_without_probabilities_rows_are_in_the_order_of_their_lead_and_of_none_wrong_none_is_shown():
    stored = {"t0": {"scores": np.array([[0.9, 0.2], [0.1, 0.6], [0.4, 0.5]]), "classes": np.array([0, 1, 1])}}
    stored["t0"]["targets"] = np.array([1, 0, 1])
    (found,) = look_at_rows.wrong(source(stored, names=NAMES[:2], probable=False), [arm("t0")])
    np.testing.assert_allclose(found.sizes, [0.7, 0.5])
    assert found.rows.tolist() == [0, 1] and found.measure == "score" and np.isnan(found.others).all()
    stored["t0"]["targets"] = stored["t0"]["classes"]
    (found,) = look_at_rows.wrong(source(stored, names=NAMES[:2]), [arm("t0")])
    assert len(found.rows) == 0 and found.truths == ()


def test_of_several_labels_the_label_is_named_and_unknown_ones_are_not_wrong():
    targets = np.array([[1, np.nan], [0, 1], [1, 1]])
    stored = {"t0": {"scores": np.array([[-3.0, 9.0], [2.0, 1.0], [1.0, -1.0]]), "targets": targets}}
    (found,) = look_at_rows.wrong(source(stored, "multilabel", ("p", "q")), [arm("t0")])
    assert found.rows.tolist() == [0, 1, 2]
    assert found.truths == ("p: there", "p: not there", "q: there")
    np.testing.assert_allclose(found.sizes, 1 / (1 + np.exp([-3.0, -2.0, -1.0])))


def test_numbers_are_in_the_order_of_their_mean_errors_in_deviations():
    units = Units(np.array([10.0, 0.0]), np.array([5.0, 0.1]))
    truth = units.restored(RNG.normal(size=(40, 2)))
    stored = {
        f"t{seed}": {"targets": truth, "scores": truth + RNG.normal(size=(40, 2)) * [2, 0.3]} for seed in range(3)
    }
    at = source(stored, "regression", ("u", "v"), units=units)
    (found,) = look_at_rows.wrong(at, [arm("t0", "t1"), arm("t2")])
    errors = np.mean([stored[trial]["scores"] - truth for trial in ("t0", "t1")], axis=0)
    order = np.argsort(-np.abs(errors / units.deviation).ravel(), kind="stable")[:12]
    np.testing.assert_array_equal(found.rows, order // 2)
    np.testing.assert_allclose(found.sizes, errors.ravel()[order], rtol=1e-9)
    np.testing.assert_allclose(found.others, (stored["t2"]["scores"] - truth).ravel()[order], rtol=1e-9)
    assert found.measure == "error" and np.isnan(found.shares).all() and found.truths[0][:3] in ("u: ", "v: ")
    one, other = look_at_rows.scattered(at, [arm("t0", "t1"), arm("t2")])
    assert one.names == ("u", "v") and one.n_rows == 40
    for output in range(2):
        np.testing.assert_allclose(one.points[output, :, 0], truth[:, output])
        np.testing.assert_allclose(one.points[output, :, 1], (truth + errors)[:, output])
    np.testing.assert_allclose(other.points[..., 1], stored["t2"]["scores"].T)
    assert look_at_rows.scattered(source({"t0": of_classes()}), [arm("t0")]) == []


def test_columns_are_as_the_table_has_them():
    names = ("age", "colour=red", "colour=", "flag")
    offset, divisor = np.array([40.0, 0, 0, 0]), np.array([8.0, 1, 1, 1])
    scaling = Scaling("standardise", names, np.array([0, 1, 2, 3]), np.full(4, 40.0), np.array([0]), offset, divisor)
    rows = np.array([[0.3125, 1, 0, 1, 0], [0, 0, 1, 0, 1], [0.25, 0, 0, 1, 0]], np.float32)
    records = [Record("age", "numbers", "numbers", 1), Record("colour", "texts", "categories", 0, ("red", ""))]
    records.append(Record("flag", "numbers", "0 and 1", 0))
    stored = {"t0": {"scores": np.log(np.array([[0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])), "classes": np.ones(3, int)}}
    stored["t0"]["targets"] = np.zeros(3, int)
    of_table = {"inputs": rows, "records": records, "scaling": scaling, "shape": (5,)}
    (found,) = look_at_rows.wrong(source(stored, names=NAMES[:2], **of_table), [arm("t0")])
    assert found.columns == ("age", "colour", "flag")
    assert found.cells.tolist() == [["42.5", "red", "1"], ["–", "(none)", "0"], ["42", "–", "1"]]


@pytest.mark.parametrize("method", ["standardise", "none"])
def test_what_inputs_do_not_tell_has_no_value(method):
    names = ("age", "height", "year", "site=a")
    rows = np.array([[30, 100, 2000, 1], [40, np.nan, 2000, 1], [59, 104, 2000, 1]])
    held_out = np.array([[43.0, 103, 2000, 1], [31, np.nan, 2019, 1], [np.nan, 102, 1999, 1], [33, 99, 2000, 1]])
    columns = tuple(Column(*name.partition("=")[::2]) if "=" in name else Column(name) for name in names)
    scaling = fit([rows], [held_out], method, columns).scaling
    records = [Record("age", "numbers", "numbers", 1), Record("height", "numbers", "numbers", 2)]
    records += [Record("year", "numbers", "numbers", 0), Record("site", "texts", "categories", 0, ("a",))]
    stored = {"t0": {"scores": np.log(np.full((4, 2), 0.5)), "classes": np.ones(4, int), "targets": np.zeros(4, int)}}
    of_table = {"inputs": scaling.applied(held_out), "records": records, "scaling": scaling, "shape": (5,)}
    (found,) = look_at_rows.wrong(source(stored, names=NAMES[:2], **of_table), [arm("t0")])
    assert found.columns == ("age", "height", "year", "site")
    year, site = (("2,000", "2,019", "1,999", "2,000"), "a") if method == "none" else ("–" * 4, "–")
    expected = [["–", "103"], ["31", "–"], ["–", "102"], ["33", "99"]]  # 43 is the mean of what is not missing, too
    assert found.cells.tolist() == [[*row, one, site] for row, one in zip(expected, year, strict=True)]
    everywhere = [records[0]._replace(missing=0), *records[1:]]
    (found,) = look_at_rows.wrong(source(stored, names=NAMES[:2], **of_table | {"records": everywhere}), [arm("t0")])
    assert found.cells[0, 0] == "43"


def test_errors_of_splits_of_their_own_deviations_stay_in_the_targets_units():
    targets = {"t0": np.array([[1.0], [2.0]]), "t1": np.array([[2.0], [30.0]])}
    scores = {"t0": np.array([[4.0], [7.0]]), "t1": np.array([[5.0], [36.0]])}
    stored = {trial: {"targets": targets[trial], "scores": scores[trial]} for trial in targets}
    rows = {"t0": np.array([5, 6]), "t1": np.array([6, 7])}
    at = source(stored, "regression", ("u",), units=Units(np.zeros(1), np.ones(1)), rows=rows)
    of_one, deviations = at.dataset, {"t0": 1.0, "t1": 10.0}
    at.dataset = lambda trial: SimpleNamespace(
        **{**vars(of_one(trial)), "units": Units(np.zeros(1), np.array([deviations[trial]]))}
    )
    (found,) = look_at_rows.wrong(at, [arm("t0", "t1"), arm("t1")])
    # In deviations 3 of row 5, the mean of 5 and 0.3 of row 6, and 0.6 of row 7.
    assert found.rows.tolist() == [5, 6, 7]
    np.testing.assert_allclose(found.sizes, [3.0, 4.0, 6.0])
    np.testing.assert_allclose(found.others, [np.nan, 3.0, 6.0])


def test_codes_lie_on_their_principal_components():
    codes = RNG.normal(size=(80, 7)) @ RNG.normal(size=(7, 7))
    points, shares = look_at_codes.on_plane(codes.astype(np.float32))
    centred = codes.astype(np.float32).astype(float)
    centred -= centred.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * values[:2]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(shares, values[:2] ** 2 / np.sum(values**2), rtol=1e-9)
    for still in (np.ones((9, 3)), np.arange(9.0)[:, None]):
        points, shares = look_at_codes.on_plane(still)
        assert np.isfinite(points).all() and not points[:, 1].any() and shares[1] == 0


def trained_from(still):
    return lambda trial: None if trial in still else 0


def concluded(**changed):
    return answer(*four_corners(effects(0.6), effects(0.85, pretraining=0.03, freezing=-0.01), **changed))


def test_the_headline_is_the_best_use_of_pretraining_beside_the_best_network_from_scratch():
    found = looks.pair(concluded())
    assert [(each.point[INIT], each.point[FROZEN]) for each in found] == [("pretrained", 0), ("he", 0)]
    still = {trial for arm in concluded().arms if arm.point[FROZEN] == 2 for trial in arm.trial_ids}
    kinds = looks.kinds(concluded(), found, trained_from(still))
    assert {kind: (each.point[INIT], each.point[FROZEN]) for kind, each in kinds.items()} == {
        "pretrained": ("pretrained", 0),
        "scratch": ("he", 0),
        "random": ("he", 2),
    }


def test_an_arm_that_diverged_gives_way_and_a_failed_seed_is_left_out():
    found = looks.pair(concluded(diverged=[(1, seed) for seed in range(8)] + [(3, 0)]))
    assert [(each.point[INIT], each.point[FROZEN]) for each in found] == [("pretrained", 2), ("he", 0)]
    assert len(found[0].trial_ids) == 8 and len(found[1].trial_ids) == 7
    everything = [(place, seed) for place in range(4) for seed in range(8)]
    lost = concluded(diverged=everything)
    assert looks.pair(lost) == [] and looks.take(lost, pa.table({}), (), pytest.fail) is None


def test_arms_of_a_headline_share_data_and_labels():
    arms = []
    for labels, gain in ((100, 0.0), (1000, 0.1)):
        for init in ("pretrained", "he"):
            bonus = 0.3 if (init, labels) == ("he", 100) else 0.0
            end = 0.6 + gain + bonus + 0.01 * np.cos(np.arange(8.0))
            arms.append(({INIT: init, "finetune.labels": labels}, np.full(8, 0.5), end))
    found = looks.pair(answer(*tables(arms)))
    assert [each.point["finetune.labels"] for each in found] == [1000, 1000]


def test_a_readout_of_a_fresh_encoder_is_of_a_random_one_and_no_readout_of_another_arm_is():
    ends = [0.6 + gain + 0.01 * np.cos(np.arange(8.0)) for gain in (0.1, 0.0, 0.05)]
    read = "finetune.readout"
    points = [{INIT: "pretrained", read: None}, {INIT: "he", read: None}, {INIT: "he", read: "logistic"}]
    arms = [
        Arm(point, tuple(range(8)), tuple(f"{place}{seed}" for seed in range(8))) for place, point in enumerate(points)
    ]
    arms = [each._replace(results={"validation_accuracy": end}) for each, end in zip(arms, ends, strict=True)]
    kinds = looks.kinds(SimpleNamespace(arms=arms, metric="test_accuracy"), arms[:2], trained_from(arms[2].trial_ids))
    assert kinds == dict(zip(("pretrained", "scratch", "random"), arms, strict=True))


def test_without_pretraining_the_headline_is_what_is_compared_or_the_best_arm():
    points = [{"finetune.optimizer.learning_rate": rate} for rate in (0.1, 0.2, 0.3)]
    ends = [0.6 + gain + 0.01 * np.cos(np.arange(8.0)) for gain in (0.0, 0.2, 0.1)]
    found = looks.pair(
        answer(*tables([(point, np.full(8, 0.5), end) for point, end in zip(points, ends, strict=True)]))
    )
    assert [each.point["finetune.optimizer.learning_rate"] for each in found] == [0.2, 0.1]
    alone = answer(*tables([({}, np.full(8, 0.5), ends[0])]))
    (only,) = looks.pair(alone)
    assert looks.kinds(alone, [only], pytest.fail) == {"own": only}


def stages(trials):
    return pa.table({"trial_id": trials, "stage": ["finetune"] * len(trials), "stage_id": [f"of {t}" for t in trials]})


def test_what_fails_is_named_and_what_is_there_is_kept():
    found = concluded()
    table = stages([trial for each in found.arms for trial in each.trial_ids])
    stored = {trial: of_classes(n=30) for trial in table["trial_id"].to_pylist()}
    one = looks.take(found, table, (), lambda: source(stored))
    assert len(one.confused) == len(one.calibrated) == 2 and len(one.wrong) == 1 and not one.planes
    assert [each.partition(":")[0] for each in one.missing] == ["Codes on a plane", "The first layer, before and after"]
    assert looks.take(found, table, (), pytest.fail, one) is one

    def gone():
        raise OSError("the store\nis gone")

    assert looks.take(found, table, (), gone) == Looks(
        one.of, missing=("Test predictions, codes and filters: the store is gone",)
    )
    other = table.set_column(2, "stage_id", [["another"] * len(table)])
    assert looks.stated(found, other, ()) != one.of


@pytest.mark.parametrize("is_known", [True, False])
def test_layers_of_the_users_own_are_checked_where_they_may_have_changed(is_known, monkeypatch):
    found = concluded()
    table = stages([trial for each in found.arms for trial in each.trial_ids])
    at = source({trial: of_classes(n=30) for trial in table["trial_id"].to_pylist()})
    section = SimpleNamespace(encoder_init="he", kind="finetuning")
    settings = SimpleNamespace(words=[SimpleNamespace(kind="own")], finetuning_data="x", finetune=section)
    at.settings, at.is_known, at.stages = (
        lambda trial: settings,
        is_known,
        {trial: {"finetune": trial} for trial in at.trials},
    )
    monkeypatch.setattr("pretrain.data.inputs_file.inputs_of", lambda *_: None)

    def changed(*_):
        raise ConfigError("data.name", "x", "or layers of your own are not as they were")

    def built(*_):
        raise ConfigError("encoder.layers", "x", "is built anew")

    monkeypatch.setattr("pretrain.models.stored.load", changed)
    monkeypatch.setattr("pretrain.models.stored.network", built)
    at.store = None
    (codes,) = [each for each in looks.take(found, table, (), lambda: at).missing if each.startswith("Codes")]
    assert ("built anew" if is_known else "not as they were") in codes


def test_the_network_of_an_arm_is_the_best_on_validation_rows():
    of = arm("t0", "t1", "t2", validation_accuracy=np.array([0.5, 0.9, np.nan]), validation_loss=np.array([1.0, 3, 2]))
    assert looks.chosen(of, "test_accuracy") == ("t1", 1) and looks.chosen(of, "test_loss") == ("t0", 0)


def held(trials=("t0",), inputs=(), then="sha", now="sha", names=NAMES, **others):
    """A source of trials of classes whose data may have changed since they were stored."""
    scaling = PLAIN._replace(method="unit")
    config = DataConfig()
    dataset = SimpleNamespace(
        fingerprints=SimpleNamespace(test=now), output_names=names, units=None, example_shape=(3,), scaling=scaling
    )
    dataset.task, dataset.records, dataset.raw = "classification", (), None
    store = SimpleNamespace(records=lambda ids: [SimpleNamespace(test=then) for _ in ids])
    at = looks.Source(
        None,
        {trial: {} for trial in trials},
        {trial: {"finetune": trial} for trial in trials},
        store,
        {config: dataset},
        **others,
    )
    for trial in trials:
        at._settings[trial] = Settings(data=config)
    return dataclasses.replace(at, inputs=[inputs_file.inputs_of(config, dataset)._replace(**each) for each in inputs])


@pytest.mark.parametrize(
    ("changed", "is_as_it_was"),
    [
        ({}, True),
        ({"inputs": [{}]}, True),
        ({"now": "other"}, False),
        ({"now": "other", "is_known": True}, True),
        ({"inputs": [{"output_names": tuple("abce")}]}, False),
        ({"inputs": [{"scaling": PLAIN}]}, False),
    ],
)
def test_data_that_have_changed_since_give_no_looks(changed, is_as_it_was):
    at = held(**changed)
    if is_as_it_was:
        assert at.dataset("t0").output_names == NAMES
        return
    with pytest.raises(ConfigError, match="not as it was when the run trained"):
        at.dataset("t0")
    found = concluded()
    trials = [trial for each in found.arms for trial in each.trial_ids]
    missing = looks.take(found, stages(trials), (), lambda: held(trials, **changed)).missing
    assert len(missing) >= 4 and all("not as it was when" in each for each in missing)


def test_inputs_of_a_run_are_those_of_its_file(tmp_path):
    scaling = Scaling("standardise", ("age",), EMPTY, np.full(1, 4.5), EMPTY, np.array([1 / 3]), np.array([7.0]))
    dataset = SimpleNamespace(task="regression", output_names=("y",), units=Units(np.array([0.1]), np.array([2.0])))
    dataset.example_shape, dataset.scaling, dataset.raw = (1,), scaling, None
    dataset.records = (Record("age", "numbers", "numbers", 1),)
    inputs_file.write({DataConfig(): dataset}, tmp_path / "inputs.json")
    (again,) = inputs_file.read((tmp_path / "inputs.json").read_bytes())
    found, table = concluded(), stages([])
    one = inputs_file.inputs_of(DataConfig(), dataset)
    assert looks.stated(found, table, [one]) == looks.stated(found, table, [again])
    for other in ({"output_names": ("z",)}, {"scaling": scaling._replace(columns=("sex",))}, {"columns": ()}):
        assert looks.stated(found, table, [again._replace(**other)]) != looks.stated(found, table, [one])


@pytest.mark.parametrize("has_chance", [True, False])
def test_an_arm_of_which_most_seeds_diverged_is_not_the_best_for_its_survivors(has_chance):
    chance = {"test_accuracy_chance": np.full(2, 0.1)} if has_chance else {}
    lucky = arm("t0", "t1", validation_accuracy=np.array([0.9, 0.9]), **chance)
    lucky = lucky._replace(diverged=((2, 0), (3, 0), (4, 0)))
    sound = arm("t2", "t3", validation_accuracy=np.array([0.8, 0.8]))
    assert looks.best([lucky, sound], "test_accuracy") is sound and looks.best([lucky], "test_accuracy") is lucky
    one_lost = lucky._replace(diverged=((2, 0),))
    assert looks.best([one_lost, sound], "test_accuracy") is (sound if has_chance else one_lost)


@pytest.mark.parametrize(
    ("finetune", "swept", "lowest"),
    [
        ({"frozen_layers": 0}, None, 0),
        ({"frozen_layers": 1}, None, 1),
        ({"frozen_layers": 2}, None, None),
        ({"frozen_layers": "all"}, None, None),
        ({"readout": "logistic"}, None, None),
        ({"frozen_layers": 2}, 0, 0),  # settings are of another point than the row
        ({"frozen_layers": 0}, 2, None),
    ],
)
def test_a_random_encoder_is_one_of_which_no_layer_trains(finetune, swept, lowest):
    at = held()
    at.trials["t0"] = {FROZEN: swept}
    at._settings["t0"] = Settings(encoder=EncoderConfig(layers=(5, 4)), finetune=FinetuneConfig(**finetune))
    assert at.trained_from("t0") == lowest
