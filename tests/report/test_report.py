"""Reports hold what was concluded, whole and by themselves, and take names for what they are."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from pretrain.commands import report as report_command
from pretrain.config import Experiment, StudyConfig
from pretrain.report import record, report, verdicts, words
from pretrain.study.answer import answer
from tests.launching import contents
from tests.report.test_terminal import INIT, effects, four_corners, tables
from tests.runs.test_sample_file import sampled
from tests.undrawn import undrawn

LABELS = "finetune.labels"


def written(directory, trials, curves, experiment=None, samples=None, looked=None):
    """Writes a report; returns the answer, the page, and what answer.json holds."""
    experiment = experiment or Experiment()
    directory.mkdir(exist_ok=True)
    found = answer(trials, curves, experiment.study)
    page = report.write(found, trials, curves, experiment, "2 x cpu", directory, samples, looked=looked)
    return found, page.read_text(), json.loads((directory / "answer.json").read_text())


def undrawn_report(*arguments, **named):
    """As ``written``, with blank figures: enough where their captions and what stands beside them are read."""
    with undrawn():
        return written(*arguments, **named)


@pytest.fixture(scope="module")
def corners(tmp_path_factory):
    tables = four_corners(effects(0.6, freezing=-0.4), effects(0.85, pretraining=0.03))
    return tmp_path_factory.mktemp("corners"), tables


def budgets(gains, n=8, noise=0.002):
    """Tables of a run over label budgets, where pretraining gains as given."""
    rng, arms = np.random.default_rng(1), []
    for init in ("pretrained", "he"):
        for place, (labels, gain) in enumerate(gains.items()):
            end = 0.7 + 0.05 * place + gain * (init == "pretrained") + rng.normal(0, noise, n)
            arms.append(({INIT: init, LABELS: labels}, np.full(n, 0.5), end))
    return tables(arms)


def test_the_answer_is_json_with_all_that_was_concluded(corners):
    found, _, reported = undrawn_report(corners[0], *corners[1])
    assert reported["schema"] == 4
    assert reported["verdict"] == verdicts.verdict(found.comparisons) and reported["explanation"] == " ".join(
        words.explanation(found)
    )
    assert [one["verdict"] for one in reported["comparisons"]] == ["helps", "helps"]
    (square,) = reported["attribution"]
    assert [factor["name"] for factor in square["factors"]] == ["pretraining", "freezing"] and square["seeds"] == 8
    shares = square["metrics"]["test_accuracy"]
    assert sum(share["mean"] for share in shares["shares"].values()) == pytest.approx(shares["gap"]["mean"], abs=1e-9)
    assert reported["question"].startswith(
        "Does pretraining change test accuracy, at each frozen_layers, and by how much?"
    )
    assert reported["question"].endswith(
        "What is the gap between from scratch (He), trainable and pretrained, 2 frozen made of?"
    )
    assert reported["design"]["seeds"] == 8 and reported["machine"]["devices"] == "2 x cpu"
    assert reported["experiment"]["data"]["name"] == "mnist" and "jax" in reported["versions"]


def test_the_page_is_whole_and_asks_for_nothing_else(corners):
    _, page, reported = written(corners[0], *corners[1])
    assert reported["verdict"] in re.sub(r"<[^>]*>", "", page.replace("&lt;", "<")) and reported["question"] in page
    assert not re.search(r"<script|<iframe|<img|@import|src=|url\((?!#)", page)
    links = re.findall(r'href="([^"]*)"', page)
    assert links and all(link.startswith(("#", "data:")) for link in links)
    figures = re.findall(r"<figure id=.*?</figure>", page, re.DOTALL)
    assert len(figures) == 4
    for figure in figures:
        assert re.search(r'<svg role="img" aria-label="\w', figure) and re.search("<figcaption>.{30}", figure)
        ElementTree.fromstring(re.search("<svg.*</svg>", figure, re.DOTALL)[0])


@pytest.mark.parametrize(
    ("commit", "clean", "reported"),
    [("ab12", True, "ab12"), ("ab12", False, "ab12, changed since"), (None, None, "none")],
)
def test_the_page_names_the_code_in_a_table_that_stands_open(commit, clean, reported, corners, monkeypatch):
    monkeypatch.setattr(record, "code", lambda: {"commit": commit, "clean": clean})
    _, page, found = undrawn_report(corners[0], *corners[1])
    assert (found["versions"]["commit"], found["versions"]["clean"]) == (commit, clean)
    # What is closed would not be printed.
    opened = re.sub("<details.*?</details>", "", page, flags=re.DOTALL)
    assert f"<td>{reported}</td>" in re.search('aria-labelledby="table-versions">(.*?)</div>', opened, re.DOTALL)[1]
    assert 'aria-labelledby="table-design"' in opened


def test_the_same_figures_are_saved_as_png_and_svg(corners):
    written(corners[0], *corners[1])
    names = {path.name for path in (corners[0] / "figures").iterdir()}
    assert names == {f"{n}.{k}" for n in ("differences", "first_batches", "shares", "slopes") for k in ("png", "svg")}


def test_writing_again_changes_nothing(corners):
    written(corners[0], *corners[1])
    before = contents(corners[0])
    written(corners[0], *corners[1])
    assert contents(corners[0]) == before


def test_tables_for_papers_hold_what_the_pages_hold(corners):
    _, page, reported = undrawn_report(corners[0], *corners[1])
    for name in ("arms", "comparisons"):
        source = (corners[0] / "tables" / f"{name}.tex").read_text()
        rows = [line.removesuffix(r" \\").split(" & ") for line in source.splitlines() if line.endswith(r" \\")]
        box = re.search(f'aria-labelledby="table-{name}">(.*?)</div>', page, re.DOTALL)[1]
        cells = [
            re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row.replace("<br>", " "))
            for row in re.findall("<tr>(.*?)</tr>", box)
        ]
        plain = [[cell.replace("$\\pm$", "±").replace("\\%", "%") for cell in row] for row in rows]
        plain = [[re.sub(r"[${}]", "", cell) for cell in row] for row in plain]
        assert plain == cells and len(rows) == 1 + len(reported[name])


def test_samples_are_shown_with_whose_they_are_and_how_well_they_came_back(corners):
    trials, _ = tables = corners[1]
    made = sampled(trial_id=trials["trial_id"][0].as_py())
    _, page, _ = undrawn_report(corners[0], *tables, samples=made)
    captions = {
        name: re.search(f'id="figure-{name}".*?<figcaption>(.*?)</figcaption>', page, re.DOTALL)[1]
        for name in ("filters", "reconstructions")
    }
    assert "first 4 of 12 units" in captions["filters"] and "seed 2" in captions["filters"]
    assert "validation image" in captions["reconstructions"] and "up through 2 layers" in captions["reconstructions"]
    for label, error in zip(made.labels, made.errors, strict=True):
        assert f"{label}: {error:.3g}" in captions["reconstructions"]


def test_filters_of_a_convolution_are_of_features_and_say_of_how_many_pixels(corners):
    made = sampled(filters=np.full((4, 3, 3, 1), 0.5, np.float32))
    _, page, _ = undrawn_report(corners[0], *corners[1], samples=made)
    figure = re.search(r'<figure id="figure-filters">.*?</figure>', page, re.DOTALL)[0]
    caption = re.search("<figcaption>(.*?)</figcaption>", figure, re.DOTALL)[1]
    assert "first 4 of 12 features after pretraining" in caption and "excite a feature" in caption
    assert "as images of the 3 x 3 pixels that each reads at a time" in caption and "unit" not in caption
    assert re.search('aria-label="First-layer weights of the first 4 of 12 features, ', figure)
    _, page, _ = undrawn_report(corners[0], *corners[1], samples=sampled())
    caption = re.search('id="figure-filters".*?<figcaption>(.*?)</figcaption>', page, re.DOTALL)[1]
    assert "as images: seed 2" in caption and "excite a unit" in caption


def test_samples_without_filters_are_shown_without_them(corners, tmp_path):
    made = sampled(filters=np.zeros((0, 6, 5, 1), np.float32))
    _, page, _ = undrawn_report(tmp_path, *corners[1], samples=made)
    assert 'id="figure-reconstructions"' in page and 'id="figure-filters"' not in page
    assert not list((tmp_path / "figures").glob("filters.*"))


def test_samples_of_a_sweep_say_of_which_pretraining(tmp_path):
    arms = [
        ({"pretrain.l2": l2, INIT: init}, np.full(2, 0.5), np.full(2, 0.6))
        for l2 in (0.25, 0.5)
        for init in ("he", "pretrained")
    ]
    trials, curves = tables(arms)
    made = sampled(trial_id=trials["trial_id"][6].as_py())
    _, page, _ = undrawn_report(tmp_path, trials, curves, samples=made)
    assert page.count("seed 2, l2=0.5") == 2


def test_a_verdict_on_many_comparisons_is_counted(tmp_path):
    arms = [
        ({"pretrain.l2": index / 64}, np.full(14, 0.5), np.linspace(0.6, 0.7, 14) + 0.02 * index) for index in range(30)
    ]
    found, page, reported = undrawn_report(tmp_path, *tables(arms))
    heading = re.search("<h1>(.*?)</h1>", page)[1]
    assert len(heading) < 200 < len(reported["verdict"])
    assert heading.startswith("Of 29 comparisons of pretrain.l2, all help; the smallest p is that of l2=")
    assert [one.verdict for one in found.comparisons] == ["helps"] * 29
    assert "Shown are 8 of 30 arms." in page and "Shown are the first 24 of 29 comparisons." in page


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def test_hostile_names_stay_text(tmp_path):
    hostile = '<script>alert("1")</script>'
    arms = [({"data.name": name}, np.full(8, 0.5), np.linspace(0.6, 0.7, 8)) for name in (hostile, '" onload="x')]
    data = dataclasses.replace(Experiment().data, name=hostile)
    _, page, _ = written(tmp_path, *tables(arms), dataclasses.replace(Experiment(), data=data))
    parser = _Tags()
    parser.feed(page)
    assert "script" not in parser.tags and "alert" in page


def test_names_cannot_turn_around_or_hide_the_text_around_them(tmp_path):
    names = ("a\u202eb\u2066c", "d\x07e\u200bf")
    arms = [({"data.name": name}, np.full(8, 0.5), np.linspace(0.6, 0.7, 8)) for name in names]
    _, page, _ = written(tmp_path, *tables(arms))
    assert "a b c" in page and "d e f" in page and not set(page) & set("".join(names)) - set("abcdef")
    assert "a b c" in (tmp_path / "tables" / "arms.tex").read_text()


def test_gains_against_labels_have_a_figure_and_a_sentence(tmp_path):
    found, page, reported = undrawn_report(tmp_path, *budgets({50: 0.1, 100: 0.05, 1000: -0.04, 10000: -0.05}))
    assert page.count("<figure") == 5 and (tmp_path / "figures" / "gains.svg").exists()
    (curve,) = reported["budgets"]
    assert curve["labels"] == [50, 100, 1000, 10000]
    assert 100 < curve["crossover"]["low"] < curve["crossover"]["mean"] < curve["crossover"]["high"] < 1000
    (text,) = words.explanation(found)
    assert "it differs from zero at 50, 100, 1,000 and 10,000 labels" in text and "changes its sign" in text
    (none,) = words.explanation(answer(*budgets({50: 0.0, 100: 0.0, 1000: 0.0})))
    assert "at no budget" in none and "changes its sign" not in none


def test_a_run_of_one_seed_and_one_of_diverged_trials_have_reports(tmp_path):
    one = effects(0.6, n=1, noise=0.0)
    _, page, reported = written(tmp_path / "one", *four_corners(one, one))
    assert "1 seed settles nothing" in page and {each["verdict"] for each in reported["comparisons"]} == {
        "inconclusive"
    }
    assert reported["comparisons"][0]["difference"]["low"] is None
    both = {(number, seed) for number in range(4) for seed in range(8)}
    _, page, reported = written(tmp_path / "none", *four_corners(effects(0.6), effects(0.8), both))
    assert "Every trial diverged" in page and reported["comparisons"] == []
    assert reported["explanation"] == "Every trial diverged; lower the learning rates."
    assert reported["verdict"].startswith("Every trial of (pretrained, 2 frozen), ")


def test_the_verdict_says_other_things_with_other_numbers():
    said = set()
    for effect, noise in ((0.03, 0.002), (-0.03, 0.002), (0.0, 0.001), (0.0, 0.05)):
        found = answer(*four_corners(effects(0.6), effects(0.8, pretraining=effect, noise=noise, n=10)))
        said.add(found.comparisons[0].verdict)
        words = {"no difference": "makes no difference"}.get(said_here := found.comparisons[0].verdict, said_here)
        assert words in verdicts.verdict(found.comparisons)
    assert said == {"helps", "hurts", "no difference", "inconclusive"}


def test_the_field_that_is_compared_can_be_chosen():
    tables = four_corners(effects(0.6), effects(0.8, freezing=0.1))
    found = answer(*tables, StudyConfig(compare="finetune.frozen_layers"))
    assert {(one.treatment, one.baseline) for one in found.comparisons} == {(0, 2)}
    assert all(one.verdict == "hurts" for one in found.comparisons)


def test_the_command_writes_the_same_report_again(run, tmp_path, capsys):
    before = {name: content for name, content in contents(run).items() if name != ".lock"}
    assert report_command.main([str(run)]) == 0
    after = {name: content for name, content in contents(run).items() if name != ".lock"}
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == set()
    assert str(run / "report.html") in capsys.readouterr().out
