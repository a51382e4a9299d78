"""A run for ``pretrain.run(…, isolated=True)``: asked on standard input, answered on standard output, in JSON."""

import contextlib
import json
import os
import signal
import sys
import threading
import traceback

from pretrain.commands import process
from pretrain.config import from_json


def main() -> None:
    """Runs an experiment, and answers with the run's directory, or the kind and the message of what went wrong."""
    answer, answered = sys.stdout, {"kind": ""}
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_the_caller, daemon=True).start()
    with process.owned(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            from pretrain.commands.run import run

            answered["run_dir"] = run(from_json(asked["experiment"]), chosen=asked["chosen"]).run_dir
        except BaseException as error:
            kind = "OSError" if isinstance(error, OSError) else type(error).__name__
            answered = {"kind": kind, "message": str(error), "traceback": traceback.format_exc()}
    json.dump(answered, answer)


def _stop_with_the_caller() -> None:
    """Stops as a scheduler's signal does, once standard input ends, as the caller closes it or is gone."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
