"""Runs an experiment: choose a config, override its fields, run it, print the answer.

python launch.py [CONFIG] [--field value ...]
python launch.py report RUN | table RUN | store | judge RESULTS
"""

import sys
from pathlib import Path

from pretrain.commands.process import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], configs=Path(__file__).with_name("configs")))
