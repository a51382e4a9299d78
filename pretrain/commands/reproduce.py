"""``python launch.py reproduce CONFIG``: a config run again, and its figures beside those that its page keeps."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from pretrain.commands import command_line, launch, options
from pretrain.config import config_file
from pretrain.config.fields import ConfigError
from pretrain.report import expected
from pretrain.report.short_names import named_shortly
from pretrain.study.results import load_run


@dataclasses.dataclass(frozen=True)
class ReproduceCommand:
    """Runs a config in a directory and a store of its own, and says which figures of its page come out."""

    config: tyro.conf.Positional[str]
    """Name of a config, or its path; a file of the same name, but `.json`, beside it keeps the figures."""
    run_dir: str = ""
    """Directory of the run, by default `runs/<config>-reproduced`."""
    store: str = ""
    """Directory of its stages, by default in that of the run, so that no stage of another run is taken."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 all figures equal, 1 one differs, or that of a launch that failed.

    Raises:
      ConfigError: an option cannot be read, or the config keeps no figures.
    """
    command = options.parse(ReproduceCommand, argv, "reproduce")
    configs = config_file.packaged()
    file = config_file.find(command.config, configs)
    kept = file.with_suffix(".json")
    if not kept.is_file():
        known = [name for name in config_file.names(configs) if (configs / f"{name}.json").is_file()]
        raise ConfigError("config", command.config, f"keeps no figures, as {kept.name}; choose of {', '.join(known)}")
    try:
        page = json.loads(kept.read_text(encoding="utf-8"))
        page["arms"]
    except (OSError, ValueError, LookupError, TypeError):
        remedy = f"has figures in {kept.name} that cannot be read; restore the file"
        raise ConfigError("config", command.config, remedy) from None
    run_dir = command.run_dir or f"runs/{file.stem}-reproduced"
    places = ["--run-dir", run_dir, "--store", command.store or str(Path(run_dir, "store"))]
    experiment = config_file.load(file, command.config)
    if code := launch.launched(command_line.parse(places, experiment, "reproduce", "")):
        return code
    run, out = load_run(run_dir), options.console(sys.stdout)
    with named_shortly(run.experiment):
        figures = expected.figures(page, run.trials, run.curves)
    others = [figure for figure in figures if figure.found != figure.expected]
    out.print(f"{len(figures) - len(others)} of {len(figures)} figures equal", soft_wrap=True, style="bold")
    for figure in others:
        out.print(f"{figure.name}: {figure.found} here, {figure.expected} on the page", soft_wrap=True)
    return 1 if others else 0
