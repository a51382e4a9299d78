"""A run as a function of its experiment: ``prepare``, ``train``, ``conclude``.

Nothing here belongs to the process: it sets nothing of JAX, takes no signal, and prints only on a console that it is
given. ``pretrain/library.py`` runs it for programs and notebooks, ``pretrain/commands/run.py`` for a command line.
"""

import contextlib
import functools
import importlib
import threading
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import NamedTuple

import pyarrow as pa
from rich.console import Console

from pretrain.config import DataConfig, Experiment
from pretrain.config.counts import counted, some
from pretrain.config.fields import ConfigError
from pretrain.config.paths import check_directory, is_writable
from pretrain.data import Dataset, files, inputs_file
from pretrain.data.findings import Finding
from pretrain.engines import here, progress
from pretrain.engines.here import Engine
from pretrain.engines.interrupts import Interrupted
from pretrain.engines.request import Request
from pretrain.execute import hosts
from pretrain.plan import environment, fitting, stages
from pretrain.plan import plan as planning
from pretrain.plan.identity import Fingerprints
from pretrain.plan.plan import Plan
from pretrain.report import drawing, outcome, verdicts
from pretrain.report import prospects as in_words
from pretrain.report.short_names import named_shortly
from pretrain.runs import (
    baselines,
    before,
    holds,
    lost,
    measures,
    per_class,
    places,
    preview,
    ranks,
    row_scores,
    run_files,
    samples,
    tables,
)
from pretrain.runs.remeasure import remeasured
from pretrain.store import judged, reuse
from pretrain.store import store as stored
from pretrain.store.manifests import DamageError
from pretrain.store.store import Store
from pretrain.study import looks, outlook, sequential, use
from pretrain.study.answer import Answer, answer, headline_arms
from pretrain.study.choice import usual_values
from pretrain.study.results import Run
from pretrain.study.row_parts import RowParts
from pretrain.study.sequential import Look
from pretrain.study.statistics import FEWEST_SEEDS

QUIET = Console(quiet=True)
_LONG = 60  # seconds, from which on a run whose length nobody chose says how long it is
_MOST_NAMED = 5  # altered files


class Prepared(NamedTuple):
    """All that is known of a run before it trains."""

    experiment: Experiment  # that fits its data, with absolute paths
    datasets: Mapping[DataConfig, Dataset]
    schedule: tuple[Look, ...]  # the numbers of seeds at which it is judged
    plan: Plan  # of all seeds that it may come to
    store: Store
    missing: Mapping[str, str]  # the reason that a stage is to run, by its id
    engine: Engine
    findings: tuple[Finding, ...]  # in data, and fitted defaults
    warn: Callable[[str], None]  # takes a line about a damaged file
    asked_dir: str  # the experiment's ``run_dir`` as it was asked for

    @property
    def arms(self) -> list[Hashable]:
        """The arm of each trial of the plan."""
        return [sequential.arm_of(trial.point, self.experiment) for trial in self.plan.trials]

    def plan_at(self, look: Look, ends: Mapping[Hashable, int] | None = None) -> Plan:
        """Returns the plan of as many seeds as a look has, or of fewer of arms whose seeds ended before."""
        return self.plan.of(
            trial
            for trial, arm in zip(self.plan.trials, self.arms, strict=True)
            if trial.seed < min(look.seeds, (ends or {}).get(arm, look.seeds))
        )


class Trained(NamedTuple):
    """What training came to."""

    prepared: Prepared
    plan: Plan  # of the seeds that it took, without trials that are missing
    n_run: int  # stages
    n_stages: int  # of the seeds that it took, those of missing trials among them
    tables: Mapping[str, pa.Table]  # by name
    answer: Answer
    missing: Mapping[str, str]  # the reason that a trial of the plan was not trained, by its id

    @property
    def judgement(self) -> judged.Judged:
        """What its answer is made of, as the store notes it."""
        return judged.judged(self.tables["trials"], [look.seeds for look in self.prepared.schedule])

    @property
    def sets(self) -> dict[str, str]:
        """The names of the sets whose test rows it reads, by their fingerprint; of a split a seed the first's."""
        datasets, points = self.prepared.datasets, self.prepared.experiment.points
        of_points = dict.fromkeys(point.settings.at_seed(0).data for point in points)
        return {datasets[data].fingerprints.test: PurePath(data.name).name for data in of_points}


