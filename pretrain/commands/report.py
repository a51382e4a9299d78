"""``python launch.py report RUN``: a run's conclusions, drawn and written again from its tables."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from pretrain.commands import options, streams
from pretrain.report import report, terminal
from pretrain.study import results, sequential
from pretrain.study.answer import answer


@dataclasses.dataclass(frozen=True)
class ReportCommand:
    """Writes a run's report.html, answer.json and figures again, from its files."""

    run: tyro.conf.Positional[str]
    """Directory of the run."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 a file could not be written.

    Raises:
      ConfigError: an option cannot be read, or the run is not there or not finished.
    """
    path = options.parse(ReportCommand, argv, "launch.py report").run
    run = results.load_run(path)
    path = Path(path).expanduser()
    level = sequential.level(run.experiment, run.trials)
    found = answer(run.trials, run.curves, run.experiment.study, level)
    try:
        about = (run.experiment, results.devices(path), path)
        written = report.write(found, run.trials, run.curves, *about, samples=results.load_samples(path))
    except OSError as error:
        streams.complain(error)
        return 1
    out = options.console(sys.stdout)
    terminal.show(found, run.trials, run.curves, out, run.experiment, str(path))
    out.print(str(written), style="dim", soft_wrap=True)
    return 0
