"""The store knows at how many seeds arms were judged before, and how many runs have read a set's test rows."""

import json
import multiprocessing

import numpy as np
import pyarrow as pa
import pytest

from pretrain.commands import store as store_command
from pretrain.store import judged, manifests
from pretrain.store.judged import History

SETS = {"mark of digits": "digits"}
ARMS = ("a", "b", "c", "d")


def fail(line):
    raise AssertionError(line)


def trials(seeds, arms=ARMS):
    names = [f"{arm}{seed}" for seed in range(seeds) for arm in arms]
    return pa.table({"trial_id": names, "seed": np.repeat(np.arange(seeds), len(arms))})


def judge(root, seeds, arms=ARMS, looks=(), sets=SETS, warn=fail):
    """What a run finds in the store and leaves there."""
    own = judged.judged(trials(seeds, arms), looks or [seeds])
    history = judged.history(root, own, 6, sets, warn)
    judged.note(root, own, sets, history.before, warn)
    return history


def test_fewer_seeds_of_the_same_arms_are_counted_and_the_same_seeds_again_are_no_look(tmp_path):
    assert judge(tmp_path, 8) == History((), {"digits": 1})
    assert judge(tmp_path, 8) == History((), {"digits": 1})
    assert judge(tmp_path, 16).before == (8,)
    assert judge(tmp_path, 32) == History((8, 16), {"digits": 3})
    assert judge(tmp_path, 32).before == (8, 16)
    assert judge(tmp_path, 16).before == (8,)  # more seeds are no look before fewer
    assert len(list((tmp_path / "judged").iterdir())) == 3


def test_a_look_at_too_few_seeds_to_call_an_effect_is_none(tmp_path):
    judge(tmp_path, 5)
    judge(tmp_path, 6)
    assert judge(tmp_path, 7).before == (6,)


def test_fewer_seeds_judged_afterwards_are_no_look_before(tmp_path):
    assert judge(tmp_path, 32).before == ()
    assert judge(tmp_path, 8).before == ()
    assert judge(tmp_path, 32).before == ()


def test_declared_looks_are_none_of_those_that_nobody_declared(tmp_path):
    looks = [8, 16, 24]
    judge(tmp_path, 8, looks=looks)
    assert judge(tmp_path, 16, looks=looks).before == ()
    assert judge(tmp_path, 32, looks=[8, 16, 24, 32]).before == (8, 16)  # another plan, made after a look
    assert judge(tmp_path, 24).before == (8, 16)


def test_arms_are_the_same_where_two_were_judged_together(tmp_path):
    judge(tmp_path, 8, arms=("a", "b"))
    assert judge(tmp_path, 16, arms=("a", "c")).before == ()
    assert judge(tmp_path, 16, arms=("a", "b", "c")).before == (8,)
    assert judge(tmp_path, 4, arms=("a", "b")).before == ()


def test_runs_that_read_test_rows_are_counted_by_content(tmp_path):
    for number in range(11):
        history = judge(tmp_path, 8, arms=(f"{number}x", f"{number}y"))
        assert history.readers == {"digits": number + 1} and history.often_read == (
            {"digits": 11} if number > 9 else {}
        )
    assert judge(tmp_path, 8, arms="pq", sets={"other": "digits"}).readers == {"digits": 1}
    assert list(judged.readers(tmp_path).items()) == [("digits (mark of )", 11), ("digits (other)", 1)]


def test_a_record_gives_the_sets_of_a_report_that_is_drawn_again(tmp_path):
    judge(tmp_path, 8)
    judge(tmp_path, 16)
    assert judged.history(tmp_path, judged.judged(trials(16), [16]), 6) == History((8,), {"digits": 2})
    assert judged.history(tmp_path, judged.judged(trials(4), [4]), 6) is None
    assert judged.history(tmp_path / "none", judged.judged(trials(16), [16]), 6) is None


@pytest.mark.parametrize("damage", ["cut", "other seeds", "another kind", "empty", "a file"])
def test_a_damaged_record_is_named_and_does_not_count(tmp_path, damage):
    judge(tmp_path, 8)
    (path,) = (tmp_path / "judged").iterdir()
    manifest = path / manifests.NAME
    if damage == "cut":
        manifest.write_text(manifest.read_text()[:50])
    elif damage == "other seeds":  # under a checksum of its own
        content = manifests.read(manifest)
        manifests.write(manifest, {**content, "seeds": 4})
    elif damage == "another kind":
        manifests.write(manifest, {"seeds": "8"})
    else:
        manifest.unlink()
        if damage == "a file":
            path.rmdir()
            path.write_text("")
    lines = []
    assert judge(tmp_path, 16, warn=lines.append).before == ()
    assert len(lines) == 1 and str(path) in lines[0] and lines[0].endswith("delete it")


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "judged").write_text("")
    lines = []
    assert judge(tmp_path, 8, warn=lines.append) == History((), {"digits": 1})
    assert len(lines) == 1 and "do not know that this one was judged" in lines[0]


def _judge_some(root, start, first):
    start.wait()
    for number in range(20):
        judge(root, 2 + number, arms=(f"{first}x", f"{first}y") if number % 2 else ARMS)


def test_processes_note_at_once_and_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    processes = [context.Process(target=_judge_some, args=(tmp_path, start, name)) for name in "mn"]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    records = list((tmp_path / "judged").iterdir())
    assert len(records) == 10 + 2 * 10 and not list((tmp_path / "drafts").iterdir())
    assert json.loads((records[0] / manifests.NAME).read_text())["sets"] == SETS


def test_pruning_a_store_keeps_its_records_and_the_list_counts_readers(tmp_path, capsys):
    for seeds in (8, 16):
        judge(tmp_path, seeds)
    assert store_command.main(["--store", str(tmp_path), "--prune", "--verify"]) == 0
    assert "test rows read: digits (mark of ) by 2 runs" in capsys.readouterr().out
    assert judge(tmp_path, 32).before == (8, 16)
