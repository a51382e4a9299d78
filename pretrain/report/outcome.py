"""The files that a run leaves: tables, samples, answer and report, all of one experiment."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.config import DataConfig, Experiment, to_json
from pretrain.config.digests import sha256_of_file
from pretrain.data import Dataset, inputs_file
from pretrain.data import findings as data_findings
from pretrain.data.findings import Finding
from pretrain.execute import hosts
from pretrain.report import report, tensorboard
from pretrain.runs import looks_file, run_files, sample_file, tables
from pretrain.runs.looks_file import Looks
from pretrain.runs.run_files import Files
from pretrain.runs.sample_file import Samples
from pretrain.store import manifests
from pretrain.store.manifests import DamageError
from pretrain.study import results
from pretrain.study.answer import Answer

_EVENTS = "tensorboard/"


def write(
    experiment: Experiment,
    datasets: Mapping[DataConfig, Dataset],
    findings: Sequence[Finding],
    run_tables: Mapping[str, pa.Table],
    answer: Answer,
    shown: Samples | None,
    notify: Callable[[str], None],
    redraw: bool = True,
    with_tensorboard: bool = False,
    looked: Looks | None = None,
) -> None:
    """Puts the files of a run in the place of those in its directory; files of the experiment before go.

    Args:
      experiment: what was run.
      notify: given a line for every damaged file in the directory.
      redraw: whether to draw even where the same tables, samples and answer are there, which takes seconds.
      with_tensorboard: whether to write TensorBoard event files, too; those of the same tables stay in any case.

    Raises:
      OSError: a file could not be written; those before are as they were.
    """
    run_dir, trials, curves = Path(experiment.run_dir), run_tables["trials"], run_tables["curves"]
    there, devices = run_files.sound(run_dir, notify), hosts.devices()
    with run_files.draft(run_dir) as draft:
        _write_tables(experiment, datasets, findings, run_tables, draft)
        if shown:
            sample_file.write(shown, draft / sample_file.FILE)
        if looked:
            looks_file.write(looked, draft / looks_file.FILE)
        report.write_answer(answer, trials, experiment, devices, draft, looked)
        if there and not redraw and _is_drawn(there, draft, with_tensorboard):
            return
        inputs = inputs_file.read((draft / inputs_file.FILE).read_bytes())
        classes = run_tables.get("classes")
        report.write(answer, trials, curves, experiment, devices, draft, shown, classes, inputs, looked)
        events = _events(run_dir, draft)
        if with_tensorboard or events is None:
            tensorboard.write(trials, curves, run_tables["stages"], draft / _EVENTS)
        run_files.commit(draft, _id(run_tables), devices, keep=None if with_tensorboard else events)


def write_asked(
    experiment: Experiment, trials: pa.Table, redrawn: pa.Table | None, rows: pa.Table | None, directory: Path
) -> None:
    """Writes what a question asked again changes besides the answer: the experiment, tables of trials and of rows.

    Raises:
      OSError: a file could not be written.
    """
    (directory / "experiment.json").write_text(to_json(experiment), encoding="utf-8")
    tables.write(trials, directory / "trials.parquet", _id({"trials": trials}))
    for name, table in (("variation", redrawn), ("rows", rows)):
        if table is not None:
            tables.write(table, directory / f"{name}.parquet", _id({"trials": trials}))


def write_tables(
    experiment: Experiment,
    datasets: Mapping[DataConfig, Dataset],
    findings: Sequence[Finding],
    run_tables: Mapping[str, pa.Table],
    notify: Callable[[str], None],
) -> None:
    """Writes a run's tables without an answer, unless its directory holds all of their trials.

    Raises:
      OSError: a file could not be written; those before are as they were.
    """
    run_dir, ids = Path(experiment.run_dir), run_tables["trials"]["trial_id"].to_pylist()
    if there := run_files.sound(run_dir, notify):
        held = pq.read_table(pa.BufferReader(there.read("trials.parquet")), columns=["trial_id"])
        if set(ids) <= set(held["trial_id"].to_pylist()):
            return
    with run_files.draft(run_dir) as draft:
        _write_tables(experiment, datasets, findings, run_tables, draft)
        run_files.commit(draft, _id(run_tables), hosts.devices())


def samples_there(run_dir: Path) -> Samples | None:
    """Returns the samples in a run's directory; None where there are none that are sound."""
    with contextlib.suppress(DamageError):
        if there := run_files.opened(run_dir):
            return results.samples_of(there)
    return None


def looks_there(run_dir: Path) -> Looks | None:
    """Returns the looks in a run's directory; None where there are none that are sound."""
    with contextlib.suppress(DamageError):
        if there := run_files.opened(run_dir):
            return results.looks_of(there)
    return None


def _is_drawn(there: Files, draft: Path, with_tensorboard: bool) -> bool:
    """Returns whether files are those of a draft, and others that are drawn from these."""
    written, drawn = manifests.checksums(draft), (*report.FILES, _EVENTS)
    others = there.checksums.keys() - written.keys()
    events = any(name.startswith(_EVENTS) for name in others)
    same = written.items() <= there.checksums.items() and all(name.startswith(drawn) for name in others)
    return same and (events or not with_tensorboard)


def _events(run_dir: Path, draft: Path) -> dict[str, str] | None:
    """Returns the checksums of the event files in a run's directory, which stay while its tables are those of a draft.

    None where some of them are damaged and can be made again.
    """
    with contextlib.suppress(DamageError):
        if there := run_files.opened(run_dir):
            events = {name: held for name, held in there.checksums.items() if name.startswith(_EVENTS)}
            tables_of_events = [f"{name}.parquet" for name in ("trials", "curves", "stages")]
            if all(there.checksums.get(name) == sha256_of_file(draft / name) for name in tables_of_events):
                if not there.faults(events):
                    return events
                return None if tensorboard.is_installed() else {}
    return {}


def _write_tables(
    experiment: Experiment,
    datasets: Mapping[DataConfig, Dataset],
    findings: Sequence[Finding],
    run_tables: Mapping[str, pa.Table],
    directory: Path,
) -> None:
    # With absolute paths, so that it can be read from anywhere.
    (directory / "experiment.json").write_text(to_json(experiment), encoding="utf-8")
    inputs_file.write(datasets, directory / inputs_file.FILE)
    data_findings.write(findings, directory / data_findings.FILE)
    for name, table in run_tables.items():
        tables.write(table, directory / f"{name}.parquet", _id(run_tables))


def _id(run_tables: Mapping[str, pa.Table]) -> str:
    return run_files.experiment_id(run_tables["trials"]["trial_id"].to_pylist())
