"""What a run leaves is one whole, which takes the place of the one before; what is damaged is made again."""

import dataclasses
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretrain.commands import report as report_command
from pretrain.config import Experiment
from pretrain.data.findings import Finding
from pretrain.report import outcome, report
from pretrain.runs import run_files
from pretrain.store.manifests import DamageError
from pretrain.study import looks, results
from pretrain.study.answer import answer
from tests.launching import contents
from tests.report.test_terminal import CORNERS, FROZEN, INIT, effects, four_corners
from tests.runs.test_looks_file import looked
from tests.runs.test_sample_file import sampled
from tests.undrawn import undrawn

FOUND = (Finding("test rows among the training rows", "3 of 20 test rows are training rows too", "doubt"),)
PLAIN = {"experiment.json", "inputs.json", "findings.json", "looks.npz"}
PLAIN |= {*(f"{name}.parquet" for name in ("trials", "curves", "stages", "timings"))}


def made(seeds=8):
    """The tables of a run of four corners."""
    trials, curves = four_corners(effects(0.6, n=seeds, freezing=-0.4), effects(0.85, n=seeds, pretraining=0.03))
    trials, ids = trials.append_column("repeat", pa.array([0] * len(trials))), trials["trial_id"].to_pylist()
    stages = pa.table({"trial_id": ids, "stage": ["finetune"] * len(ids), "stage_id": [f"of {name}" for name in ids]})
    timings = {"stage_id": stages["stage_id"], "stage": stages["stage"], "seed": trials["seed"]}
    timings = pa.table({**timings, "run_seconds": [0.5] * len(ids)})
    return {"trials": trials, "curves": curves, "stages": stages, "timings": timings}


TABLES = made()
SWEEP = tuple({INIT: (init,), FROZEN: (frozen,)} for init, frozen in CORNERS.values())


def write(directory, tables=TABLES, samples=None, redraw=False, notify=pytest.fail, has_looks=True, **changed):
    experiment = dataclasses.replace(Experiment(run_dir=str(directory), sweep=SWEEP), **changed)
    found = answer(tables["trials"], tables["curves"], findings=FOUND)
    asked = looks.stated(found, tables["stages"], ()), [arm.trial_ids for arm in looks.pair(found)]
    with run_files.occupied(directory), undrawn():
        outcome.write(
            experiment,
            {},
            FOUND,
            tables,
            found,
            samples,
            notify,
            redraw,
            looked=looked(*asked) if has_looks else None,
        )


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("outcome"))
        write(Path("run"))
        yield Path("run").resolve()


