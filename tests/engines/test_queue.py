"""Queues of packs: each is taken by one worker at a time, and what is killed, stray or damaged ends no worker."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pretrain.engines import queue as queues
from pretrain.engines.queue import Entry, Queue
from pretrain.engines.signs import SILENT, Signs
from pretrain.engines.standing import Counts, Standing
from tests.launching import ROOT

FOLDERS = ("waiting", "running", "done", "aside")
RESULT = {"stored": ["pack"], "seconds": 3.0, "compiling": 1.0}


def named(number):
    return f"{number:07}"


def filled(root, *after, title="pretrain/0"):
    """A queue of as many packs as there are tuples of the numbers of those that each comes after."""
    queue = Queue(root)
    queue.make()
    first = queue.next_number()
    packs = {
        named(number): (Entry(title, 2, tuple(map(named, before))), {"number": number})
        for number, before in enumerate(after, first)
    }
    queue.add(packs)
    return queue


@pytest.fixture
def root(tmp_path):
    return tmp_path / "queue"


def numbers(queue):
    """The packs by folder, as numbers."""
    return {state: list(map(int, names)) for state, names in queue.states().items() if names}


def take_all(root, worker):
    """Takes and finishes packs until none is left; returns them in order."""
    queue, taken = Queue(root), []
    while queue.has_waiting():
        if claim := queue.claim(worker):
            taken.append(claim.message["number"])
            queue.finish(claim.name, worker, RESULT)
    return taken


def test_packs_are_taken_in_order_each_once_with_its_message(root):
    queue = filled(root, (), (), ())
    claims = [queue.claim("one") for _ in range(4)]
    assert [claim and claim.message["number"] for claim in claims] == [0, 1, 2, None]
    assert numbers(queue) == {"running": [0, 1, 2]} and not queue.has_waiting() and not queue.is_over()
    assert claims[0] == (named(0), {"number": 0}, (), 0)


def test_many_threads_take_each_pack_once(root):
    filled(root, *[()] * 200)
    with ThreadPoolExecutor(16) as threads:
        taken = list(threads.map(lambda number: take_all(root, f"thread-{number}"), range(16)))
    assert sorted(itertools.chain(*taken)) == list(range(200))
    assert numbers(Queue(root)) == {"done": list(range(200))} and Queue(root).is_over()


TAKER = """
import os, sys
from pathlib import Path
from pretrain.engines.queue import Queue
assert "jax" not in sys.modules, "a queue is looked at at once"
queue, taken = Queue(Path(sys.argv[1])), []
while queue.has_waiting():
    if claim := queue.claim(sys.argv[2]):
        assert set(claim.after) <= set(os.listdir(queue.root / "done"))
        taken.append(claim.message["number"])
        queue.finish(claim.name, sys.argv[2], {})
