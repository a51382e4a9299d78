"""The simulation of a cluster against closed forms, and what is measured for it."""

import pytest

from tests.bench import cluster, cluster_check, cluster_costs
from tests.bench.cluster_events import Clock, Ready, Server
from tests.bench.cluster_model import Cluster, Costs, Level, Pack, Sweep, cut, pulled, size, submitted

OLD = {"old_open": 0.0, "old_open_ops": 0}
FREE = Costs(
    *[0.0] * 8, open_ops=0, seal_ops=0, claim_ops=0, message_ops=0, done_ops=0, plan_trial=0.0, plan_point=0.0, **OLD
)
NO_SERVER = {"operations": 1e15, "latency": 0.0, "varied": 0.0}
SWEEP = Sweep((Level(4, 10.0), Level(37, 10.0)))


@pytest.mark.parametrize("seconds", [10.0, 40.0])
def test_one_worker_takes_the_sum(seconds):
    spent = pulled(SWEEP, Cluster(1, **NO_SERVER), FREE, seconds)
    assert spent.wall == pytest.approx(SWEEP.seconds)
    assert spent.share() == pytest.approx(1)


@pytest.mark.parametrize("workers", [2, 7, 16])
def test_workers_without_dependencies_end_within_a_pack_of_their_share(workers):
    sweep = Sweep((Level(100, 3.0),))
    spent = pulled(sweep, Cluster(workers, **NO_SERVER), FREE, 3.0)
    assert sweep.seconds / workers <= spent.wall <= sweep.seconds / workers + 3.0
    assert spent.seconds["training"] == pytest.approx(sweep.seconds)


def test_a_pack_waits_for_its_own_parents_and_for_no_others():
    # A level of one long and one short pack: children of the short one run beside the long one.
    sweep, costs = Sweep((Level(2, 8.0), Level(2, 8.0))), FREE._replace(start=1.0)
    pulling = pulled(sweep, Cluster(2, **NO_SERVER), costs, 8.0)
    assert pulling.wall == pytest.approx(1.0 * 1.2 + 16.0, abs=0.5)
    assert pulled(sweep, Cluster(1, **NO_SERVER), costs, 8.0).wall == pytest.approx(0.8 + 32.0)


@pytest.mark.parametrize("is_spread", [True, False])
def test_a_full_server_serves_at_its_rate(is_spread):
    sweep, costs = Sweep((Level(2000, 1e-6),)), FREE._replace(seal_ops=100)
    spent = pulled(sweep, Cluster(50, operations=1005.0, latency=0.0, is_spread=is_spread), costs, 1e-6)
    assert spent.operations >= 2000 * 100
    assert spent.wall == pytest.approx(spent.operations / 1000, rel=0.01)
    assert spent.metadata == pytest.approx(1, rel=0.01) and spent.share() < 0.01


def test_workers_that_claim_from_the_front_try_in_vain_what_others_took():
    sweep, costs = Sweep((Level(40, 100.0),)), FREE._replace(claim_ops=1)
    front, spread = (
        pulled(sweep, Cluster(40, operations=1e4, latency=1e-3, is_spread=each), costs, 100.0) for each in (False, True)
    )
    assert front.operations - spread.operations > 40 * 39 / 2 / 2
    assert front.packs == spread.packs == 40


def test_a_shared_disk_is_read_at_its_bandwidth_and_data_that_are_staged_once_a_worker():
    sweep = Sweep((Level(20, 1.0, read=1e9, passes=4),))
    shared = pulled(sweep, Cluster(20, disk=1e9, client=1e9, **NO_SERVER), FREE, 1.0)
    assert shared.wall == pytest.approx(20 * 4, rel=0.02) and shared.disk == pytest.approx(1, rel=0.02)
    alone = pulled(sweep, Cluster(1, disk=100e9, client=1e9, **NO_SERVER), FREE, 1.0)
    assert alone.wall == pytest.approx(20 * 4)  # at what a worker gets
    staged = pulled(sweep, Cluster(20, disk=1e9, client=1e9, own_disk=1e12, is_staged=True, **NO_SERVER), FREE, 1.0)
    assert staged.wall == pytest.approx(20 + 1, rel=0.05)


def test_a_job_a_pack_plans_the_whole_and_opens_the_whole_store():
    sweep, costs = Sweep((Level(3, 1.0),)), FREE._replace(start=10.0, plan_trial=1.0, old_open=0.5)
    spent = submitted(sweep, Cluster(1, **NO_SERVER), costs)
    assert spent.packs == 1  # of three jobs
    sweep = Sweep((Level(128, 1.0), Level(64, 1.0)))
    spent = submitted(sweep, Cluster(1, **NO_SERVER), costs)
    assert spent.packs == 3
    assert spent.wall == pytest.approx(64 + 3 * (10 + 64) + 192 + 0.5 * (0 + 1 + 2))