def prepare(
    experiment: Experiment,
    chosen: Collection[str] | None = None,
    warn: Callable[[str], None] = warnings.warn,
    read_only: bool = False,
) -> Prepared:
    """Loads the data of an experiment, and plans it.

    Args:
      experiment: what to run.
      chosen: fields that somebody chose, and that are not fitted to the data; by default all.
      warn: given a line for every damaged file.
      read_only: whether nothing may be written, not even to the store.

    Raises:
      ConfigError: data are not there or do not fit, a directory or an engine cannot be used, or no number of seeds that
        the run may come to can be conclusive.
    """
    sequential.check(experiment)
    asked_dir = experiment.run_dir
    check_directory("store", experiment.store)
    _check_run_dir(asked_dir)
    stored.check(Path(experiment.store).expanduser())
    engine = here.of(experiment.engine)
    environment.check_devices()
    experiment, datasets, findings = fitting.load(experiment, chosen)
    measures.check(experiment.study.metric, datasets.values())
    root = Path(experiment.store)
    fingerprints = Fingerprints(root)
    plan = planning.plan(experiment.whole, datasets, fingerprints)
    if places.ID in asked_dir:
        ids = [trial.id for trial in plan.trials]
        own = places.place(experiment.run_dir, run_files.experiment_id(ids))
        _check_run_dir(own)
        places.check(Path(own), ids)
        experiment = experiment.with_others({"run_dir": own})
    endless = stages.endless(job.stage for job in plan.jobs.values())
    findings = (*findings, *{str(finding): finding for finding in endless}.values())
    outlook.check(experiment, plan)
    is_leader, is_open = hosts.is_leader(), is_writable(root)
    read_only = read_only or not is_leader
    store = Store(root, warn if is_leader else lambda line: None, read_only=read_only or not is_open)
    plan = reuse.chosen(experiment, plan, store)
    missing = reuse.reasons(plan, store)
    schedule = tuple(sequential.looks(experiment))
    prepared = Prepared(experiment, datasets, schedule, plan, store, missing, engine, findings, warn, asked_dir)
    if not read_only:
        if not is_open:
            _check_complete(prepared)
        fingerprints.save()
    return prepared


def _check_run_dir(run_dir: str) -> None:
    """Checks that a run's directory can be written, and holds no places of drafts that are somebody else's."""
    check_directory("run_dir", run_dir)
    run_files.check(Path(run_dir).expanduser())


def _check_complete(prepared: Prepared) -> None:
    """Checks that a store which cannot be written holds all stages of the first look."""
    jobs = prepared.plan_at(prepared.schedule[0]).jobs
    if n_missing := len(jobs.keys() & prepared.missing.keys()):
        remedy = f"cannot be written, and lacks {n_missing} of {counted(len(jobs), 'stage')}; choose another"
        raise ConfigError("store", prepared.experiment.store, remedy)


def report(prepared: Prepared, console: Console) -> None:
    """Prints what was noted, what trains again and why, and what the run can show."""
    for finding in prepared.findings:
        warning(console, str(finding))
    if line := reuse.again(prepared.plan, prepared.missing):
        warning(console, line)
    if line := reuse.continued(prepared.plan, prepared.missing, prepared.store):
        console.print(line, style="dim", soft_wrap=True)
    prospect = None
    if prepared.missing:
        prospect = outlook.of_plan(prepared.experiment, prepared.plan, prepared.store, prepared.datasets)
    if prospect:
        if line := in_words.warning(prospect):
            warning(console, line)
        else:
            console.print(in_words.outlook(prospect), style="dim", soft_wrap=True)
    if prepared.missing and prepared.experiment.defaults == "data":
        seconds, words = preview.duration(prepared.plan, prepared.missing)
        if seconds > _LONG:
            warning(
                console, f"about {words} of training, less what ends early; --dry-run lists it, --seeds shortens it"
            )
    if not is_writable(prepared.store.root):
        warning(console, f"{prepared.store.root} cannot be written, and so does not note that this run uses its stages")


def warning(console: Console, line: str) -> None:
    """Prints a line that people should see."""
    console.print(line, style="yellow", soft_wrap=True)


@contextlib.contextmanager
def occupied(prepared: Prepared) -> Iterator[Callable[[str], None]]:
    """Holds a run's directory, and its stages in the store, so that nobody prunes them; gives a function to note work.

    These are all that its last look may need, so that nobody prunes what the first looks of a repeated run leave out.

    Raises:
      ConfigError: another process holds the directory.
      OSError: it cannot be written.
    """
    root, run_dir = prepared.store.root, Path(prepared.experiment.run_dir)
    stages = prepared.plan.jobs
    held = holds.held(root, run_dir, stages) if is_writable(root) else contextlib.nullcontext()
    with run_files.occupied(run_dir, prepared.experiment.tags) as note, held:
        yield note


