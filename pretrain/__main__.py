"""``pretrain`` and ``python -m pretrain``: the same as ``launch.py``, from any place."""

import sys

from pretrain.commands.process import run


def main() -> int:
    """Runs the command line of this process; returns the exit code."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