def test_depths_of_jobs_a_pack_wait_for_one_another():
    sweep = Sweep((Level(3, 4.0), Level(3, 4.0)))
    assert submitted(sweep, Cluster(2, **NO_SERVER), FREE).wall == pytest.approx(2 * 8)


def test_packs_hold_a_power_of_two_and_name_the_packs_of_their_parents():
    assert [size(Level(1, seconds)) for seconds in (60.0, 20.0, 3.0, 2.1e-3, 0.0)] == [1, 1, 4, 1024, 1024]
    packs = cut(Sweep((Level(4, 1.0), Level(10, 1.0))), (2, 4))
    assert [pack.jobs for pack in packs] == [2, 2, 4, 4, 2]
    assert [pack.parents for pack in packs] == [(), (), (0, 1), (0, 1), (0,)]
    packs = cut(Sweep((Level(6, 1.0), Level(9, 1.0))), (2, 3))
    assert [pack.parents for pack in packs[3:]] == [(0, 1), (1, 2), (0, 1)]  # 0-2, 3-5, 6-8 as 0-2
    packs = cut(Sweep((Level(4, 1.0), Level(6, 1.0))), (1, 3))
    assert packs[-1] == Pack(1, 3, 3.0, (0, 1, 3))  # 3, 4 and 5, whose parents are 3, 0 and 1


def test_all_packs_are_claimed_once():
    ready = Ready(5)
    ready.packs += range(5)
    assert list(ready.candidates(0.0, 0.0)) == list(range(5))
    taken = []
    for share in (0.5, 0.5, 0.9, 0.0, 0.3):
        place = next(ready.candidates(1.0, share))
        assert ready.claim(place, 1.0) and not ready.claim(place, 2.0)
        taken.append(place)
    assert sorted(taken) == ready.packs and ready.n_claimed == 5
    assert not list(ready.candidates(1.0, 0.4))


def test_processes_run_in_the_order_of_their_times():
    clock, seen = Clock(), []

    def process(name, waits):
        for wait in waits:
            yield wait
            seen.append((name, clock.now))

    clock.start(process("a", [2.0, 2.0]))
    clock.start(process("b", [1.0, 2.0]))
    clock.run()
    assert seen == [("b", 1.0), ("a", 2.0), ("b", 3.0), ("a", 4.0)]


def test_a_server_serves_one_after_another():
    server = Server(10.0)
    assert [server.wait(0.0, 5), server.wait(0.1, 5), server.wait(9.0, 1)] == pytest.approx([0.5, 0.9, 0.1])
    assert (server.busy, server.served) == pytest.approx((1.1, 11))


def test_what_is_saturated_first_is_named():
    sweep = Sweep((Level(1000, 1.0),))
    by_size = {n: pulled(sweep, Cluster(n, **NO_SERVER), FREE._replace(start=10.0)) for n in (1, 10, 100)}
    assert cluster.first_saturated(by_size) == "at 100: start of workers"
    assert cluster.first_saturated({1: by_size[1]}) == "nothing up to 1"
    made = iter([cluster.Scenario("a title", pulled, sweep, (1, 2), {})])
    (text,) = cluster.report(made, Cluster(1, **NO_SERVER), FREE, is_markdown=True)
    assert "a title; saturated first nothing up to 2" in text and text.count("|\n") == 3


def test_operations_are_counted_between_marks():
    lines = [
        '1 openat(AT_FDCWD, "/x/counted-1/a") = 3',
        '1 stat("/x/counted-mark-seal_ops") = -1 ENOENT',
        *['1 mkdir("/x/counted-1/b") = 0', "1 fsync(3</x/counted-1/a>) = 0", '1 newfstatat(3</x/counted-1/a>, "") = 0'],
        *["1 <... fsync resumed>) = 0 /x/counted-1/a", '1 openat(AT_FDCWD, "/usr/lib/y") = 3'],
        '1 stat("/x/counted-mark-open_ops") = -1 ENOENT',
        *['1 openat(AT_FDCWD, "/x/counted-1/a") = 3'] * 4,
        '1 stat("/x/counted-mark-end") = -1 ENOENT',
        '1 openat(AT_FDCWD, "/x/counted-1/a") = 3',
    ]
    assert cluster_costs.counted(lines, "/x/counted") == {"seal_ops": 1.0, "open_ops": 2.0}


def test_a_real_run_is_simulated_by_the_packs_of_its_store():
    sizes = [("finetune", 2), ("pretrain/all", 1), ("pretrain/all", 1)]
    simulated = cluster_check.pulled_as(sizes, FREE._replace(trial=2.0), 1)
    assert (simulated.packs, simulated.wall) == (3, pytest.approx(4.0, abs=0.1))


@pytest.mark.slow
def test_costs_are_measured_here():
    found = cluster_costs.measured(4, 8)
    assert found.keys() >= {*Costs._fields} - {name for name in Costs._fields if name.endswith("ops")} - {
        *("plan_trial", "plan_point", "old_open")
    }
    assert all(value >= 0 for name, value in found.items() if name not in ("trial", "cached"))
    assert 0.5 < found["start"] < 60
