"""Altered code answers nothing from the store that it would train otherwise: lines altered in copies of the code."""

import json
import os
import queue
import random
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.altered import machine
from tests.altered.machine import Site
from tests.launching import ROOT

N_SAMPLED, SEED, TIMEOUT = 300, 0, 300  # seconds

# Functions on the way that no small plan calls.
UNCALLED = {
    "execute/hosts.py": "join devices",  # of several hosts
    "learn/pytrees.py": "register register_class _reachable",  # as modules are imported
    "execute/compiled.py": "Compiled.__init__ Compiled.outputs Compiled.n_compiled Compiled.clear",  # so, and of tests
    "learn/method.py": "Init.__call__ Update.__call__ Measure.__call__ Finish.__call__ Beside.__call__ "
    "no_companions no_update no_measure",  # protocols, and of closed forms, never called
    "learn/program.py": "Program.update",  # of the comparison of lengths
    "learn/layers.py": "_with_draws _with_state",  # words of errors
    "store/store.py": "Store.save Store.cut_progress Store._discard Store._move_aside",  # of halves, and of damage
    "runs/tables.py": "timings write",  # of files
    "data/dataset.py": "Dataset.known_labels Dataset.named",  # of samples and baselines
    "data/moments.py": "by_channel",  # of arrays, whose digests name stages
    "data/scaling.py": "_counts _named",  # of arrays, whose digests name stages
    "data/splits.py": "_by_time _grouped",  # likewise
    "execute/execute.py": "measured_again",  # of test rows that pretraining has not seen
    "learn/probes.py": "_ridge_of_known",  # of unknown labels, as the next
    "learn/views.py": "_greyscale _hue _shift _slope _offset _scale",  # of colour and of series
    "learn/tasks.py": "Task.target_shape known_labels",
    "plan/stages.py": "specs",  # all stages of a point at once
    "runs/measures.py": "_accuracy _average_precision own_values",  # asked for by name, the last of files
    "store/records.py": "Outcome.diverged",
}
STAGES = {"pretrain/0", "pretrain/1", "finetune"}
# Lines on the way of a number, of which most once could be altered without anybody's noticing; and whose ids change.
NOTICED = {
    "updates out of step": ("learn/train.py", "step(state, index)\n", "step(state, index + 1)\n", STAGES),
    "curves halved": ("learn/train.py", "(curve, values[name], index)", "(curve, values[name] / 2, index)", STAGES),
    "another name of a metric": ("learn/methods/finetuning.py", '"pre_update_acc', '"before_acc', {"finetune"}),
    "another seed's batch": ("learn/program.py", "(inputs.seed, index)", "(inputs.seed + 1, index)", STAGES),
    "another network": ("learn/stack.py", "apply(self.head, params", "-apply(self.head, params", {"finetune"}),
    "another mean": ("learn/metrics.py", "mean.total / mean.count", "mean.total / (mean.count + 1)", STAGES),
    "a neighbour's trial": ("learn/lanes.py", "_in_dim(leaf, index, k", "_in_dim(leaf, index - 1, k", STAGES),
    "measured at other steps": ("learn/stage.py", "np.arange(1, n_updates + 1)", "np.arange(n_updates)", STAGES),
    "images upside down": ("plan/arrays.py", "split.inputs.reshape(", "split.inputs[:, ::-1].reshape(", STAGES),
    "another seed": ("plan/arrays.py", "[seeds[lane] for", "[seeds[lane] + 1 for", STAGES),
    "numbers rounded": ("plan/arrays.py", "in lanes], np.float32)", "in lanes], np.float16)", STAGES),
    "a parent's neighbour": ("plan/arrays.py", "leaf[lane], tree", "leaf[lane - 1], tree", STAGES),
    "lanes the other way": ("plan/arrays.py", "leaf[first:stop]", "leaf[first:stop][::-1]", STAGES),
    "steps counted from two": ("plan/arrays.py", "(steps) + 1", "(steps) + 2", STAGES),
    "results of the first": ("store/records.py", "_none(values[lane]) for", "_none(values[0]) for", STAGES),
    "a parent of the first": ("store/store.py", "(self._restored[path], lane)", "(self._restored[path], 0)", STAGES),
}


