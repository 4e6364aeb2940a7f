import os
import pickle

import pytest
import torch

from sacreddnn.training import checkpoint


def test_newest_is_read_and_only_so_many_are_kept(tmp_path):
    for step in (5, 30, 100):
        checkpoint.save(tmp_path, {"w": torch.full((3,), float(step))}, step, keep=2)
    assert [p.name for p in checkpoint.list_checkpoints(tmp_path)] == ["step-000000100.pt", "step-000000030.pt"]
    assert checkpoint.load_last(tmp_path)["w"].tolist() == [100, 100, 100]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000030.pt", "step-000000100.pt"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_file_falls_back_to_the_last_good_one(tmp_path, damage, caplog):
    checkpoint.save(tmp_path, {"w": torch.arange(5000.0)}, 1)
    path = checkpoint.save(tmp_path, {"w": torch.arange(5000.0) + 1}, 2)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    elif damage == "empty":
        content = b""
    else:
        content = pickle.dumps({"format": 1})
    path.write_bytes(content)
    assert checkpoint.load_last(tmp_path)["step"] == 1
    assert "step-000000002.pt: not a readable checkpoint" in caplog.text


def test_no_checkpoint_and_no_readable_checkpoint(tmp_path):
    assert checkpoint.load_last(tmp_path / "none") is None
    checkpoint.save(tmp_path, {}, 1).write_bytes(b"x")
    with pytest.raises(ValueError, match="none of its 1 checkpoints can be read"):
        checkpoint.load_last(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000001.pt"]  # not set aside: the folder is not empty


@pytest.mark.parametrize("keep", [1, 2])
def test_after_a_bad_checkpoint_the_good_ones_are_kept(tmp_path, keep):
    for step in (50, 100, 150):
        path = checkpoint.save(tmp_path, {}, step, keep=3)
        if step > 50:
            path.write_bytes(b"x")
    assert checkpoint.load_last(tmp_path)["step"] == 50
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-000000050.pt", "step-000000100.pt.bad", "step-000000150.pt.bad",
    ]  # fmt: skip
    checkpoint.save(tmp_path, {}, 60, keep=keep)
    assert [p.stem for p in checkpoint.list_checkpoints(tmp_path)] == ["step-000000060", "step-000000050"][:keep]
    assert checkpoint.load_last(tmp_path)["step"] == 60


def test_a_later_file_never_costs_the_one_just_written_nor_its_past(tmp_path):
    checkpoint.save(tmp_path, {}, 100).write_bytes(b"x")
    for step in (40, 50, 60):
        assert checkpoint.save(tmp_path, {}, step, keep=2).exists()
    assert [p.stem[-3:] for p in checkpoint.list_checkpoints(tmp_path)] == ["100", "060", "050"]


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"format": 1, "x": Evil()}, tmp_path / "step-000000001.pt")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "step-000000001.pt")
    assert not (tmp_path / "ran").exists()


def test_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, {"w": torch.zeros(1)}, 1)

    def full(*args):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(tmp_path, {"w": torch.zeros(1)}, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000001.pt"]
