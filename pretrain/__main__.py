"""``python -m pretrain``: the same as ``launch.py``, with configs by path or from ``configs/`` where it is called."""

import sys
from pathlib import Path

from pretrain.commands.process import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], configs=Path("configs")))
