"""Sweeps on Ray: from end to end on this machine, with worker, node, driver and cable lost on the way.

Everything of Ray runs in processes of its own, as it does for people; none of it is imported here.
"""

import json
import os
import signal
import sys

import pytest
import torch
from ray_cases import (
    HELD_TRAINING,
    LONG,
    Shell,
    attempts,
    by_seed,
    family,
    free_port,
    kill,
    one_at_a_time,
    parent,
    start_two_nodes,
    sweep,
    two_namespaces,
    watcher,
)
from sweep_cases import STUB, wait_for, write_sweep

from sacreddnn.tracking.folder import folders, is_running, read_run
from sacreddnn.training.checkpoint import list_checkpoints

pytest.importorskip("ray", reason="Ray is not installed (pip install 'sacreddnn[sweep]')")
# the time spent waiting for another test's Ray to end is not counted
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600, func_only=True),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for what the processes have started"),
]


@pytest.fixture
def shell(tmp_path):
    with one_at_a_time():
        shell = Shell(tmp_path)
        try:
            yield shell
        finally:
            shell.end()


@pytest.fixture
def stub(tmp_path):
    path = tmp_path / "stub.py"
    path.write_text(STUB)
    return path


def held(root, seeds):
    """Wait until the runs of these seeds are at work; their folders by seed."""
    return wait_for(lambda: (found := by_seed(root)).keys() >= set(seeds) and found, LONG)


