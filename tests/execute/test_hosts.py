"""One pack over the devices of two processes, as over two hosts: the same results."""

import socket

import pytest

from tests.launching import at_once, refused, results


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# A phase and a fine-tuning of two seeds: each program is compiled anew for two hosts.
BRIEF = ["--encoder.layers", "12", "--finetune.encoder-init", "pretrained", "--finetune.frozen-layers", "0"]


@pytest.mark.cluster
def test_two_processes_share_every_pack_and_one_writes(site, first):
    assert site.launch(*site.at("one-host"), *BRIEF).returncode == 0
    address = f"JAX_COORDINATOR_ADDRESS=127.0.0.1:{free_port()}"
    command = site.command(*site.at("hosts"), *BRIEF, "--engine.distributed", "True")
    launches = [["env", address, "JAX_NUM_PROCESSES=2", f"JAX_PROCESS_ID={n}", *command] for n in range(2)]
    leader, follower = at_once(launches, site.path)
    assert (leader.returncode, follower.returncode) == (0, 0), leader.stderr + follower.stderr
    assert "2 trials, 4 of 4 stages run" in leader.stdout
    # A follower says nothing of ours. Gloo's own lines are written by several threads, and may break each other.
    leads, follows = ({line for line in each.stdout.splitlines() if line.strip()} for each in (leader, follower))
    assert {line for line in leads & follows if "Gloo" not in line} == set()
    assert "trials" not in follower.stdout
    assert results(site.path / "hosts-run") == results(site.path / "one-host-run")


def test_without_the_others_a_process_names_what_to_set(site):
    refused(
        site.launch(*site.at("alone"), "--engine.distributed", "True"),
        "engine.distributed: ",
        "JAX_COORDINATOR_ADDRESS",
    )