print(taken)
"""


def test_several_processes_take_each_pack_once_and_no_child_before_its_parents(root):
    filled(root, *[()] * 150, *[(number,) for number in range(150)])
    commands = [[sys.executable, "-c", TAKER, root, f"process-{number}"] for number in range(3)]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for command in commands]
    taken = [json.loads(process.communicate(timeout=100)[0]) for process in started]
    assert sorted(itertools.chain(*taken)) == list(range(300))


def test_a_pack_waits_until_its_parents_are_done_or_aside(root):
    queue = filled(root, (), (), (0, 1))
    assert [queue.claim("one").name, queue.claim("two").name] == [named(0), named(1)]
    assert queue.claim("three") is None
    queue.finish(named(0), "one", RESULT)
    assert queue.claim("three") is None
    queue.fail(named(1), "two", "too large", is_final=True)
    claim = queue.claim("three")
    assert (claim.name, claim.after) == (named(2), (named(0), named(1)))


def test_packs_that_a_worker_has_failed_come_last(root):
    queue = filled(root, (), ())
    assert queue.claim("one", last=[named(0)]).name == named(1)
    assert queue.claim("one", last=[named(0)]).name == named(0)


def test_a_released_pack_is_taken_again_and_counts_as_no_fault(root):
    queue = filled(root, ())
    queue.release(queue.claim("one").name, "one")
    assert numbers(queue) == {"waiting": [0]}
    assert queue.claim("two").n_lost == 0 and queue.faults() == {}


def test_a_finished_pack_has_a_result(root):
    queue = filled(root, ())
    assert queue.result(named(0)) is None
    queue.finish(queue.claim("one").name, "one", RESULT)
    assert queue.result(named(0)) == RESULT and queue.is_over()


def test_a_pack_that_fails_is_put_back_once_and_then_aside(root):
    queue = filled(root, ())
    queue.fail(queue.claim("one").name, "one", "no", "Traceback")
    assert numbers(queue) == {"waiting": [0]}
    queue.fail(queue.claim("two").name, "two", "no again")
    assert numbers(queue) == {"aside": [0]} and queue.is_over() and queue.claim("three") is None
    assert queue.set_aside() == {named(0): ("no again", {"number": 0})}
    assert [fault["reason"] for fault in queue.faults()[named(0)]] == ["no", "no again"]
    assert queue.faults()[named(0)][0]["trace"] == "Traceback"


def test_a_final_fault_sets_a_pack_aside_at_once(root):
    queue = filled(root, ())
    queue.fail(queue.claim("one").name, "one", "too large", is_final=True)
    assert numbers(queue) == {"aside": [0]}


def test_a_lost_worker_leaves_its_pack_to_others_so_many_times(root):
    queue = filled(root, (), ())
    for lost in range(3):
        claim = queue.claim(f"worker-{lost}")
        assert (claim.name, claim.n_lost) == (named(0), lost)
        assert queue.lose(f"worker-{lost}", retries=2) == [named(0)]
    assert numbers(queue) == {"aside": [0], "waiting": [1]}
    assert queue.set_aside()[named(0)][0] == "its worker worker-2 was lost"
    assert queue.lose("worker-2", retries=2) == []


def test_losses_and_faults_are_counted_apart(root):
    queue = filled(root, ())
    queue.claim("one")
    queue.lose("one", retries=5)
    queue.fail(queue.claim("two").name, "two", "no")
    queue.claim("three")
    queue.lose("three", retries=5)
    assert numbers(queue) == {"waiting": [0]} and queue.claim("four").n_lost == 2


def test_a_lost_job_loses_all_its_workers_and_none_of_another(root):
    queue = filled(root, *[()] * 5)
    for worker in ("slurm-1", "slurm-1.0", "slurm-1.1", "slurm-1_2", "slurm-12"):
        queue.claim(worker)
    assert queue.lose("slurm-1", retries=5) == list(map(named, range(3)))
    assert numbers(queue) == {"running": [3, 4], "waiting": [0, 1, 2]}


def test_a_worker_killed_between_the_two_steps_of_finish_has_finished(root, monkeypatch):
    queue = filled(root, ())
    claim = queue.claim("one")
    with monkeypatch.context() as patch:
        patch.setattr(Queue, "_move", lambda *_: None)
        queue.finish(claim.name, "one", RESULT)
    assert numbers(queue) == {"running": [0]}
    assert queue.lose("one", retries=0) == [named(0)]
    assert numbers(queue) == {"done": [0]} and queue.faults() == {}


def test_a_worker_killed_as_it_looks_after_a_lost_one_loses_nothing(root, monkeypatch):
    queue = filled(root, ())
    queue.claim("one")
    with monkeypatch.context() as patch:
        patch.setattr(Queue, "_note_fault", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            queue.lose("one", retries=5)
    assert numbers(queue) == {"running": [0]}
    assert Signs(queue).lose_silent(retries=5) == [named(0)]
    assert numbers(queue) == {"waiting": [0]} and queue.claim("two").n_lost == 1


def test_of_many_that_find_a_worker_lost_one_counts_it(root):
    filled(root, *[()] * 20)
    for _ in range(20):
        Queue(root).claim("one")
    with ThreadPoolExecutor(8) as threads:
        lost = list(threads.map(lambda _: Queue(root).lose("one", retries=0), range(8)))
    assert sorted(itertools.chain(*lost)) == list(map(named, range(20)))
    assert {len(faults) for faults in Queue(root).faults().values()} == {1}


def silence(root, worker, seconds):
    """Sets a worker's last sign of life so far back."""
    then = time.time() - seconds
    os.utime(root / "workers" / worker, (then, then))


