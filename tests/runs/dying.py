"""A process that is killed at its n-th change of a directory, played in this one: from then on it changes nothing."""

import contextlib
import os

import pytest

CHANGES = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir")


class Killed(BaseException):
    """The process is no more."""


@contextlib.contextmanager
def killed_at(n):
    """Kills at the n-th change of any directory, from 0; gives a list that holds the changes made.

    Code that cleans up after exceptions finds that it can change nothing either, as after a SIGKILL.
    """
    made = []

    def dying(name, change):
        def changed(*arguments, **options):
            if len(made) >= n:
                raise Killed
            made.append((name, *arguments))
            return change(*arguments, **options)

        return changed

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, dying(name, getattr(os, name)))
        with contextlib.suppress(Killed):
            yield made
