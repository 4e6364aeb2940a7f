"""Sweeps on Ray: from end to end on this machine, with worker, node, driver and cable lost on the way.

Everything of Ray runs in processes of its own, as it does for people; none of it is imported here.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from sweep_cases import REPOSITORY, wait_for, write_sweep

from sacreddnn.sweeps.engine import SETTINGS
from sacreddnn.tracking.folder import folders, is_running, read_json, read_run
from sacreddnn.training.checkpoint import list_checkpoints

pytest.importorskip("ray", reason="Ray is not installed (pip install 'sacreddnn[sweep]')")
pytestmark = pytest.mark.slow

# some seconds of training, saved now and then, hardly ever evaluated
LONG = {
    "training.epochs": 1500, "checkpoint.every_epochs": 100, "evaluation.every": 1500, "evaluation.num_train": 64,
    "training.num_threads": 1,
}  # fmt: skip
ENVIRONMENT = os.environ | SETTINGS | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def start(tmp_path):
    """Starts a process; at the end of the test it is gone, and so is everything it started."""
    started = []

    def start(*command, log="log"):
        with (tmp_path / log).open("ab") as file:
            process = subprocess.Popen(
                [str(word) for word in command], cwd=REPOSITORY, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        kill_family(process)


def family(pid):
    """The process and all below it, parents first."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def kill_family(process):
    for pid in family(process.pid) if process.poll() is None else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(60)


def sweep(path, *words):
    return [sys.executable, "scripts/sweep.py", path, *words]


def text(tmp_path, log="log"):
    return (tmp_path / log).read_text()


def saved(folder):
    """Step of the newest checkpoint, 0 before there is one."""
    return max((int(path.stem.removeprefix("step-")) for path in list_checkpoints(folder / "checkpoints")), default=0)


def both_have_saved(root):
    found = folders(root)
    return len(found) == 2 and all(saved(folder) for folder in found) and found


def first_epoch_after_resume(folder):
    """The first epoch that the last attempt recorded."""
    begun = datetime.fromisoformat(read_run(folder)["attempts"][-1]["start_time"]).timestamp()
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return min(point["step"] for point in points if point["time"] >= begun - 0.001)


def test_from_end_to_end_with_the_driver_killed_on_the_way(start, tmp_path):
    path, root = write_sweep(tmp_path, fixed=LONG), tmp_path / "runs"
    driver = start(*sweep(path, "--cpus", 2))
    found = wait_for(lambda: both_have_saved(root))
    assert driver.poll() is None, text(tmp_path)
    driver.kill()
    wait_for(lambda: not any(is_running(folder) for folder in found))
    steps = {folder: saved(folder) for folder in found}
    shown = subprocess.run(sweep(path, "--status"), cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True)
    assert shown.returncode == 1
    assert "2 interrupted" in shown.stdout
    assert start(*sweep(path, "--cpus", 2)).wait(120) == 0, text(tmp_path)
    assert folders(root) == found
    for folder in found:
        run = read_run(folder)
        assert (run["status"], len(run["attempts"])) == ("COMPLETED", 2)
        assert first_epoch_after_resume(folder) == steps[folder] * 1500 // run["info"]["num_steps"] + 1
        assert json.loads((folder / "result.json").read_text())["gradient_evaluations"] == 6000
    again = subprocess.run(sweep(path), cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (again.returncode, again.stdout) == (0, "2 runs: 2 done\n2 done\n")  # and Ray was not even started


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def node(*words, inside=(), cpus=1):
    """The command of a node that ends when its process does."""
    ray = shutil.which("ray", path=str(Path(sys.executable).parent))
    return [*inside, ray, "start", "--block", "--num-cpus", cpus, "--num-gpus", 0, "--object-store-memory", 80 * 2**20,
            "--disable-usage-stats", *words]  # fmt: skip


def head(address, port, **options):
    words = ["--head", "--port", port, "--node-ip-address", address, "--include-dashboard", "false"]
    return node(*words, **options)


def wait_for_port(address, port, process):
    def answers():
        assert process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex((address, port)) == 0

    wait_for(answers)


def test_two_nodes_with_a_worker_and_then_a_node_killed(start, tmp_path):
    path, root, port = write_sweep(tmp_path, fixed=LONG), tmp_path / "runs", free_port()
    wait_for_port("127.0.0.1", port, start(*head("127.0.0.1", port), log="head"))
    second = start(*node("--address", f"127.0.0.1:{port}", "--node-ip-address", "127.0.0.1"), log="node")
    driver = start(*sweep(path, "--address", f"127.0.0.1:{port}"))
    found = wait_for(lambda: both_have_saved(root))
    watchers = {folder: watcher(root, folder) for folder in found}
    here = set(family(second.pid))
    (lost,) = [folder for folder in found if watchers[folder] in here]
    (other,) = [folder for folder in found if folder != lost]
    os.kill(parent(watchers[other]), signal.SIGKILL)
    kill_family(second)
    assert driver.wait(120) == 0, text(tmp_path)
    assert text(tmp_path).count("lost: ") == 2
    for folder in found:
        run = read_run(folder)
        assert (run["status"], len(run["attempts"])) == ("COMPLETED", 2)
        assert first_epoch_after_resume(folder) > 100  # the first checkpoint
    too_much = write_sweep(tmp_path, name="much", trial={"cpus": 7})
    refused = subprocess.run(sweep(too_much, "--address", f"127.0.0.1:{port}"), cwd=REPOSITORY, env=ENVIRONMENT,
                             capture_output=True, text=True, timeout=120)  # fmt: skip
    assert refused.returncode == 2
    assert "trial: cpus 7, gpus 0 is more than any node has" in refused.stderr


def watcher(root, folder):
    """The process that watches the training of a run."""
    return read_json(root / "trials" / read_run(folder)["config_hash"] / "owner.json")["pid"]


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def namespaces():
    """Two network namespaces and a cable between them."""
    names = [f"sweep{os.getpid()}{side}" for side in "ab"]

    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and the command ip (iproute2)")
    try:
        for name in names:
            ip("netns", "add", name)
        ends = [f"swp{os.getpid() % 100000}{side}" for side in "ab"]
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for i, (name, end) in enumerate(zip(names, ends, strict=True)):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"10.213.7.{i + 1}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
    yield [["ip", "netns", "exec", name] for name in names], lambda: ip("-n", names[0], "link", "set", ends[0], "down")
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_a_cable_that_is_cut(start, tmp_path, namespaces):
    (a, b), cut = namespaces
    path, root, address = write_sweep(tmp_path, fixed=LONG | {"training.epochs": 6000}), tmp_path / "runs", "10.213.7.1"
    start(*head(address, 6379, inside=a), log="head")
    start(*node("--address", f"{address}:6379", "--node-ip-address", "10.213.7.2", inside=b), log="node")
    wait_for(lambda: "Ray runtime started" in text(tmp_path, "node"))
    driver = start(*a, *sweep(path, "--address", f"{address}:6379"))
    found = wait_for(lambda: both_have_saved(root))
    cut()
    at = time.monotonic()
    assert driver.wait(150) == 0, text(tmp_path)
    print(f"done {time.monotonic() - at:.0f} s after the cut")
    assert text(tmp_path).count("lost: ") == 1
    assert sorted(len(read_run(folder)["attempts"]) for folder in found) == [1, 2]
    assert {read_run(folder)["status"] for folder in found} == {"COMPLETED"}
