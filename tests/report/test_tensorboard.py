"""Event files hold what the tables hold."""

import os
import shutil
import struct

import pyarrow as pa
import pytest

import pretrain
from pretrain.config.fields import ConfigError
from pretrain.report import tensorboard
from pretrain.runs import run_files
from tests.launching import contents, copied, n_run

pytest.importorskip("tensorboardX", reason="an extra")


def read_events(directory):
    """The scalars of a directory's event file by tag and step, and the tags of its other summaries."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = directory.iterdir()
    content, scalars, others = file.read_bytes(), {}, set()
    while content:
        (length,) = struct.unpack("<Q", content[:8])  # TFRecord: length, its CRC, the record, its CRC
        event = Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            if value.HasField("simple_value"):
                scalars[value.tag, event.step] = value.simple_value
            else:
                others.add(value.tag)
    return scalars, others


@pytest.fixture(scope="module")
def events(run, tmp_path_factory):
    loaded, directory = pretrain.load_run(run), tmp_path_factory.mktemp("events")
    tensorboard.write(loaded.trials, loaded.curves, loaded.stages, directory)
    return loaded, directory


def test_every_stage_has_its_curves_once(events):
    loaded, directory = events
    stages = loaded.stages.to_pylist()
    phases = {
        f"{row['stage'].replace('/', '-')}-{row['stage_id'][:16]}" for row in stages if row["stage"] != "finetune"
    }
    trials = set(loaded.trials["trial_id"].to_pylist())
    assert {path.name for path in directory.iterdir()} == phases | trials
    found = {path.name: read_events(path)[0] for path in directory.iterdir()}
    names = {(row["trial_id"], row["stage"]): row for row in stages}
    for row in loaded.curves.to_pylist():
        stage = names[row["trial_id"], row["stage"]]
        phase = f"{row['stage'].replace('/', '-')}-{stage['stage_id'][:16]}"
        scalars = found[row["trial_id"] if row["stage"] == "finetune" else phase]
        assert scalars[f"{row['stage']}/{row['metric']}", row["step"]] == pytest.approx(row["value"], rel=1e-6)
    assert {tag.rpartition("/")[0] for tag, _ in found[min(phases)]} == {"pretrain/0"}


def test_a_trial_has_its_fields_and_results_as_hyperparameters(events):
    loaded, directory = events
    for row in loaded.trials.to_pylist():
        _, others = read_events(directory / row["trial_id"])
        assert {tag for tag in others if tag.startswith("_hparams_/")} == {
            f"_hparams_/{part}" for part in ("experiment", "session_start_info", "session_end_info")
        }


def test_writing_again_leaves_one_file_each(events):
    loaded, directory = events
    tensorboard.write(loaded.trials, loaded.curves, loaded.stages, directory)
    assert all(len(list(path.iterdir())) == 1 for path in directory.iterdir())


def test_no_id_leaves_the_directory(run, tmp_path):
    loaded = pretrain.load_run(run)
    hostile = [{**row, "trial_id": "../" * 8 + "outside"} for row in loaded.trials.to_pylist()[:1]]
    same = {"trial_id": hostile[0]["trial_id"], "stage": "finetune"}
    curves = pa.Table.from_pylist([{**same, "step": 1, "metric": "loss", "value": 1.0}])
    with pytest.raises(ConfigError, match="is no id that this program writes"):
        tensorboard.write(
            pa.Table.from_pylist(hostile),
            curves,
            pa.Table.from_pylist([{**same, "stage_id": "0"}]),
            tmp_path / "events",
        )
    assert list(tmp_path.iterdir()) == []


def test_the_launcher_writes_them_when_asked(site, run):
    options = copied(site, "tensorboard")
    done = site.launch(*options, "--tensorboard")
    assert (done.returncode, n_run(done), done.stderr) == (0, 0, "")
    directory = site.path / "tensorboard-run" / "tensorboard"
    assert len(list(directory.glob("*/events.out.tfevents.*"))) == len(list(directory.iterdir())) == 12
    kept = contents(directory)
    (directory.parent / "report.html").unlink()
    again = site.launch(*options)  # which draws again without being asked for event files
    assert again.stderr == f"{directory.parent / 'report.html'}: missing; it is made again\n"
    assert contents(directory) == kept and run_files.opened(directory.parent).faults() == []
    victim = next(directory.glob("*/events.out.tfevents.*"))
    os.truncate(victim, 10)
    again = site.launch(*options)
    assert again.stderr == f"{victim}: fails its checksum; it is made again\n"
    assert {path.name for path in directory.iterdir()} == {name for name in kept if "/" not in name}
    assert run_files.opened(directory.parent).faults() == []
    assert site.launch(*options, "--finetune.l2", "0.25").returncode == 0 and not directory.exists()
    assert site.launch(*options, "--tensorboard").returncode == 0
    shutil.rmtree(directory)
