"""TensorBoard's event files are read back with TensorBoard's own reader."""

import pytest

from sacreddnn.tracking.event_files import EventFiles
from sacreddnn.tracking.recorder import Recorder
from sacreddnn.tracking.spool import Spool

pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")


def read(folder):
    """Points by name, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_a_run_leaves_what_it_logged_and_goes_on(tmp_path):
    one = Recorder(tmp_path, beat_seconds=0.01)
    one.tensorboard = True
    one.start({"seed": 1})
    for step in range(50):
        one.log("test/center/error", 50 - step, step)
    one.log("train/center/loss", 0.5, 3)
    one.finish("INTERRUPTED")
    assert read(tmp_path / "1") == {
        "test/center/error": [(step, 50.0 - step) for step in range(50)],
        "train/center/loss": [(3, 0.5)],
    }
    two = Recorder(tmp_path, resume=1)
    two.tensorboard = True
    two.start({"seed": 1})
    two.log("train/center/loss", 0.25, 4)
    two.finish()
    after = read(tmp_path / "1")
    assert after["train/center/loss"] == [(3, 0.5), (4, 0.25)]
    assert len(after["test/center/error"]) == 50


def test_a_step_logged_again_is_shown_with_its_last_value(tmp_path):
    spool = Spool.create(tmp_path, {})
    events = EventFiles(spool.folder)
    spool.log("a", 1.0, 1)
    spool.log("a", 2.0, 2)
    events.refresh()
    spool.log("a", 3.0, 1)
    events.close()
    spool.close()
    shown = dict(read(spool.folder)["a"])
    assert shown == {1: 3.0, 2: 2.0}


def test_without_it_there_are_none(tmp_path):
    one = Recorder(tmp_path)
    one.start({})
    one.log("a", 1.0, 1)
    one.finish()
    assert not (tmp_path / "1" / "tensorboard").exists()