class Copies:
    """Copies of the package, each with an altered line at a time, beside stores that the code as it is has filled."""

    def __init__(self, path: Path, programs: Path, n_copies: int = 1):
        self._path, self._programs, self._free = path, programs, queue.SimpleQueue()
        for number in range(n_copies):
            shutil.copytree(ROOT / "pretrain", path / f"copy {number}" / "pretrain")
            self._free.put(path / f"copy {number}")

    def run(self, code: Path, *arguments: str) -> subprocess.CompletedProcess:
        """Runs ``plans`` with the package in a directory."""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(code), str(ROOT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "JAX_NUM_CPU_DEVICES": "2",
            "JAX_COMPILATION_CACHE_DIR": str(self._programs),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.02",
        }
        command = [sys.executable, "-m", "tests.altered.plans", *arguments]
        how = {"capture_output": True, "text": True, "timeout": TIMEOUT}
        return subprocess.run(command, cwd=self._path, env=environment, **how)

    def run_altered(self, file: str, text: str, *arguments: str) -> str:
        """Returns what ``plans`` prints with another text of a file; or how it fails."""
        code = self._free.get()
        path = code / "pretrain" / file
        kept = path.read_text()
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)  # which may be taken for that of the new text
        path.write_text(text)
        try:
            done = self.run(code, *arguments)
            return done.stdout.strip() if done.returncode == 0 else f"fails: {done.stderr.strip()[-200:]}"
        except subprocess.TimeoutExpired:
            return "fails: it never ends"
        finally:
            path.write_text(kept)
            self._free.put(code)


@pytest.fixture(scope="module")
def copies(tmp_path_factory, programs):
    return Copies(tmp_path_factory.mktemp("copies"), programs)


@pytest.fixture(scope="module")
def ids(copies):
    """The ids of stages, by name, of the code as it is."""
    return json.loads(copies.run(ROOT, "ids", "arms").stdout)


@pytest.mark.parametrize("name", NOTICED)
def test_a_line_on_the_way_of_a_number_names_its_stages(name, copies, ids):
    file, old, new, stages = NOTICED[name]
    text = (ROOT / "pretrain" / file).read_text()
    assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
    others = json.loads(copies.run_altered(file, text.replace(old, new), "ids", "arms"))
    assert {stage for stage in ids if not {*ids[stage]} & {*others[stage]}} == stages
    assert all(ids[stage] == others[stage] for stage in ids.keys() - stages)


@pytest.mark.slow
def test_no_altered_line_is_answered_from_the_store(tmp_path, programs):
    n_copies = os.cpu_count() or 1
    copies = Copies(tmp_path, programs, n_copies)
    trained = copies.run(ROOT, "train", "stores", "called.json")
    assert trained.returncode == 0, trained.stderr
    called = json.loads((tmp_path / "called.json").read_text())
    on_the_way = {f"{file}:{function}" for file in machine.files() for function in machine.functions(file)}
    listed = {f"{file}:{name}" for file, names in UNCALLED.items() for name in names.split()}
    assert on_the_way - set().union(*called.values()) == listed
    draw = random.Random(SEED)
    sites = draw.sample([site for file in machine.files() for site in machine.sites(file)], N_SAMPLED)

    def tried(site: Site) -> str:
        text, words = machine.altered(site)
        plans = sorted(plan for plan, functions in called.items() if f"{site.file}:{site.function}" in functions)
        if not plans:
            return f"uncalled: {site}"
        plan = random.Random(str(site)).choice(plans)
        return f"{copies.run_altered(site.file, text, 'compare', 'stores', plan)}: {site} of {plan}, {words}"

    with ThreadPoolExecutor(n_copies) as pool:
        ends = list(pool.map(tried, sites))
    print(Counter(end.split(":")[0].split(" but")[0] for end in ends))
    assert not [end for end in ends if end.startswith("STALE")]