def test_workers_without_signs_of_life_are_lost_and_others_are_not(root):
    queue = filled(root, (), (), ())
    for worker in ("alive", "silent"):
        Signs(queue).beat(worker)
        queue.claim(worker)
    queue.claim("unknown")  # parted, or its sign was never seen
    silence(root, "alive", SILENT - 30)
    silence(root, "silent", SILENT + 1)
    assert sorted(Signs(queue).lose_silent(retries=5)) == [named(1), named(2)]
    assert numbers(queue) == {"running": [0], "waiting": [1, 2]}
    ages = Signs(queue).ages()
    assert ages.keys() == {"alive"} and ages["alive"] == pytest.approx(SILENT - 30, abs=5)
    Signs(queue).part("alive")
    assert Signs(queue).ages() == {}


def test_a_disk_that_is_gone_for_a_moment_loses_no_worker(root, monkeypatch):
    queue = filled(root, ())
    Signs(queue).beat("one")
    queue.claim("one")

    def fails(*_, **__):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(queues.Path, "touch", fails)
        assert Signs(queue).ages() is None and Signs(queue).lose_silent(retries=5) == []
        Signs(queue).beat("one")
    assert numbers(queue) == {"running": [0]}


def test_a_worker_that_claims_as_others_look_is_not_lost(root, monkeypatch):
    queue, ages = filled(root, ()), Signs.ages

    def claiming(self):
        found = ages(self)
        Signs(queue).beat("new")
        queue.claim("new")
        return found

    monkeypatch.setattr(Signs, "ages", claiming)
    assert Signs(Queue(root)).lose_silent(retries=5) == [] and numbers(queue) == {"running": [0]}


def test_a_worker_believed_lost_that_goes_on_takes_nothing_from_who_has_its_pack(root):
    queue = filled(root, ())
    queue.claim("one")
    queue.lose("one", retries=5)
    queue.claim("two")
    queue.release(named(0), "one")
    queue.fail(named(0), "one", "no")
    assert os.listdir(root / "running") == [f"{named(0)}@two"]
    queue.finish(named(0), "one", RESULT)
    assert numbers(queue) == {"running": [0]} and queue.result(named(0)) == RESULT
    queue.finish(named(0), "two", RESULT)
    assert numbers(queue) == {"done": [0]}


def test_retry_forgets_faults_and_puts_back_what_is_aside(root):
    queue = filled(root, (), ())
    queue.fail(queue.claim("one").name, "one", "no", is_final=True)
    queue.finish(queue.claim("one").name, "one", RESULT)
    queue.retry()
    assert numbers(queue) == {"done": [1], "waiting": [0]} and queue.faults() == {} == queue.set_aside()


def test_withdrawn_packs_leave_nothing(root):
    queue = filled(root, *[()] * 5)
    for _ in range(4):
        queue.claim("one")
    queue.finish(named(0), "one", RESULT)
    queue.fail(named(1), "one", "no", is_final=True)
    queue.fail(named(2), "one", "no")
    queue.withdraw([named(number) for number in (0, 1, 2, 3)])
    assert numbers(queue) == {"waiting": [4]} and queue.faults() == {} and queue.result(named(0)) is None
    queue.finish(named(3), "one", RESULT)  # who runs one ends it in vain
    assert numbers(queue) == {"waiting": [4]}


