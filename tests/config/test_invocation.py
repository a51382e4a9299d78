import subprocess
import sys

import pytest

from pretrain.config import invocation
from tests.launching import ROOT


@pytest.mark.parametrize(
    ("program", "typed"),
    [
        ("/bin/pretrain", "pretrain table runs/geron"),
        (str(ROOT / "pretrain" / "__main__.py"), "python -m pretrain table runs/geron"),
        ("launch.py", "python launch.py table runs/geron"),
        ("/lib/pytest/__main__.py", "python launch.py table runs/geron"),
        ("/lib/ipykernel_launcher.py", "python launch.py table runs/geron"),
    ],
)
def test_a_command_is_named_as_its_user_types_it(program, typed, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, "geron"])
    assert invocation.command("table", "runs/geron") == typed


def test_the_overview_names_the_program_that_was_started():
    usages = []
    for program in (["-m", "pretrain"], [str(ROOT / "launch.py")]):
        done = subprocess.run([sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True)
        usages += [done.stdout.splitlines()[0]]
    assert usages == [f"usage: python {name} [CONFIG] [--field value ...]" for name in ("-m pretrain", "launch.py")]
