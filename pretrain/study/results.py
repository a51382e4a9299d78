"""Finished runs, for notebooks: their tables, and what else lies in their directories."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.config import Experiment, from_json, metrics, own_methods
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of
from pretrain.data import findings, inputs_file
from pretrain.data.findings import Finding
from pretrain.data.inputs_file import Inputs
from pretrain.runs import looks_file, run_files
from pretrain.runs import sample_file as samples
from pretrain.runs.looks_file import Looks
from pretrain.runs.run_files import REMEDY, Files
from pretrain.runs.sample_file import Samples
from pretrain.store.judged import History
from pretrain.store.manifests import DamageError
from pretrain.study import run_tables, use
from pretrain.study.code import code

if TYPE_CHECKING:
    from pretrain.models.model import Model

Content = TypeVar("Content")
_PACKAGES = ("pretrain", "jax", "jaxlib", "flax", "optax")  # that decide numbers


class OtherVersionError(ConfigError):
    """A run whose experiment this version cannot read, as of a method that it has not."""


class Conclusion(NamedTuple):
    """The answer of a run, as ``answer.json`` holds it."""

    question: str
    sentence: str
    warnings: tuple[str, ...]
    explanation: str
    content: Mapping[str, Any]  # all of the file


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A finished run; tables are Arrow's, and ``run.trials.to_pandas()`` gives a data frame.

    Its answer is read when it is asked for.
    """

    experiment: Experiment
    trials: pa.Table
    curves: pa.Table
    stages: pa.Table
    timings: pa.Table
    directory: Path
    findings: tuple[Finding, ...] = ()  # in its data
    classes: pa.Table | None = None  # how well the arms of its headline predict each; None of numbers
    rows: pa.Table | None = None  # variance of its comparisons over seeds and rows, where predictions gave it
    variation: pa.Table | None = None  # trials that draw a source of variation anew; None without such

    @functools.cached_property
    def answer(self) -> Conclusion:
        """The answer to its question.

        Raises:
          ConfigError: another experiment was run in its directory since.
          DamageError: the file is missing or not as it was written.
        """
        content = json.loads(self._read("answer.json"))
        return Conclusion(
            content["question"],
            content["verdict"],
            tuple(content["warnings"]),
            content["explanation"],
            MappingProxyType(content),
        )

    def model(
        self,
        arm: str | Mapping[str, Any] | None = None,
        *,
        seed: int | None = None,
        ensemble: bool = False,
        store: Path | str | None = None,
    ) -> "Model":
        """Returns a network of the run, to encode and predict rows to come.

        Args:
          arm: its name in the answer, some of its swept fields, or a trial's id or the beginning of it; by default the
            best arm with an encoder on validation rows.
          seed: of its trial; by default the best of the arm's on validation rows.
          ensemble: whether all seeds of the arm together.
          store: where the stages are, if not where the run left them.

        Raises:
          ConfigError: there is no such arm or trial, or its stage is not, or no longer, stored in full.
          DamageError: a file of the run is missing or not as it was written.
        """
        tables, names = use.Tables(self.trials, self.stages), self.answer.content["arms"]
        chosen = use.trials_of(self.experiment, self.trials, names, arm, seed, ensemble)
        return use.network(self.experiment, tables, load_inputs(self.directory), chosen, store)

    @property
    def comparisons(self) -> list[dict[str, Any]]:
        """Its comparisons, those of ``answer.json``."""
        return self.answer.content["comparisons"]

    def __repr__(self) -> str:
        return f"<Run of {counted(len(self.trials), 'trial')} in {self.directory}>"

    def _repr_html_(self) -> str:
        """Returns the first screen of its report, for a notebook."""
        page = self._read("report.html").decode()
        return f"<div>{page.partition('<main>')[2].partition('</main>')[0].partition('<h2>')[0]}</div>"

    def _read(self, name: str) -> bytes:
        def read(files: Files) -> bytes:
            if files.experiment_id != run_files.experiment_id(self.trials["trial_id"].to_pylist()):
                raise ConfigError("run", str(self.directory), "holds another experiment by now; run this one again")
            return files.read(name)

        return run_files.read(self.directory, read)


def load_run(path: Path | str) -> Run:
    """Returns a run from its directory, every file of it checked; nothing in it can execute anything.

    Raises:
      ConfigError: it is no directory of a finished run.
      DamageError: a file is missing or not as it was written; the message names it, and the remedy.
    """
    path_of("run", path)
    return run_files.read(Path(path).expanduser(), run_of)


