"""``python launch.py report RUN``: a run's conclusions, drawn and written again from its tables."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from pretrain.commands import options, streams
from pretrain.config.paths import path_of
from pretrain.report import report, terminal
from pretrain.study import results, sequential
from pretrain.study.answer import answer
from pretrain.sweep import holds, run_files
from pretrain.sweep.manifests import DamageError


@dataclasses.dataclass(frozen=True)
class ReportCommand:
    """Writes a run's report.html, answer.json and figures again, from its files."""

    run: tyro.conf.Positional[str]
    """Directory of the run."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 a file could not be written.

    Raises:
      ConfigError: an option cannot be read, the run is not there or not finished, or a run is going on there.
      DamageError: a file that the report is drawn from is missing or not as it was written.
    """
    named = options.parse(ReportCommand, argv, "launch.py report").run
    path_of("run", named)
    path = Path(named).expanduser()
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
            run, samples = results.run_of(files), results.samples_of(files)
            holds.meet(Path(run.experiment.store), path)
            found = answer(run.trials, run.curves, run.experiment.study, sequential.level(run.experiment, run.trials))
            report.write(found, run.trials, run.curves, run.experiment, files.devices, draft, samples)
            run_files.commit(draft, files.experiment_id, files.devices, keep)
    except OSError as error:
        streams.complain(error)
        return 1
    out = options.console(sys.stdout)
    terminal.show(found, run.trials, run.curves, out, run.experiment, str(path))
    out.print(str(path / "report.html"), style="dim", soft_wrap=True)
    return 0
