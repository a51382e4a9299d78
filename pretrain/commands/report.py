"""``python launch.py report RUN``: a run's conclusions, drawn and written again from its tables."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import tyro

from pretrain.commands import options, streams, table
from pretrain.config import Settings, metrics, to_json
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError, fields, replace_all
from pretrain.config.paths import path_of
from pretrain.data.inputs_file import Inputs
from pretrain.engines import progress
from pretrain.report import outcome, report, terminal
from pretrain.runs import holds, looks_file, run_files
from pretrain.runs.looks_file import Looks
from pretrain.store import judged
from pretrain.store.manifests import DamageError
from pretrain.study import from_store, looks, results, sequential, summary, use
from pretrain.study.answer import Answer, answer
from pretrain.study.choice import usual_values, with_named_scores
from pretrain.study.results import Run
from pretrain.study.row_parts import Read, RowParts
from pretrain.study.statistics import FEWEST_SEEDS


@dataclasses.dataclass(frozen=True)
class Asked:
    """The question asked of the trials from now on; by default as before. Nothing is trained."""

    metric: str = ""
    """Result that is compared, as of `launch.py`; measured from stored predictions where the run lacks it."""
    compare: str = ""
    """Swept field whose values are compared."""
    smallest_effect: float = 0.0
    """Smallest difference that matters."""


@dataclasses.dataclass(frozen=True)
class ReportCommand:
    """Writes a run's report.html, answer.json and figures again, from its files."""

    run: tyro.conf.Positional[str]
    """Directory of the run."""
    store: str = ""
    """Directory of trained stages, where it is no longer the run's; the run keeps it from now on."""
    study: Asked = Asked()


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 a file could not be written.

    Raises:
      ConfigError: an option cannot be read, the run is not there or not finished, a run is going on there, or it
        cannot be asked so.
      DamageError: a file that the report is drawn from is missing or not as it was written.
    """
    command = options.parse(ReportCommand, argv, "report")
    path_of("run", command.run)
    path = Path(command.run).expanduser()
    asked = {f"study.{name}": value for name, value in dataclasses.asdict(command.study).items() if value}
    run_files.read(path, lambda files: files)  # before a lock is written to what is no run
    try:
        with run_files.occupied(path), run_files.draft(path) as draft:
            files = run_files.read(path, lambda files: files)
            drawn = {name for name in files.checksums if name.startswith(report.FILES)}
            keep = {name: checksum for name, checksum in files.checksums.items() if name not in drawn}
            if faults := files.faults(keep):
                raise DamageError(faults[0])
            for fault in files.faults(drawn):
                streams.complain(run_files.mended(fault))
            if line := results.other_versions(files):
                streams.complain(line)
            run, samples = results.run_of(files), results.samples_of(files)
            if command.store:
                run = from_store.at_store(run, command.store)
            holds.note_place(Path(run.experiment.store), path)
            run = _asked(run, asked) if asked or command.store else run
            usual, study = usual_values(run.experiment), run.experiment.study
            *before, look = sequential.taken(run.experiment, run.trials, run.findings)
            rows = RowParts(run.rows, _influences(run) if asked else None, sequential.looks(run.experiment)[-1].level)
            others = run.findings, run.stages, before, run.variation, rows
            concluded = answer(run.trials, run.curves, study, look.level, usual, *others)
            concluded = concluded._replace(history=_history(run, files))
            if asked or command.store:
                outcome.write_asked(run.experiment, run.trials, run.variation, rows.table(), draft)
                keep = {name: checksum for name, checksum in keep.items() if not (draft / name).exists()}
            kept = results.looks_of(files)
            inputs = results.inputs_of(files)
            looked = _looks(run, concluded, inputs, kept, bool(asked or command.store))
            if looked is not kept and looked and looked.has_any:
                looks_file.write(looked, draft / looks_file.FILE)
                keep.pop(looks_file.FILE, None)
            shown = run.trials, run.curves, run.experiment, files.devices
            with progress.going_on(options.console(sys.stderr), "drawing the report"):
                report.write(concluded, *shown, draft, samples, run.classes, inputs, looked)
            run_files.commit(draft, files.experiment_id, files.devices, keep)
    except results.OtherVersionError:
        table.main([command.run])  # which says so
        return 1
    except OSError as error:
        streams.complain(error)
        return 1
    out = options.console(sys.stdout)
    terminal.show(concluded, run.trials, run.curves, out, run.experiment, str(path))
    out.print(str(path / "report.html"), style="dim", soft_wrap=True)
    return 0


def _history(run: Run, files: run_files.Files) -> judged.History:
    """Returns the judgements before a run as its store knows them, or else as its answer has them."""
    root, looks = Path(run.experiment.store), [look.seeds for look in sequential.looks(run.experiment)]
    found = judged.history(root, judged.judged(run.trials, looks), FEWEST_SEEDS, warn=streams.complain)
    return found or results.history_of(files)


def _looks(
    run: Run, concluded: Answer, inputs: Sequence[Inputs], kept: Looks | None, may_execute: bool
) -> Looks | None:
    """Returns looks at a run: those that it left, or taken anew where they are of another question, or not there.

    A function or layers of the user's are code, which runs only where something is asked.
    """
    if not may_execute and ".py:" in to_json(run.experiment):
        return kept if kept and kept.of == looks.stated(concluded, run.stages, inputs) else None

    def source() -> looks.Source:
        from pretrain import data  # takes seconds, and looks that a run left do not need it
        from pretrain.commands import process
        from pretrain.store.store import Store

        process.set_up_jax()  # as runs have it
        store = Store(run.experiment.store, warn=streams.complain, read_only=True)
        tables = use.Tables(run.trials, run.stages)
        ids = {row["stage_id"] for row in run.stages.to_pylist()}
        if missing := len(ids - store.verified(ids)):
            raise ConfigError("store", run.experiment.store, f"lacks {missing:,} of {counted(len(ids), 'stage')}")
        return looks.Source.of(run.experiment, tables, store, data.load_all(run.experiment.whole), inputs=inputs)

    return looks.take(concluded, run.stages, inputs, source, kept)


def _asked(run: Run, asked: Mapping[str, object]) -> Run:
    """Returns a run with a question of its own, and with what that takes of its trials."""
    swept, compared = summary.swept_fields(run.trials), asked.get("study.compare")
    if compared in fields(Settings) and compared not in swept:
        remedy = f"was not swept, and so has no values to compare; the run has {', '.join(swept) or 'none'}"
        raise ConfigError("study.compare", compared, remedy)
    anew = "study.metric" in asked
    if anew:
        metrics.check_metric(str(asked["study.metric"]))  # before the experiment does, for which runs stay as they are
    experiment = dataclasses.replace(replace_all(run.experiment, asked))  # which checks it as a whole
    measured = from_store.measured(run, experiment.study.metric, with_chance=True, anew=anew)
    if asked.get("study.metric", run.experiment.study.metric) != run.experiment.study.metric:
        named = (
            each and with_named_scores(each, run.experiment.study) for each in (measured.trials, measured.variation)
        )
        measured = dataclasses.replace(measured, **dict(zip(("trials", "variation"), named, strict=True)))
    return dataclasses.replace(measured, experiment=experiment)


def _influences(run: Run) -> Read:
    """Returns what reads the influences of test rows on a run's trials, for comparisons that its rows.parquet lacks."""
    from pretrain.runs import row_scores  # takes a second, and a question that stays does not need it

    return row_scores.of_run(run.experiment, run.trials, run.stages)