def run_of(files: Files) -> Run:
    """Returns a run from its files.

    Raises:
      OtherVersionError: its experiment is not one of this version.
      DamageError: a file is missing or not as it was written.
    """
    content = files.read("experiment.json")
    present = (
        name for name in run_tables.COLUMNS if name not in run_tables.OPTIONAL or f"{name}.parquet" in files.checksums
    )
    tables = {name: run_tables.completed(name, _read_table(files, name)) for name in present}
    for column in tables["trials"].schema:
        if stated := (column.metadata or {}).get(run_files.METRIC.encode()):
            facts = json.loads(stated)
            own = metrics.Metric(**{**facts, "tasks": tuple(facts["tasks"])})
            metrics.remember(metrics.split_of(column.name)[1], metrics.OwnMetric(None, own))
    try:
        with _readable(files, "experiment.json"):
            experiment = own_methods.recorded(content, from_json)
    except ConfigError as error:
        remedy = f"was made by another version of this code ({error}); run its command again with that one, or this"
        raise OtherVersionError("run", str(files.directory), remedy) from None
    swept: dict[str, list[object]] = {}
    for name, value in (pair for point in experiment.points for pair in point.values.items()):
        swept.setdefault(name, []).append(value)
    for name, fault in run_tables.faults(tables, swept).items():
        raise DamageError(f"{files.directory / name}.parquet: {fault}; {REMEDY}")
    return Run(experiment, **tables, directory=files.directory, findings=_findings_of(files))


def trials_of(files: Files) -> pa.Table:
    """Returns the table of trials of a run whose experiment this version need not know.

    Raises:
      DamageError: it is missing or not as it was written.
    """
    trials = _read_table(files, "trials")
    if fault := run_tables.fault_of_trials(trials):
        raise DamageError(f"{files.directory / 'trials.parquet'}: {fault}; {REMEDY}")
    return trials


def other_versions(files: Files) -> str:
    """Returns a line on packages, and the commit of this code, that made a run and are others here; or nothing."""
    try:
        made_by = json.loads(files.read("answer.json"))["versions"]
        pairs = {name: (made_by[name], version(name)) for name in _PACKAGES if name in made_by}
    except (DamageError, PackageNotFoundError, ValueError, LookupError, TypeError):
        return ""
    commits = made_by.get("commit"), code()["commit"]
    if all(isinstance(commit, str) for commit in commits):  # others are of no checkout
        pairs["commit"] = (commits[0][:10], commits[1][:10])
    others = [f"{name} {before}, now {now}" for name, (before, now) in pairs.items() if before != now]
    line = f"{files.directory}: made by other versions ({'; '.join(others)}); its tables are as these wrote them"
    return line if others else ""


def history_of(files: Files) -> History:
    """Returns the judgements before a run, as its answer has them; none of one that cannot be read."""
    try:
        design = json.loads(files.read("answer.json"))["design"]
        return History(tuple(design["judged_before_at_seeds"]), dict(design["runs_that_read_test_rows"]))
    except (DamageError, ValueError, LookupError, TypeError):
        return History()


def _findings_of(files: Files) -> tuple[Finding, ...]:
    if findings.FILE not in files.checksums:
        return ()
    content = files.read(findings.FILE)
    with _readable(files, findings.FILE):
        return findings.read(content)


def load_samples(path: Path | str) -> Samples | None:
    """Returns the filters and reconstructions that a run left to look at; None if it left none.

    Raises:
      ConfigError: it is no directory of a finished run.
      DamageError: their file is missing or not as it was written.
    """
    return run_files.read(Path(path).expanduser(), samples_of)


def samples_of(files: Files) -> Samples | None:
    """Returns the samples among a run's files; None if there are none.

    Raises:
      DamageError: their file is missing or not as it was written.
    """
    return _optional(files, samples.FILE, samples.read)


def looks_of(files: Files) -> Looks | None:
    """Returns the looks among a run's files; None if there are none.

    Raises:
      DamageError: their file is missing or not as it was written.
    """
    return _optional(files, looks_file.FILE, looks_file.read)


def _optional(files: Files, name: str, read: Callable[[bytes], Content]) -> Content | None:
    """Returns the content of a file that a run may lack; None where it does."""
    if name not in files.checksums:
        return None
    content = files.read(name)
    with _readable(files, name):
        return read(content)


def load_inputs(path: Path | str) -> list[Inputs]:
    """Returns how rows of each of a run's data become inputs of its encoders, those of fine-tuning first.

    Raises:
      ConfigError: it is no directory of a finished run.
      DamageError: their file is missing or not as it was written.
    """
    return run_files.read(Path(path).expanduser(), inputs_of)


def inputs_of(files: Files) -> list[Inputs]:
    """Returns how rows of each of a run's data become inputs, from its files.

    Raises:
      DamageError: their file is missing or not as it was written.
    """
    content = files.read(inputs_file.FILE)
    with _readable(files, inputs_file.FILE):
        return inputs_file.read(content)


@contextlib.contextmanager
def _readable(files: Files, name: str) -> Iterator[None]:
    """Names a file that cannot be read, and the remedy."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DamageError(f"{files.directory / name}: cannot be read ({reason}); {REMEDY}") from None


def _read_table(files: Files, name: str) -> pa.Table:
    file = f"{name}.parquet"
    content = pa.BufferReader(files.read(file))
    with _readable(files, file):
        return pq.read_table(content, page_checksum_verification=True)