def points(folder):
    """What was measured, without when."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {(point["name"], point["step"]): (point["value"], point["gradient_evaluations"]) for point in lines}


def result(folder):
    values = json.loads((folder / "result.json").read_text())
    return {name: value for name, value in values.items() if "seconds" not in name}


def test_everything_killed_and_started_again_ends_bit_for_bit_as_if_nothing_had_happened(shell, tmp_path):
    root, go = tmp_path / "runs", tmp_path / "go"
    path = write_sweep(tmp_path, fixed={"training.epochs": 7, "checkpoint.every_epochs": 2, "training.num_threads": 1})
    first = shell.start(*sweep(path, "--cpus", 2, train=HELD_TRAINING))
    wait_for(lambda: _have_recorded(root, epoch=5), LONG, lambda: shell.said())
    assert first.poll() is None, shell.said()
    shell.kill_all()
    found = folders(root)
    assert [list_checkpoints(folder / "checkpoints")[0].stem for folder in found] == 2 * ["step-000000016"]  # epoch 4
    status = shell.run(*sweep(path, "--status"))
    assert (status.returncode, status.stdout.splitlines()[-1]) == (1, "2 interrupted"), status.stderr
    go.touch()
    assert shell.ended(shell.start(*sweep(path, "--cpus", 2, train=HELD_TRAINING))) == 0, shell.said()
    assert folders(root) == found
    for folder in found:
        run = read_run(folder)
        assert (run["status"], len(run["attempts"])) == ("COMPLETED", 2)
        logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        epochs = [point["step"] for point in logged if point["name"] == "train/minibatch/loss"]
        assert epochs == [1, 2, 3, 4, 5, 5, 6, 7]  # nothing was lost but the steps since the last checkpoint
    folder = found[0]
    config = root / "trials" / read_run(folder)["config_hash"] / "config.yaml"
    alone = shell.run(sys.executable, HELD_TRAINING, "with", config, f"tracking.root={tmp_path / 'undisturbed'}")
    assert alone.returncode == 0, alone.stderr
    (undisturbed,) = folders(tmp_path / "undisturbed")
    assert points(folder) == points(undisturbed)
    assert result(folder) == result(undisturbed)
    one, two = (torch.load(f / "artifacts/center.pt", weights_only=True) for f in (folder, undisturbed))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    again = shell.run(*sweep(path))
    assert (again.returncode, again.stdout) == (0, "2 runs: 2 done\n2 done\n")  # and Ray was not even started


def _have_recorded(root, epoch):
    found = by_seed(root)
    return len(found) == 2 and all(("train/minibatch/loss", epoch) in points(folder) for folder in found.values())


def test_failed_runs_are_listed_and_tried_again_as_asked_and_ctrl_c_saves(shell, stub, tmp_path):
    """Seed 1 fails; 2 and 22 work until they are let go."""
    path, root = write_sweep(tmp_path, seeds=[1, 2, 22]), tmp_path / "runs"
    first = shell.start(*sweep(path, "--cpus", 2, train=stub))
    found = held(root, [1, 2, 22])
    shell.wait_to_say(first, "failed: seed=1: OSError: no luck in try 1")
    status = shell.run(*sweep(path, "--status"))  # another shell
    assert (status.returncode, status.stdout.splitlines()[-1]) == (1, "2 running, 1 failed")
    assert "OSError: no luck in try 1" in status.stdout
    os.killpg(first.pid, signal.SIGINT)  # a terminal sends it to all it has started
    assert shell.ended(first) == 130, shell.said()
    assert "stopping: 2 runs save what they have" in shell.said()
    assert "stopped; the same command goes on" in shell.said()
    assert {seed for seed, folder in found.items() if (folder / "saved").exists()} == {2, 22}
    wait_for(lambda: not shell.alive(), LONG)
    (tmp_path / "go").touch()
    second = shell.start(*sweep(path, "--retries", 2, train=stub), log="second")
    assert shell.ended(second, "second") == 1
    said = shell.said("second")
    assert "failed before: seed=1: OSError: no luck in try 1" in said
    assert "failed: seed=1: OSError: no luck in try 2" in said
    assert "failed: seed=1: OSError: no luck in try 3" in said
    assert said.splitlines()[-1] == "2 done, 1 failed"
    assert by_seed(root) == found
    assert {seed: attempts(folder) for seed, folder in found.items()} == {1: 3, 2: 2, 22: 2}


def test_two_nodes_with_another_sweep_and_then_a_worker_a_node_and_the_driver_killed(shell, stub, tmp_path):
    path, root, port = write_sweep(tmp_path, seeds=[2, 22]), tmp_path / "runs", free_port()
    second = start_two_nodes(shell, ["127.0.0.1", "127.0.0.1"], port)
    on_cluster = ["--address", f"127.0.0.1:{port}"]
    driver = shell.start(*sweep(path, *on_cluster, train=stub))
    found = held(root, [2, 22])

    # a sweep that would write the same runs
    other = shell.start(*sweep(path, *on_cluster, "--patient", 1, train=stub), log="other")
    assert shell.ended(other, "other") == 1
    for seed in (2, 22):
        assert f"seed={seed}: left to sweep tiny (process {watcher(root, found[seed])} on " in shell.said("other")
    assert shell.said("other").splitlines()[-1] == "2 running"

    # a worker: its training saves, and goes on elsewhere or there
    (there,) = (seed for seed in found if watcher(root, found[seed]) in family(second.pid))
    (here,) = found.keys() - {there}
    kill([parent(watcher(root, found[here]))])
    shell.wait_to_say(driver, f"lost: seed={here}: ")
    wait_for(lambda: attempts(found[here]) == 2 and is_running(found[here]), LONG)
    assert (found[here] / "saved").exists()

    # a node: its run waits until there is room on the other
    kill(family(second.pid))
    shell.wait_to_say(driver, f"lost: seed={there}: ")
    assert driver.poll() is None

    # the driver: what it ran saves and stops
    (found[here] / "saved").unlink()
    driver.kill()
    wait_for(lambda: not is_running(found[here]), LONG)
    assert (found[here] / "saved").exists()
    status = shell.run(*sweep(path, "--status"))
    assert (status.returncode, status.stdout.splitlines()[-1]) == (1, "2 interrupted")

    # what is left of the cluster ends it
    too_much = shell.run(*sweep(write_sweep(tmp_path, name="much", trial={"cpus": 7}), *on_cluster))
    assert (too_much.returncode, len(too_much.stderr.splitlines())) == (2, 1), too_much.stderr
    assert "trial: cpus 7, gpus 0 is more than any node has (" in too_much.stderr
    (tmp_path / "go").touch()
    last = shell.start(*sweep(path, *on_cluster, train=stub), log="last")
    assert shell.ended(last, "last") == 0, shell.said("last")
    assert by_seed(root) == found
    assert {read_run(folder)["status"] for folder in found.values()} == {"COMPLETED"}
    assert attempts(found[there]) == 2
    assert attempts(found[here]) == 3


def test_a_cable_that_is_cut(shell, stub, tmp_path):
    """The lost half is noticed: with Ray's own settings it takes seven minutes, which is longer than is waited here."""
    path, root = write_sweep(tmp_path, seeds=[2, 22]), tmp_path / "runs"
    addresses = ["10.213.7.1", "10.213.7.2"]
    namespaces = two_namespaces()
    try:
        inside, cut = namespaces.__enter__()
    except OSError as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    try:
        start_two_nodes(shell, addresses, 6379, inside)
        driver = shell.start(*inside[0], *sweep(path, "--address", f"{addresses[0]}:6379", train=stub))
        found = held(root, [2, 22])
        cut()
        shell.wait_to_say(driver, "lost: seed=")
        lost = 22 if "lost: seed=22" in shell.said() else 2
        wait_for(lambda: (found[lost] / "saved").exists(), LONG)  # asked through the folder that both share
        (tmp_path / "go").touch()
        assert shell.ended(driver) == 0, shell.said()
        assert {read_run(folder)["status"] for folder in found.values()} == {"COMPLETED"}
        assert {seed: attempts(folder) for seed, folder in found.items()} == {lost: 2, 24 - lost: 1}
    finally:
        shell.kill_all()
        namespaces.__exit__(None, None, None)
