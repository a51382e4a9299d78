"""The words that start this program, for messages that name a command."""

import sys
from pathlib import Path

_BY_PROGRAM = {"pretrain": "pretrain", "pretrain.exe": "pretrain", "__main__.py": "python -m pretrain"}


def command(*words: object) -> str:
    """Returns a command as this process's user types it, as in ``pretrain table runs/geron`` outside of a clone."""
    program = _BY_PROGRAM.get(Path(sys.argv[0]).name, "python launch.py")
    return " ".join(map(str, (program, *words)))
