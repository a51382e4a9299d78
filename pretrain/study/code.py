"""The git commit of this code, which a run keeps beside the versions of packages."""

import subprocess
from pathlib import Path
from typing import Any


def code() -> dict[str, Any]:
    """Returns the git commit of this code and whether the tree was clean; both null outside of a checkout."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # Of this code, not of a checkout that an environment with it happens to lie in.
    tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = git("rev-parse", "HEAD") if tracked else None
    changes = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "clean": None if changes is None else not changes}