@pytest.fixture
def run(original, tmp_path, monkeypatch):
    """A run's directory, by a path that its copies have, too."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(original, Path("run"))


def held(directory):
    return {name: content for name, content in contents(directory).items() if name != ".lock"}


def drawn(directory):
    return (directory / "report.html").stat().st_ino


def test_all_files_are_in_the_manifest_and_hold_the_id_of_their_experiment(run):
    files = run_files.opened(run)
    assert files.checksums.keys() | {"manifest.json"} == {name for name, held in contents(run).items() if held} - {
        ".lock"
    }
    assert files.faults() == [] and files.devices == "2 x cpu"
    reported = {pq.read_metadata(run / f"{name}.parquet").metadata[b"pretrain.experiment_id"] for name in TABLES}
    assert reported == {files.experiment_id.encode()}
    assert f'"experiment_id": "{files.experiment_id}"' in (run / "answer.json").read_text()


def test_the_same_files_are_drawn_once(run):
    before = drawn(run)
    write(run)
    assert drawn(run) == before
    write(run, redraw=True)
    assert drawn(run) != before


@pytest.mark.parametrize("other", [{"seeds": 9}, {"store": "elsewhere"}])
def test_another_experiment_of_the_same_tables_takes_their_place(other, run):
    before = drawn(run)
    write(run, **other)
    assert drawn(run) != before
    assert {name: getattr(results.load_run(run).experiment, name) for name in other} == other


def test_samples_come_and_go_with_their_figures(run):
    before = held(run)
    write(run, samples=sampled())
    assert 'id="figure-filters"' in (run / "report.html").read_text() and results.load_samples(run)
    page = drawn(run)
    write(run, samples=sampled())
    assert drawn(run) == page
    write(run)
    assert held(run) == before


def test_the_report_of_a_run_whose_stages_are_gone_says_what_it_does_not_show(run, capsys):
    write(run, has_looks=False, redraw=True)
    with undrawn():
        assert report_command.main([str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "What is not shown here, and why." in page and "lacks 32 of 32 stages" in page
    assert not (run / "looks.npz").exists() and 'id="figure-confusion"' not in page
    assert "lacks 32 of 32" in results.load_run(run).answer.content["looks"]["missing"][0]


def test_files_of_users_stay(run):
    mine = ["figures/mine.svg", "tables/shares_of_3.csv", "mine.txt", "notes/mine.txt"]
    (run / "notes").mkdir()
    for name in mine:
        (run / name).write_text("mine")
    write(run, samples=sampled())
    write(run, tables=made(seeds=6))
    assert all((run / name).read_text() == "mine" for name in mine)


def cut(file):
    file.write_bytes(file.read_bytes()[:-20])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damages",
    [
        {"trials.parquet": flip, "report.html": Path.unlink, "figures/slopes.png": cut},
        {"curves.parquet": cut, "answer.json": flip, "tables/arms.tex": flip, "experiment.json": Path.unlink},
        {"stages.parquet": Path.unlink, "timings.parquet": flip},
        {"manifest.json": flip},
        {"manifest.json": Path.unlink},
    ],
    ids=lambda damages: ", ".join(damages),
)
def test_damaged_files_are_named_and_made_again(damages, run):
    before, reported = held(run), []
    for name, damage in damages.items():
        damage(run / name)
    write(run, notify=reported.append)
    assert {line.partition(": ")[0] for line in reported} == {str(run / name) for name in damages}
    assert all(line.endswith("; it is made again") for line in reported) and len(reported) == len(damages)
    assert held(run) == before


def test_the_report_command_names_and_makes_again_what_it_draws(run, capsys):
    before, names = held(run), ["figures/slopes.png", "answer.json", "report.html", "tables/arms.tex"]
    for name in names:
        flip(run / name)
    with undrawn():
        assert report_command.main([str(run)]) == 0
    reported = capsys.readouterr().err.splitlines()
    assert sorted(reported) == sorted(f"{run / name}: fails its checksum; it is made again" for name in names)
    assert held(run) == before


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_the_report_command_refuses_what_it_cannot_make_again(name, run):
    flip(run / name)
    before = held(run)
    with pytest.raises(DamageError, match=f"^{run / name}: fails its checksum; run the run's command again"):
        report_command.main([str(run)])
    assert held(run) == before


def test_tables_without_an_answer_take_the_place_of_another_experiment_and_never_of_more(run):
    fewer, more, reported = made(seeds=6), made(seeds=10), []
    before = held(run)
    with run_files.occupied(run):
        outcome.write_tables(Experiment(run_dir=str(run), sweep=SWEEP), {}, (), fewer, pytest.fail)
    assert held(run) == before
    with run_files.occupied(run):
        outcome.write_tables(Experiment(run_dir=str(run), sweep=SWEEP), {}, (), more, pytest.fail)
    assert {name for name, content in held(run).items() if content} == {*PLAIN, "manifest.json"} - {"looks.npz"}
    assert results.load_run(run).trials.equals(more["trials"]) and results.load_samples(run) is None
    write(run, notify=reported.append)
    assert held(run) == before and reported == []


@pytest.mark.parametrize("name", ["figures", "tables", "trials.parquet/x"])
def test_what_is_in_the_way_is_named_and_costs_no_file(name, run):
    write(run, tables=made(seeds=6))
    if "/" in name:
        (run / name).parent.unlink()
        (run / name).mkdir(parents=True)
    else:
        for file in (run / name).iterdir():
            file.unlink()
        (run / name).rmdir()
        (run / name).write_text("mine")
    before = held(run)
    with pytest.raises(OSError, match=f"{run / name.partition('/')[0]} is .*directory; move it away, and run the same"):
        write(run, notify=[].append)
    assert held(run) == before


def test_the_files_that_a_report_writes_are_known_as_its_own(run):
    assert all(name.startswith(report.FILES) for name in run_files.opened(run).checksums.keys() - PLAIN)


def flips(run, n):
    """Flips bits of all files of a run, one at a time; returns what was silent."""
    files = sorted(file for file in run.rglob("*") if file.is_file() and file.name not in (".lock", ".run.json"))
    before, draw, silent = results.load_run(run), random.Random(0), []
    for number in range(n):
        file = files[number % len(files)]
        whole = file.read_bytes()
        place, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        reported = []
        run_files.sound(run, reported.append)  # as a run, and ``report``, would
        named = [line.startswith(f"{file}: ") for line in reported] == [True]
        try:
            loaded = results.load_run(run)
            held = all(getattr(loaded, name).equals(getattr(before, name)) for name in TABLES)
            true = held and loaded.experiment == before.experiment
        except DamageError as damage:
            true = str(damage).startswith(f"{file}: ")
        if not (named and true):
            silent.append((str(file), place, bit))
        file.write_bytes(whole)
    assert run_files.opened(run).faults() == []
    return silent


def test_no_flipped_bit_is_silent(run):
    assert flips(run, 100) == []


@pytest.mark.slow
def test_none_of_1000_flipped_bits_is_silent(run):
    assert flips(run, 1000) == []


def test_a_table_that_was_copied_away_says_whose_it_is(run, tmp_path):
    copy = shutil.copy(run / "curves.parquet", tmp_path / "copy.parquet")
    reported = pq.read_schema(copy).metadata[run_files.EXPERIMENT.encode()].decode()
    assert (
        reported
        == run_files.opened(run).experiment_id
        == run_files.experiment_id(TABLES["trials"]["trial_id"].to_pylist())
    )


def test_pages_of_a_table_are_checked_by_whoever_reads_it(run):
    """A reader of its own, without the manifest, finds a flipped bit of the data by Parquet's checksums of pages."""
    file = run / "curves.parquet"
    whole, wrong = file.read_bytes(), 0
    before = pq.read_table(file)
    for place in range(4, len(whole) // 2, 97):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            wrong += not pq.read_table(file, page_checksum_verification=True).equals(before)
        except (OSError, pa.ArrowException):
            continue
    assert wrong == 0


def test_a_doubt_about_the_data_stands_beside_the_verdict_and_a_report_drawn_again_keeps_it(tmp_path):
    write(tmp_path / "run", redraw=True)
    before = (tmp_path / "run" / "findings.json").read_bytes()
    with undrawn():
        assert report_command.main([str(tmp_path / "run")]) == 0
    run = results.load_run(tmp_path / "run")
    assert run.findings == FOUND and (tmp_path / "run" / "findings.json").read_bytes() == before
    assert run.answer.warnings[0] == "3 of 20 test rows are training rows too."
    assert run.answer.content["basis"].endswith("It is in doubt for test rows among the training rows.")
    assert run.answer.content["data"][0]["severity"] == "doubt"
    opening = (tmp_path / "run" / "report.html").read_text().partition("<h2>")[0]
    assert "3 of 20 test rows are training rows too" in opening
