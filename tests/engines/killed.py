"""A worker or a launch that is killed at a named point: ``killed.py POINT worker|launch ARGUMENT ...``.

A point is one step, or several that follow each other: a function, ``before`` or ``after`` a call of it, and the number
of that call, counted from 1 since the step before, as in ``pretrain.engines.queue:Queue.remove before 1, os:rmdir
before 3``. At the last step the process kills itself; a step of four words sends the signal of its last instead.
"""

import functools
import importlib
import json
import os
import runpy
import signal
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
BEAT = 0.05  # seconds between two signs of life, so that there are some


class Point:
    """The steps that lie ahead."""

    def __init__(self, text):
        self.steps = [step.split() for step in text.split(",")]
        self.lock = threading.Lock()
        for name in dict.fromkeys(name for name, *_ in self.steps):
            self.patch(name)
        self.n_calls = 0

    def passed(self, name, moment):
        """Notes that a call of a function begins or ends."""
        with self.lock:
            if not self.steps or self.steps[0][:2] != [name, moment]:
                return
            self.n_calls += 1
            if self.n_calls < int(self.steps[0][2]):
                return
            self.n_calls, (*_, last) = 0, self.steps.pop(0)
            if last.isdigit() and not self.steps:
                os.kill(os.getpid(), signal.SIGKILL)
        if not last.isdigit():
            os.kill(os.getpid(), getattr(signal, last))

    def patch(self, name):
        """Notes the calls of a function."""
        module, _, path = name.partition(":")
        *places, attribute = path.split(".")
        place = functools.reduce(getattr, places, importlib.import_module(module))
        function = getattr(place, attribute)

        @functools.wraps(function)
        def noted(*arguments, **options):
            self.passed(name, "before")
            answer = function(*arguments, **options)
            self.passed(name, "after")
            return answer

        setattr(place, attribute, noted)


def serve():
    """Launches in the folders and by the arguments that lines name, and says how each ended; saves their starts."""
    from tests.launching import call

    for line in sys.stdin:
        folder, argv = json.loads(line)
        done = call(argv, folder)
        print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)


def main(point, program, *arguments):
    sys.path[:1] = [str(ROOT)]
    if program == "worker":
        from pretrain.engines import worker

        worker.BEAT = BEAT
        Point(point)
        sys.exit(worker.main(arguments))
    if program == "launches":
        serve()
        return
    from tests.undrawn import undrawn

    sys.argv = [str(ROOT / "launch.py"), *arguments]
    with undrawn():
        Point(point)
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