def test_packs_that_are_added_later_have_numbers_of_their_own(root):
    queue = filled(root, (), ())
    assert queue.next_number() == 2
    assert filled(root, (0,)).messages().keys() == {named(0), named(1), named(2)}
    assert list(queue.index()) == [named(0), named(1), named(2)] and queue.index()[named(2)].after == (named(0),)


def test_messages_are_of_the_packs_that_wait_or_run(root):
    queue = filled(root, (), (), ())
    queue.finish(queue.claim("one").name, "one", RESULT)
    queue.claim("one")
    assert queue.messages() == {named(1): {"number": 1}, named(2): {"number": 2}}


def test_a_request_to_stop_holds_until_the_queue_is_made_again(root):
    queue = filled(root, ())
    assert not queue.is_stopping()
    queue.stop()
    assert queue.is_stopping()
    Queue(root).make()
    assert not queue.is_stopping() and numbers(queue) == {"waiting": [0]}


def test_an_experiment_is_kept_once(root):
    queue = filled(root)
    name = queue.add_experiment('{"seeds": 2}')
    assert name == queue.add_experiment('{"seeds": 2}') != queue.add_experiment('{"seeds": 3}')
    assert queue.experiment(name) == '{"seeds": 2}' and len(os.listdir(root / "experiments")) == 2


def test_counts_say_how_far_the_work_is(root):
    queue = filled(root, *[()] * 4)
    queue.finish(queue.claim("one").name, "one", RESULT)
    queue.claim("one")
    # Two seconds of two jobs without compilation, and three packs of as many are left.
    assert Standing(queue).counts() == Counts(1, 0, 1, 2, 3.0, 1.0, 6.0)
    said = "1 pack done, 1 running, 2 waiting, 3 s used, 33% of it to compile, about 6 s left"
    assert str(Standing(queue).counts()) == said
    queue.fail(named(1), "one", "no", is_final=True)
    assert str(Standing(queue).counts()).startswith("1 pack done, 1 failed, 0 running, 2 waiting")


def test_seconds_that_are_left_are_unknown_before_a_pack_of_each_stage_is_done(root):
    filled(root, (), ())
    queue = filled(root, (), title="finetune")
    assert str(Standing(queue).counts()) == "0 packs done, 0 running, 3 waiting"
    queue.finish(queue.claim("one").name, "one", RESULT)
    assert Standing(queue).counts().left is None
    queue.finish(queue.claim("one").name, "one", RESULT)
    queue.finish(queue.claim("one").name, "one", {**RESULT, "seconds": 7201.0})
    assert Standing(queue).counts().left == 0
    assert str(Standing(queue).counts()) == "3 packs done, 0 running, 0 waiting, 2.0 h used, 0% of it to compile"


def test_an_index_is_read_whole_while_it_is_written(root):
    queue, ended, found = filled(root, ()), threading.Event(), []

    def read():
        reader = Queue(root)
        while not ended.is_set():
            found.append(len(reader.index()))

    with ThreadPoolExecutor(3) as threads:
        reading = [threads.submit(read) for _ in range(3)]
        for _ in range(100):
            filled(root, ())
        ended.set()
        assert [each.result() for each in reading] == [None] * 3
    assert found[0] >= 1 and max(found) <= 101 and len(queue.index()) == 101


def test_a_later_queue_in_the_place_of_one_has_its_own_index(root):
    worker = filled(root, (), ())
    worker.finish(worker.claim("one").name, "one", RESULT)
    launcher = Queue(root)
    launcher.remove()
    filled(root, (), (0,))
    assert worker.claim("one").name == named(0) and worker.claim("one") is None


STRAY = ("notes.txt", "0000001.txt", "12", "a@b@c", "@", "0000001@", "0000000.draft", "README")


