"""One launcher at a time on a run directory."""

import json
import os
import socket

import pytest

from pretrain.config.fields import ConfigError
from pretrain.store import lock


def test_a_held_lock_names_its_holder_and_is_free_afterwards(tmp_path):
    with lock.held(tmp_path):
        with pytest.raises(ConfigError) as caught, lock.held(tmp_path):
            raise AssertionError("held twice")
        assert f"process {os.getpid()} on {socket.gethostname()} since 2" in str(caught.value)
    with lock.held(tmp_path):
        assert json.loads((tmp_path / lock.NAME).read_text())["process"] == os.getpid()


def test_a_holder_says_what_it_does(tmp_path):
    with lock.held(tmp_path) as note:
        for work in ("finetune  pack 3/6, step 120 of 400", "pretrain/0", "x" * 9000):
            note(work)
            with pytest.raises(ConfigError) as caught, lock.held(tmp_path):
                raise AssertionError("held twice")
            assert f", at {work[:200]}; wait for it" in str(caught.value)


@pytest.mark.parametrize("content", ["", '{"process": 4194305, "host": "gone", "since": "yesterday"}', "no JSON"])
def test_what_a_dead_process_left_is_taken_over(content, tmp_path):
    (tmp_path / lock.NAME).write_text(content)
    with lock.held(tmp_path):
        assert json.loads((tmp_path / lock.NAME).read_text())["host"] == socket.gethostname()


def test_any_flipped_bit_of_a_lock_leaves_it_held_and_costs_a_name_at_most(tmp_path):
    file = tmp_path / lock.NAME
    with lock.held(tmp_path):
        whole = file.read_bytes()
        for place in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[place // 8] ^= 1 << place % 8
            file.write_bytes(flipped)
            with pytest.raises(ConfigError, match=r"run_dir: .* is in use by .*process"), lock.held(tmp_path):
                raise AssertionError("held twice")
    with lock.held(tmp_path):
        assert json.loads(file.read_text())["process"] == os.getpid()


@pytest.mark.parametrize("content", ['{"process": 1e999, "host": "", "since": ""}', "[" * 900, "[]", "\0"])
def test_a_held_lock_of_any_content_is_held(content, tmp_path):
    with lock.held(tmp_path):
        (tmp_path / lock.NAME).write_text(content)
        with pytest.raises(ConfigError, match="is in use by another process"), lock.held(tmp_path):
            raise AssertionError("held twice")


def test_a_holder_that_has_not_said_who_it_is_yet_is_another_process(tmp_path):
    with lock.held(tmp_path):
        (tmp_path / lock.NAME).write_text("{")
        with pytest.raises(ConfigError, match="is in use by another process"), lock.held(tmp_path):
            raise AssertionError("held twice")
