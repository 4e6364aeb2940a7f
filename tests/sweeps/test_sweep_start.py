"""The start of a sweep: its runs are checked while the engine starts. Without Ray and torch, whose part is made up."""

import argparse
import os
import signal
import sys
import threading
from types import ModuleType, SimpleNamespace

import pytest

from sacreddnn.schema import ConfigError
from sacreddnn.sweeps import command, engine
from sacreddnn.sweeps.sweep_file import Sweep


@pytest.fixture
def start(monkeypatch):
    """Starts with a check and an engine that do what they are told; the engines that were closed."""
    closed = []

    def start(check, make):
        class Engine:
            def __init__(self, *arguments):
                make()

            def close(self):
                closed.append(self)

        monkeypatch.setattr(engine, "RayEngine", Engine)
        monkeypatch.setattr(command, "_costs", lambda runs, sweep: check())
        return command._start(argparse.Namespace(address=None, cpus=1), Sweep.model_construct(trial=None), [])

    return start, closed


def refuse(error):
    def raises():
        raise error

    return raises


def test_both_at_once(start):
    start, closed = start
    begun = threading.Event()
    _, costs = start(lambda: begun.set() or {"a": 1}, lambda: begun.wait(60) or pytest.fail("one after the other"))
    assert costs == {"a": 1}
    assert not closed


def test_a_fault_of_the_sweep_ends_the_engine(start):
    start, closed = start
    with pytest.raises(ConfigError, match="no such key"):
        start(refuse(ConfigError("no such key")), lambda: None)
    assert len(closed) == 1


@pytest.mark.parametrize("error", [ConfigError("ray: does not start here"), OSError("broken")])
def test_a_fault_of_the_sweep_comes_before_one_of_the_engine(start, error):
    start, closed = start
    with pytest.raises(ConfigError, match="no such key"):
        start(refuse(ConfigError("no such key")), refuse(error))
    with pytest.raises(type(error), match=str(error)):
        start(dict, refuse(error))
    assert not closed


def test_ctrl_c_while_the_engine_starts_waits_for_no_check(start):
    start, _ = start
    over, ended = threading.Event(), threading.Event()
    with pytest.raises(KeyboardInterrupt):
        start(lambda: over.wait(60) or ended.set(), refuse(KeyboardInterrupt()))
    assert not ended.is_set()
    over.set()


def test_nothing_is_started_for_nothing(monkeypatch, capsys, tmp_path):
    sweep = tmp_path / "small.yaml"
    sweep.write_text(f"base: [synthetic, mlp, on_disk]\nfixed: {{tracking.root: {tmp_path}/runs}}\nseeds: 1\n")
    for name in ("_start", "_costs"):
        monkeypatch.setattr(command, name, lambda *arguments: pytest.fail("something was started or checked"))
    done = command.State(command.DONE)
    monkeypatch.setattr(command.Records, "states", lambda self, hashes: dict.fromkeys(hashes, done))
    assert command.main([str(sweep)]) == command.ALL_DONE
    assert "1 runs: 1 done" in capsys.readouterr().out


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(f"base: [synthetic, mlp, on_disk]\nfixed: {{tracking.root: {tmp_path}/runs}}\nseeds: 1\n")
    return str(path)


@pytest.fixture
def ray(monkeypatch):
    """A Ray that takes SIGTERM for itself when it starts, as the real one does; `during` it a function is called."""
    taken = SimpleNamespace(during=lambda: None, after=lambda: None, shutdowns=0)

    def init(**options):
        signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(signum))
        taken.during()

    def shutdown():
        taken.shutdowns += 1

    def nodes():
        taken.after()
        return [{"Alive": True, "Resources": {"CPU": 1}}]

    module = ModuleType("ray")
    vars(module).update(init=init, shutdown=shutdown, nodes=nodes, remote=lambda **options: lambda function: function)
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setattr(command, "_costs", lambda runs, sweep: {})
    before = signal.getsignal(signal.SIGTERM)
    yield taken
    assert signal.getsignal(signal.SIGTERM) == before
    signal.signal(signal.SIGTERM, before)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("moment", ["during", "after"])
def test_sigterm_while_ray_starts_is_as_good_as_ctrl_c(ray, sweep, capsys, moment):
    setattr(ray, moment, terminate)
    assert command.main([sweep]) == command.STOPPED
    assert "sweep: stopped at once; runs go on" in capsys.readouterr().err


def test_sigterm_before_ray_starts_too(ray, sweep, capsys, monkeypatch):
    monkeypatch.setattr(engine, "authentication", lambda: terminate() or {})
    assert command.main([sweep]) == command.STOPPED
    assert "sweep: stopped at once; runs go on" in capsys.readouterr().err


def test_sigterm_once_ray_has_started_ends_it(ray, sweep, capsys, monkeypatch):
    monkeypatch.setattr(command, "_check_database", lambda tracking, num_nodes: terminate())
    assert command.main([sweep]) == command.STOPPED
    assert ray.shutdowns == 1
    assert "sweep: stopped at once; runs go on" in capsys.readouterr().err