def test_files_that_a_person_leaves_in_the_folders_are_left_alone(root):
    queue = filled(root, ())
    for folder in (*FOLDERS, "faults", "results", "workers", "experiments", "."):
        for name in STRAY:
            (root / folder / name).write_text("by hand")
    (root / "waiting" / "directory").mkdir()
    queue.retry()
    Signs(queue).lose_silent(retries=5)
    assert numbers(queue) == {"waiting": [0]} and queue.next_number() == 1
    assert queue.messages() == {named(0): {"number": 0}}
    queue.finish(queue.claim("one").name, "one", RESULT)
    assert queue.claim("one") is None and queue.is_over() and Standing(queue).counts().done == 1
    assert queue.faults() == {} == queue.set_aside()


def test_names_of_workers_may_hold_any_sign(root):
    queue = filled(root, ())
    queue.claim("user@host@2")
    assert queue.lose("user@host@2", retries=5) == [named(0)] and numbers(queue) == {"waiting": [0]}


@pytest.mark.parametrize("content", ["", '{"number": 0', "[]", "null", "\0\0\0\0"])
def test_a_damaged_message_is_a_fault_of_its_pack_and_costs_no_other(root, content):
    queue = filled(root, (), (), (0,))
    (root / "waiting" / named(0)).write_text(content)
    assert queue.claim("one").name == named(1)
    assert numbers(queue) == {"aside": [0], "running": [1], "waiting": [2]}
    (fault,) = queue.faults()[named(0)]
    assert fault["reason"] == "its message is damaged; the same command makes it anew" and queue.set_aside() == {}
    assert queue.claim("two").name == named(2)
    queue.retry()
    assert numbers(queue) == {"running": [1, 2]}


def test_a_message_that_is_no_text_is_damaged_too(root):
    queue = filled(root, (), ())
    (root / "waiting" / named(0)).write_bytes(b"\xff\xfe\x00")
    assert queue.claim("one").name == named(1) and numbers(queue) == {"aside": [0], "running": [1]}


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"0000000": 3}', '{"0000000'])
def test_a_damaged_index_is_named_and_made_anew(root, content):
    queue = filled(root, (), ())
    queue.finish(queue.claim("one").name, "one", RESULT)
    (root / "index.json").write_text(content)
    with pytest.raises(OSError, match="is damaged; the same command makes it anew"):
        Queue(root).claim("two")
    launcher = Queue(root)
    launcher.make()
    assert launcher.index() == {} and launcher.next_number() == 2


def test_damaged_faults_and_results_are_as_none(root):
    queue = filled(root, (), ())
    queue.fail(queue.claim("one").name, "one", "no")
    (root / "faults" / f"{named(0)}.0000").write_text("{")
    assert queue.faults() == {named(0): []}
    queue.finish(queue.claim("one").name, "one", RESULT)
    (root / "results" / named(0)).write_text("{")
    assert queue.result(named(0)) is None and Standing(queue).counts().done == 1


def test_a_queue_that_is_removed_ends_its_workers_without_a_word(root):
    queue = filled(root, (), (), ())
    Signs(queue).beat("one")
    for _ in range(3):
        queue.claim("one")
    Queue(root).remove()
    assert queue.is_stopping() and not queue.exists() and not queue.has_waiting() and queue.is_over()
    queue.finish(named(0), "one", RESULT)
    queue.fail(named(1), "one", "no")
    queue.release(named(2), "one")
    Signs(queue).beat("one")
    Signs(queue).part("one")
    assert queue.claim("one") is None and queue.lose("one", 5) == Signs(queue).lose_silent(5) == []
    assert os.listdir(root.parent) == []


def test_a_removal_is_over_at_once_and_one_that_was_killed_is_ended_by_the_next(root, monkeypatch):
    queue = filled(root, ())
    with monkeypatch.context() as patch:
        patch.setattr(queues.shutil, "rmtree", lambda *_, **__: None)
        queue.remove()
    assert not queue.exists() and os.listdir(root.parent) == [".queue.removed"]
    queue.make()
    assert os.listdir(root.parent) == ["queue"]
    queue.remove()
    queue.remove()
    assert os.listdir(root.parent) == []
