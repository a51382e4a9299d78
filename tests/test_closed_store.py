"""A store that cannot be written serves what it holds, and takes nothing."""

import os
import shutil

import pytest

from pretrain import load_params, load_run
from tests.launching import N_STAGES, contents, execute, n_run, results

# Root may write what nobody may, so it gives up what lets it.
UNPRIVILEGED = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture(scope="module")
def closed(site, run):
    """A copy of the first store, whose programs are of other machines, that nobody may write to."""
    store = site.path / "closed-store"
    shutil.copytree(site.path / "first-store", store, ignore=shutil.ignore_patterns("programs"))
    (store / "programs" / "another").mkdir(parents=True)
    for path in [store, *store.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield store
    for path in [store, *store.rglob("*")]:
        path.chmod(0o755)


def test_a_finished_run_is_served_again_and_into_another_directory(site, run, closed):
    held = contents(closed)
    options = ["--run-dir", site.path / "served-run", "--store", closed]
    done = execute([*UNPRIVILEGED, *site.command(*options)], site.path)
    assert (done.returncode, n_run(done)) == (0, 0), done.stderr
    assert done.stderr == f"{closed} cannot be written, and so does not note that this run uses its stages\n"
    assert results(site.path / "served-run") == results(run)
    assert contents(closed) == held
    for command in ("table", "report"):
        shown = execute([*UNPRIVILEGED, *site.command()[:3], command, str(site.path / "served-run")], site.path)
        assert shown.returncode == 0, shown.stderr
    found = load_run(site.path / "served-run")
    trial = found.trials["trial_id"][0].as_py()
    assert load_params(site.path / "served-run", trial)["encoder"]
    assert contents(closed) == held


def test_a_run_that_needs_more_is_refused_before_anything_is_written(site, closed):
    options = ["--run-dir", site.path / "unserved-run", "--store", closed, "--finetune.l2", "0.125"]
    done = execute([*UNPRIVILEGED, *site.command(*options)], site.path)
    line = f"store: '{closed}' cannot be written, and lacks 8 of {N_STAGES} stages; choose another\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert not (site.path / "unserved-run").exists()
