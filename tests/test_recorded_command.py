"""A command of four lines gets the whole front door: named configs, checks, a record, resumption, exit codes."""

import json
import os
import shlex
import signal

import pytest

from sacreddnn import command, command_line
from sacreddnn.command import Command
from sacreddnn.run_config import RunConfig
from sacreddnn.schema import ConfigError, Count
from sacreddnn.tracking.folder import read_config
from sacreddnn.training.interrupt import StopRequest


class CountingConfig(RunConfig):
    """Counts to `to`."""

    to: Count = 3
    fail: str = ""


def count(config, recorder):
    kept = recorder.folder / "counted.txt"
    reached = int(kept.read_text()) if kept.exists() else 0
    with StopRequest():
        for i in range(reached, config.to):
            recorder.log("count", i, step=i)
            kept.write_text(str(i + 1))
            if config.fail == "signal" and not reached:
                os.kill(os.getpid(), signal.SIGTERM)
            if config.fail == "value":
                raise ValueError(f"fail: {config.fail!r} was asked for")
    return {"counted": config.to, "began_at": reached}


def refuse_thirteen(config):
    if config.to == 13:
        raise ConfigError("to: 13 is not allowed, it must not be 13")


def draw(folder):
    figure = folder / "figure.txt"
    figure.write_text("a picture")
    return [figure]


COUNTING = Command(
    "counting", CountingConfig, (), count, lambda config, result: f"counted to {result['counted']} of {config.to}",
    preflight=refuse_thirteen, draw=draw,
)  # fmt: skip


@pytest.fixture
def call(tmp_path):
    def call(*words):
        return command.run(
            COUNTING, ["count.py", "with", "tracking.database=false", f"tracking.root={tmp_path}", *words]
        )

    call.root = tmp_path
    return call


def test_it_runs_and_is_recorded(call, capsys):
    assert call("to=5", "seed=7") == command.COMPLETED
    assert "run 1: counted to 5 of 5" in capsys.readouterr().out
    run = json.loads((call.root / "1/run.json").read_text())
    assert (run["status"], run["experiment"]["name"]) == ("COMPLETED", "counting")
    assert "figure.txt" in [a["name"] for a in run["artifacts"]]
    assert json.loads((call.root / "1/result.json").read_text()) == {"counted": 5, "began_at": 0}
    assert len((call.root / "1/metrics.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["too=4"], "too: unknown key, did you mean to?"),
        (["to=0"], "to: 0 is not allowed"),
        (["to=13"], "to: 13 is not allowed, it must not be 13"),
        (["lenet"], "with lenet: no such config"),  # configs of training are not configs of this command
    ],
)
def test_a_bad_config_is_one_line_and_no_run(call, capsys, words, line):
    assert call(*words) == command.BAD_CONFIG
    assert capsys.readouterr().err.startswith(line)
    assert not list(call.root.iterdir())


@pytest.mark.parametrize("text", ["to: 5\nto: 4\n", "tracking: {tags: [2026-13-01]}\n"])
def test_a_file_after_with_is_read_as_strictly(call, capsys, tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    assert call(str(tmp_path / "mine.yaml")) == command.BAD_CONFIG
    assert capsys.readouterr().err.startswith(f"{tmp_path}/mine.yaml: not valid YAML at line")


def test_a_failure_is_one_line_and_in_the_record(call, capsys):
    assert call("fail=value") == command.FAILED
    assert "ValueError: fail: 'value' was asked for" in capsys.readouterr().err
    assert json.loads((call.root / "1/run.json").read_text())["status"] == "FAILED"


def test_it_is_interrupted_and_goes_on(call, capsys):
    assert call("fail=signal") == 128 + signal.SIGTERM
    assert f"stopped by SIGTERM; go on with: count.py with resume={call.root}/1\n" in capsys.readouterr().err
    assert call("resume=1", "to=4") == command.BAD_CONFIG
    assert "to: 4 differs from 3, with which run 1 was started" in capsys.readouterr().err
    assert call("resume=1") == command.COMPLETED
    assert json.loads((call.root / "1/result.json").read_text()) == {"counted": 3, "began_at": 1}


@pytest.mark.parametrize("root", ["results/runs", "there", "my runs", "."])
def test_what_is_printed_goes_on_with_this_run_and_no_other(tmp_path, monkeypatch, capsys, root):
    monkeypatch.chdir(tmp_path)
    words = ["count.py", "with", "tracking.database=false"]
    assert command.run(COUNTING, words) == command.COMPLETED  # another run 1, at the default place
    root = [] if root == "results/runs" else [f"tracking.root={root}"]
    assert command.run(COUNTING, [*words, *root, "fail=signal"]) == 128 + signal.SIGTERM
    said = capsys.readouterr().err.partition("go on with: ")[2]
    assert command.run(COUNTING, shlex.split(said)) == command.COMPLETED
    assert "counted to 3 of 3" in capsys.readouterr().out
    number = shlex.split(said)[-1] == "resume=2"
    assert number == (not root)  # short where it can be


def test_runs_below_the_home_are_recorded_there_and_resumed(tmp_path, monkeypatch):
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    words = ["count.py", "with", "tracking.database=false"]
    for resume in ("resume=1", "resume=~/runs/2"):
        assert command.run(COUNTING, [*words, "tracking.root=~/runs", "fail=signal"]) == 128 + signal.SIGTERM
        root = ["tracking.root=~/runs"] if resume == "resume=1" else []
        assert command.run(COUNTING, [*words, *root, resume]) == command.COMPLETED
    assert sorted(run.name for run in (home / "runs").iterdir() if run.name.isdecimal()) == ["1", "2"]
    assert read_config(home / "runs/1")["tracking"]["root"] == f"{home}/runs"
    assert not list(work.iterdir())


def test_names_of_two_files_must_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "CONFIGS", tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.yaml").touch()
    assert list(command_line.named_configs(["a"])) == ["same"]
    with pytest.raises(ConfigError, match=r"same.yaml: has the same name as"):
        command_line.named_configs(["a", "b"])
