"""The command line of ``launch.py``: a config's name and its options, or another command."""

import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from pretrain.commands import streams
from pretrain.commands.command_line import Arguments, parse
from pretrain.config import config_file, invocation
from pretrain.config.fields import ConfigError
from pretrain.store.manifests import DamageError

RESUME = 75  # exit code: interrupted, and the same command goes on; EX_TEMPFAIL of sysexits.h
_DEFAULT_CONFIG, _DEFAULT_OF_OWN_DATA = "geron", "does_it_help"
_COMMANDS = ("report", "table", "store", "judge", "encode", "predict", "export", "runs", "compare", "reproduce")


def main(argv: Sequence[str], configs: Path | None = None) -> int:
    """Runs the command line, given the directory of config files, by default the package's; returns the exit code.

    It is 0 when all is done, 1 when a file could not be used or trials are missing, 2 after a mistake in the input, 75
    when interrupted with everything saved, and 130 when interrupted at once. What becomes of its output changes none.
    """
    configs = configs or config_file.packaged()
    try:
        if argv and argv[0] in ("-h", "--help"):
            print(streams.shown(_overview(configs)))
            return 0
        if argv and argv[0] in _COMMANDS:
            return _imported(argv[0]).main(argv[1:])
        named = bool(argv) and not argv[0].startswith("-")
        has_data = any(re.match(r"--data[.]name(=|$)|(--sweep=)?data[.]name=", text) for text in argv)
        default = _DEFAULT_OF_OWN_DATA if has_data else _DEFAULT_CONFIG
        name, options = (argv[0], argv[1:]) if named else (default, argv)
        file = config_file.find(name, configs)
        asked = parse(options, config_file.load(file, name), name, config_file.documentation(file))
        for note in asked.notes:
            streams.complain(note)
        # Only now that the input is known to be right is there anything worth the wait for JAX.
        return launched(asked, _again(argv))
    except ConfigError as error:
        streams.complain(error)
        return 2
    except DamageError as damage:
        streams.complain(damage)
        return 1
    except MemoryError:
        streams.complain("out of memory; whatever was stored is kept: free memory, and run the same command again")
        return 1
    except KeyboardInterrupt:
        streams.complain("interrupted; whatever was stored is kept, and the same command goes on from there")
        return 130


def _again(argv: Sequence[str]) -> list[str]:
    """Returns the command by which another process looks after the run of this one, and does not leave it."""
    module = "-m", "pretrain"
    script = module if Path(sys.argv[0]).name == "__main__.py" or not sys.argv[0].endswith(".py") else sys.argv[:1]
    return [sys.executable, *script, *argv, "--engine.detach", "False"]


def launched(asked: Arguments, again: Sequence[str] = ()) -> int:
    """Runs an experiment, which the command ``again`` would run once more; returns the exit code."""
    command = _imported("run")
    from pretrain.engines.interrupts import Interrupted
    from pretrain.engines.work import MemoryFault
    from pretrain.store.store import StoreError

    try:
        ended = command.run(asked.experiment, asked.dry_run, asked.tensorboard, asked.chosen, again)
    except Interrupted as stopped:
        streams.complain(stopped)
        return RESUME
    except (StoreError, MemoryFault, OSError) as error:
        streams.complain(error)
        return 1
    return 0 if ended.is_whole else 1


def _imported(command: str) -> ModuleType:
    """Returns a command's module; the import of JAX reads the environment."""
    try:
        return importlib.import_module(f"pretrain.commands.{command}")
    except Exception as error:
        for variable, value in os.environ.items():
            if variable.startswith("JAX_") and (variable.lower() in str(error).lower() or repr(value) in str(error)):
                raise ConfigError(variable, value, f"is refused by JAX ({error}); correct it, or unset it") from None
        raise


def _overview(configs: Path) -> str:
    lines = [
        f"  {name:14} {config_file.documentation(configs / f'{name}.py').splitlines()[0]}"
        for name in config_file.names(configs)
    ]
    return "\n".join(
        [
            f"usage: {invocation.command('[CONFIG] [--field value ...]')}",
            "",
            "CONFIG is one of those below, or the path of a file like them.",
            f"Without a config, {_DEFAULT_CONFIG} runs; with --data.name, {_DEFAULT_OF_OWN_DATA}.",
            f"{invocation.command('CONFIG --help')} lists every field.",
            "",
            "configs:",
            *lines,
            "",
            "commands (--help says more):",
            "  report RUN        a run's conclusions, drawn and written again from its tables",
            "  table RUN         a run's results, grouped by any field, to the terminal, CSV or Parquet",
            "  judge FILE        the verdict on results of any program: a table with a row a seed",
            "  encode RUN ROWS   codes of rows to come, by a run's encoder",
            "  predict RUN ROWS  predictions of rows to come, by a run's network",
            "  export RUN        a network as a folder: safetensors, PyTorch, StableHLO",
            "  runs [FOLDER]     the runs in a folder: their verdicts, and how far those are that go on",
            "  compare RUN RUN … fields in which runs differ, and the difference that they make",
            "  reproduce CONFIG  a config run again, and its figures beside those of its page",
            "  store             what is stored, whether it is sound, and what no run uses",
        ]
    )
