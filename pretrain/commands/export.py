"""``python launch.py export RUN --out DIR``: a network of a run as a folder."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Literal

import tyro

from pretrain.commands import options, process, streams
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of
from pretrain.models import folder
from pretrain.study import results


@dataclasses.dataclass(frozen=True)
class ExportCommand:
    """Writes a network of a run to a folder: model.safetensors, config.json and README.md."""

    run: tyro.conf.Positional[str]
    """Directory of the run."""
    out: str
    """Folder to write: a new one, or one that was written before."""
    to: tuple[Literal["pytorch", "stablehlo"], ...] = ()
    """Further forms: pytorch adds model.py, plain torch modules; stablehlo adds a program of any batch size."""
    arm: str = ""
    """Arm by its name in the answer, or a trial by its id or the beginning of it; by default the best arm with an
    encoder on validation rows."""
    seed: int | None = None
    """Seed; by default the best of the arm's on validation rows."""
    store: str = ""
    """Directory of trained stages, where it is no longer the run's."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 a file could not be written.

    Raises:
      ConfigError: an option cannot be read, the run is not there, or its layers are code.
      DamageError: a file of the run is missing or not as it was written.
    """
    command = options.parse(ExportCommand, argv, "export")
    out = path_of("out", command.out)
    if folder.is_network(path_of("run", command.run)):
        raise ConfigError("run", command.run, "is an exported network; name a run")
    process.set_up_jax()
    run = results.load_run(command.run)
    model = run.model(command.arm or None, seed=command.seed, store=command.store or None)
    try:
        files = folder.save(model, out, run.answer.sentence, command.to)
    except OSError as error:
        streams.complain(f"{out}: cannot be written ({error.strerror or error})")
        return 1
    named = ", ".join(path.name for path in files)
    options.console(sys.stdout).print(f"{model.name}: {named} in {out}", soft_wrap=True)
    return 0