def train(
    prepared: Prepared,
    console: Console = QUIET,
    stop: Callable[[], bool] = lambda: False,
    note: Callable[[str], None] = lambda work: None,
) -> Trained | None:
    """Trains what is not stored yet and judges it, with more seeds each time, until the question is settled.

    Its directory must be ``occupied``. Of several processes, all train and the first judges.

    Args:
      prepared: the run.
      console: for progress.
      stop: asked after each chunk of updates whether to stop.
      note: given the pack and the step that it comes to, as ``occupied`` gives it.

    Returns:
      What training came to; None in a process that is not the first.

    Raises:
      Interrupted: it was to stop, and what was done is stored.
      MemoryFault: a trial is larger than the memory that is free.
      StoreError: something could not be read or written, or no trial could be trained; names the first reason.
    """
    n_run, is_leader, trained = 0, hosts.is_leader(), None
    ends: dict[Hashable, int] = {}  # seeds of arms that take no more
    why: dict[str, str] = {}  # the reason that a stage is missing, by its id; later looks do not try it again
    experiment, store = prepared.experiment, prepared.store
    known: dict[str, before.Before] = {}
    known_ranks: dict[str, ranks.Ranks] = {}
    rows = RowParts(level=prepared.schedule[-1].level)
    with environment.one_thread():
        for look in prepared.schedule:
            plan = prepared.plan_at(look, ends)
            tried = plan.of(trial for trial in plan.trials if why.keys().isdisjoint(trial.jobs))
            n_missing = len(tried.jobs) - len(store.verified(tried.jobs))
            if n_missing and is_leader:
                threading.Thread(target=_load_for_report, daemon=True).start()
            try:
                failed = prepared.engine(Request(experiment, tried, prepared.datasets, store, console, stop, note))
            except Interrupted:
                store.refresh()
                stored = f"{len(store.verified(plan.jobs))} of {counted(len(plan.jobs), 'stage')} stored"
                raise Interrupted(f"stopped with {stored}; the same command goes on from here") from None
            n_run += n_missing - len(failed)
            why |= failed
            if is_leader:
                with progress.going_on(console, "measuring pretraining, and judging"):
                    trained = _judged(prepared, plan, look, why, n_run, known, known_ranks, rows)
                if len(prepared.schedule) > 1:
                    with named_shortly(experiment):
                        line = verdicts.progress(look, prepared.schedule, trained.answer.comparisons)
                    warning(console, line)
            if look is prepared.schedule[-1]:
                break
            compared = sequential.in_need_of_seeds(trained.answer.comparisons) if is_leader else []
            needed = sequential.needed(trained.answer.comparisons) if compared else set()
            going = {arm for arm in dict.fromkeys(prepared.arms) if arm not in ends and hosts.broadcast(arm in needed)}
            if not going:
                break
            ends |= {arm: look.seeds for arm in prepared.arms if arm not in going and arm not in ends}
    return trained and _with_history(trained)


def _with_history(trained: Trained) -> Trained:
    """Returns what training came to, with what the store knows of judgements before."""
    prepared = trained.prepared
    history = judged.history(prepared.store.root, trained.judgement, FEWEST_SEEDS, trained.sets, prepared.warn)
    return trained._replace(answer=trained.answer._replace(history=history or judged.History()))


def _load_for_report() -> None:
    """Imports what judging and drawing will need, a second's work, beside training."""
    with drawing.quiet():
        for name in ("figure", "backends.backend_agg", "backends.backend_svg"):
            importlib.import_module(f"matplotlib.{name}")


