"""The words that start this program, for messages that name a command."""

import sys
from pathlib import Path

_BY_PROGRAM = {"pretrain": "pretrain", "pretrain.exe": "pretrain"}
_MODULE = Path(__file__).parents[1] / "__main__.py"


def command(*words: object) -> str:
    """Returns a command as this process's user types it, as in ``pretrain table runs/geron`` outside of a clone."""
    started = Path(sys.argv[0])
    program = "python -m pretrain" if started == _MODULE else _BY_PROGRAM.get(started.name, "python launch.py")
    return " ".join(map(str, (program, *words)))
