"""Runs in several processes over gloo: the numbers of one process, one record, and ends that can be gone on from."""

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from types import SimpleNamespace

import pytest
import ranks
import torch

from sacreddnn import experiment
from sacreddnn.build import build
from sacreddnn.config import check
from sacreddnn.run import record_epoch
from sacreddnn.training import distributed

SMALL = [
    "digits", "mlp", "rsgd", "model.hidden=[32]", "model.dropout=0.2", "training.precision=float32",
    "training.batch_size=32", "training.num_threads=1", "training.device=cpu", "evaluation.flatness.num_samples=0",
    "tracking.database=False",
]  # fmt: skip
LONG = ["training.epochs=12", "evaluation.every=6", "evaluation.replicas=True", "checkpoint.every_steps=20"]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_processes_do_what_one_does(size):
    checks = "tests/training/distributed_checks.py"
    for status, _, err in ranks.finish([ranks.torchrun(2, checks)] if size == 2 else ranks.start(size, checks)):
        assert status == 0, err


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run in one process."""
    root = tmp_path_factory.mktemp("alone")
    assert experiment.main(["train.py", "with", *SMALL, *LONG, f"tracking.root={root}"]) == 0
    return root / "1"


def assert_same_run(folder, alone):
    a, b = (torch.load(f / "artifacts/center.pt", weights_only=True) for f in (folder, alone))
    assert all(torch.equal(a[key], b[key]) for key in b)
    metrics, expected = (
        {(p["name"], p["step"]): (p["value"], p["gradient_evaluations"])
         for p in map(json.loads, (f / "metrics.jsonl").read_text().splitlines())}
        for f in (folder, alone)
    )  # fmt: skip
    assert metrics == expected
    assert ("test/ensemble/error", 12) in metrics
    assert [f.name for f in folder.parent.iterdir() if f.name.isdecimal()] == ["1"]  # one run, not one a process
    assert json.loads((folder / "run.json").read_text())["status"] == "COMPLETED"


def start(size, root, *words, **more):
    return ranks.start(size, "scripts/train.py", "with", *words, f"tracking.root={root}", **more)


def wait_for_checkpoint(root, processes, after=0, seconds=60):
    """Wait until there is a checkpoint of a later step than `after`; returns its step."""
    deadline = time.monotonic() + seconds
    while True:
        steps = [int(f.stem.removeprefix("step-")) for f in (root / "1/checkpoints").glob("step-*.pt")]
        if steps and max(steps) > after:
            return max(steps)
        assert all(p.poll() is None for p in processes), ranks.finish(processes)
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_run_survives_a_killed_rank_and_a_signal_on_three_two_and_one_processes(tmp_path, alone):
    three = start(3, tmp_path, *SMALL, *LONG)
    reached = wait_for_checkpoint(tmp_path, three)
    three[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    ends = ranks.finish(three)
    assert time.monotonic() - killed < 60
    assert [status for status, _, _ in ends] == [1, -signal.SIGKILL, 1]
    assert "ProcessLost: another process of this run has ended or does not answer" in ends[0][2]
    assert f"with resume={tmp_path}/1" in ends[0][2].strip().splitlines()[-1]
    assert "rank 2: ProcessLost" in ends[2][2]
    assert ends[2][1] == ""
    assert json.loads((tmp_path / "1/run.json").read_text())["status"] == "FAILED"

    two = [ranks.torchrun(2, "scripts/train.py", "with", "resume=1", f"tracking.root={tmp_path}")]
    wait_for_checkpoint(tmp_path, two, after=reached)
    two[0].send_signal(signal.SIGTERM)
    ((status, _, err),) = ranks.finish(two)
    assert status != 0
    assert f"stopped by SIGTERM; go on with: scripts/train.py with resume={tmp_path}/1" in err
    assert json.loads((tmp_path / "1/run.json").read_text())["status"] == "INTERRUPTED"

    assert experiment.main(["train.py", "with", "resume=1", f"tracking.root={tmp_path}"]) == 0
    assert_same_run(tmp_path / "1", alone)


@pytest.mark.parametrize("rank", [0, 1])
def test_all_wait_for_the_first_which_alone_measures_the_local_energy_on_the_way(monkeypatch, rank):
    calls = []

    def during_training(network, clean, config):
        calls.append("measure")
        return {}

    words = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "training": {"epochs": 1, "batch_size": 500}}
    session = build(check(words | {"evaluation": {"flatness": {"every": 1}}}))
    monkeypatch.setattr("sacreddnn.energy_profile.during_training", during_training)
    monkeypatch.setattr(session.training.group, "wait", lambda: calls.append("wait"), raising=False)
    session.training.step = session.training.num_steps
    record_epoch(session, SimpleNamespace(log=lambda *values: None) if rank == 0 else None)
    assert calls == (["measure", "wait"] if rank == 0 else ["wait"])


def test_a_config_that_cannot_be_shared_is_one_line_and_no_run(tmp_path):
    ends = ranks.finish(start(2, tmp_path, *SMALL, "algorithm.replicas=1", "algorithm.coupling=0.1"))
    assert [status for status, _, _ in ends] == [2, 0]
    assert [err.strip() for _, _, err in ends] == [
        "algorithm.replicas: 1 has nothing to couple to; use 2 or more, or algorithm.coupling=0",
        "",
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("num_replicas", "size"), [(3, 4), (2, 3), (4, 6)])
def test_a_world_that_does_not_fit_names_its_key(num_replicas, size):
    with pytest.raises(ValueError, match=f"algorithm.replicas: {num_replicas} cannot be shared by {size} processes"):
        distributed.place(num_replicas, 0, size)


def test_every_replica_and_part_has_exactly_one_place():
    for y in range(1, 9):
        for size in [*range(1, y + 1), 2 * y, 3 * y]:
            places = [distributed.place(y, rank, size) for rank in range(size)]
            held = [(a, shard) for replicas, shard in places for a in replicas]
            parts = max(size // y, 1)
            assert held == [(a, (part, parts)) for a in range(y) for part in range(parts)]
            counts = [len(replicas) for replicas, _ in places]
            assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"RANK": "0"}, "MASTER_ADDR: not set, but WORLD_SIZE=2; start with torchrun"),
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "RANK: not set"),
        ({"RANK": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK: 2 is not below WORLD_SIZE=2"),
        ({"RANK": "one", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK: 'one' is not a number"),
    ],
)
def test_an_environment_that_cannot_be_right_names_its_variable(monkeypatch, variables, line):
    for name in ranks.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=line):
        distributed.start()


def test_a_missing_backend_is_named(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    with pytest.raises(ValueError, match="WORLD_SIZE: 2 processes need gloo, which this PyTorch was built without"):
        distributed.start()


def test_each_process_takes_the_cuda_device_of_its_rank(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert distributed.local_device("auto") == "cuda:1"
    assert taken == [1]
    assert distributed.local_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="training.device: 'auto' for 4 processes of a host with 2 CUDA devices"):
        distributed.local_device("auto")
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    with pytest.raises(ValueError, match="training.device: 'auto' needs NCCL"):
        distributed.local_device("auto")


@pytest.fixture
def two_hosts():
    """Two network namespaces joined by a pair of virtual interfaces: commands that run in each, and its interface."""
    if shutil.which("ip") is None:
        pytest.skip("two hosts: there is no `ip` command (iproute2)")
    tag = uuid.uuid4().hex[:6]
    hosts, interfaces = [f"host-{tag}-{i}" for i in (0, 1)], [f"v{tag}{i}" for i in (0, 1)]
    try:
        for host in hosts:
            made = subprocess.run(["ip", "netns", "add", host], capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"two hosts: no privilege for network namespaces ({made.stderr.strip()})")
        joined = ["ip", "link", "add", interfaces[0], "type", "veth", "peer", "name", interfaces[1]]
        made = subprocess.run(joined, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"two hosts: no virtual interfaces here ({made.stderr.strip()})")
        for i, (host, interface) in enumerate(zip(hosts, interfaces, strict=True)):
            inside = ["ip", "netns", "exec", host, "ip"]
            for words in (
                ["ip", "link", "set", interface, "netns", host],
                [*inside, "addr", "add", f"10.77.0.{i + 1}/24", "dev", interface],
                [*inside, "link", "set", interface, "up"],
                [*inside, "link", "set", "lo", "up"],
            ):
                subprocess.run(words, check=True, capture_output=True)
        yield [["ip", "netns", "exec", host, "env", f"GLOO_SOCKET_IFNAME={interface}"]
               for host, interface in zip(hosts, interfaces, strict=True)]  # fmt: skip
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


@pytest.mark.skipif(os.name != "posix", reason="two hosts: needs Linux")
def test_two_hosts(tmp_path, alone, two_hosts):
    processes = start(2, tmp_path, *SMALL, *LONG, prefixes=two_hosts, address="10.77.0.1")
    for status, _, err in ranks.finish(processes):
        assert status == 0, err
    assert_same_run(tmp_path / "1", alone)