def _judged(
    prepared: Prepared,
    plan: Plan,
    look: Look,
    why: Mapping[str, str],
    n_run: int,
    known: dict[str, before.Before],
    known_ranks: dict[str, ranks.Ranks],
    rows: RowParts,
) -> Trained:
    """Returns the tables of a plan that is stored but for some stages, and the answer that they give at a look.

    Errors of pretraining before its first update and ranks of codes that are known, by stage, and variances of
    comparisons at earlier looks, of ``rows``, are not measured again; others join.
    """
    experiment, datasets, store = prepared.experiment, prepared.datasets, prepared.store
    n_stages = len(plan.jobs)
    plan, missing = lost.trained(plan, why)
    if missing:
        finding = lost.finding(prepared.plan, plan, missing, experiment.study.tune)
        prepared = prepared._replace(findings=(*prepared.findings, finding))
        last = max(trial.seed for trial in plan.compared.trials)
        look = sequential.look_at(experiment, 1 + last, prepared.findings)
    own, study = plan.compared, experiment.study
    errors, compared = remeasured(own, store, datasets), baselines.of_trials(plan, datasets, study.metric)
    redrawn = tables.redrawn(plan, store, study, compared)
    known |= before.of_plan(own, store, datasets, known)
    known_ranks |= ranks.of_plan(own, store, datasets, known_ranks)
    trials, curves = tables.trials(own, store, errors, experiment.study, compared), tables.curves(own, store)
    by_name = {
        "trials": trials,
        "curves": curves,
        "stages": tables.stages(plan, known, known_ranks),
        "timings": tables.timings(plan, store),
        **({"variation": redrawn} if redrawn else {}),
    }
    try:
        earlier = prepared.schedule[: look.number - 1]
        usual, findings = usual_values(experiment), prepared.findings
        rows.read = functools.partial(row_scores.of_trials, own, store, datasets)
        others = by_name["stages"], earlier, redrawn, rows
        concluded = answer(trials, curves, experiment.study, look.level, usual, findings, *others)
        shown = [*headline_arms(concluded), *looks.pair(concluded)]
        in_headline = {trial for arm in shown for trial in arm.trial_ids}
        classes = per_class.of_trials(own, store, datasets, in_headline)
    except Exception:  # a fault in judging costs no table of what is trained
        outcome.write_tables(experiment, datasets, prepared.findings, by_name, prepared.warn)
        raise
    by_name |= {name: table for name, table in (("classes", classes), ("rows", rows.table())) if table}
    return Trained(prepared, plan, n_run, n_stages, by_name, concluded, missing)


def check_data(prepared: Prepared) -> None:
    """Checks that a run's data are still as they were read.

    What trains is a copy in memory, named by its content, so that results are right, but no longer of the files.

    Raises:
      DamageError: a file was altered meanwhile; names it.
    """
    states = [state for dataset in prepared.datasets.values() for state in dataset.files]
    if paths := list(dict.fromkeys(files.altered(states))):
        what = "was altered since it was read; all results are of its content before"
        raise DamageError(f"{some(paths, _MOST_NAMED)}: {what}, and the same command runs again on the present one")


def conclude(trained: Trained, with_tensorboard: bool = False, console: Console = QUIET) -> Run:
    """Writes the files of a run, and returns it. Its directory must be ``occupied``.

    Args:
      trained: what training came to.
      with_tensorboard: whether to write TensorBoard event files, too.
      console: for progress.

    Raises:
      OSError: a file could not be written; those before are as they were.
    """
    with progress.going_on(console, "drawing the report"):
        return _concluded(trained, with_tensorboard)


def _concluded(trained: Trained, with_tensorboard: bool) -> Run:
    prepared = trained.prepared
    experiment, datasets, run_dir = prepared.experiment, prepared.datasets, Path(prepared.experiment.run_dir)
    # Only now, so that the tables of a run that is repeated, or interrupted as it is, never hold less.
    shown = samples.of_run(trained.plan, prepared.store, datasets, outcome.samples_there(run_dir))
    by_name = use.Tables(trained.tables["trials"], trained.tables["stages"])
    source = functools.partial(looks.Source.of, experiment, by_name, prepared.store, datasets, is_known=True)
    inputs = [inputs_file.inputs_of(config, dataset) for config, dataset in datasets.items()]
    looked = looks.take(trained.answer, by_name.stages, inputs, source, outcome.looks_there(run_dir))
    written = (experiment, datasets, prepared.findings, trained.tables)
    before = trained.answer.history.before
    judged.note(prepared.store.root, trained.judgement, trained.sets, before, prepared.warn)
    try:
        outcome.write(*written, trained.answer, shown, prepared.warn, trained.n_run > 0, with_tensorboard, looked)
    except OSError:
        raise
    except Exception:  # a fault in drawing costs no table, either
        outcome.write_tables(*written, prepared.warn)
        raise
    places.link(prepared.asked_dir, run_dir, prepared.warn)
    return Run(experiment, **trained.tables, directory=run_dir, findings=prepared.findings)
