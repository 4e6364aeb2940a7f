"""The command line, on the digits that scikit-learn brings: what is run, what is refused, what survives."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from sacreddnn import experiment
from sacreddnn.config import check
from sacreddnn.run_config import config_hash

REPOSITORY = Path(__file__).parent.parent
SMALL = [
    "digits", "mlp", "training.precision=float32", "training.epochs=3", "training.batch_size=32",
    "training.num_threads=1", "training.device=cpu", "evaluation.flatness.num_samples=2", "tracking.database=False",
]  # fmt: skip


def run(tmp_path, *words, small=SMALL):
    return experiment.main(["train.py", "with", *small, f"tracking.root={tmp_path}", *words])


def center(folder):
    return torch.load(folder / "artifacts" / "center.pt", weights_only=True)


def equal(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("algorithm", sorted(p.stem for p in (REPOSITORY / "configs/algorithm").glob("*.yaml")))
def test_a_run_is_recorded_as_it_was_run(tmp_path, algorithm, capsys):
    assert run(tmp_path, algorithm, "seed=3") == 0
    folder = tmp_path / "1"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["seed"], config["algorithm"]["name"], config["dataset"]["name"]) == (
        3,
        yaml.safe_load((REPOSITORY / f"configs/algorithm/{algorithm}.yaml").read_text())["algorithm"]["name"],
        "digits",
    )
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "COMPLETED"
    assert record["config_hash"] == config_hash(check(config))
    assert record["info"]["precision"] == "float32"
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    errors = [p for p in points if p["name"] == "test/center/error"]
    assert [p["step"] for p in errors] == [1, 2, 3]
    batches = 3 * (record["info"]["num_train"] // 32)
    if config["algorithm"].get("budget") == "per_replica":
        batches *= config["algorithm"]["replicas"]
    result = json.loads((folder / "result.json").read_text())
    assert batches - 5 < result["gradient_evaluations"] <= batches  # the same budget for every algorithm, else y times
    assert errors[-1]["gradient_evaluations"] == result["gradient_evaluations"]
    assert result["test/center/error"] == pytest.approx(errors[-1]["value"])
    profile = record["info"]["local_energy"]
    assert profile["error"][0] == 0
    assert result["local_energy"] == profile["error"][profile["sigmas"].index(0.3)]
    assert f"run 1: test error {result['test/center/error']:.2f} %" in capsys.readouterr().out


def test_local_energy_of_both_splits_with_both_kinds_of_statistics_and_on_the_way(tmp_path):
    words = ["resnet20", "dataset.num_train=96", "training.epochs=2"]
    options = {"split": "both", "batch_norm": "both", "every": 2, "num_samples": 3, "num_examples": 40,
               "sigmas": "[0.3]", "noise": "filter"}  # fmt: skip
    assert run(tmp_path, *words, *(f"evaluation.flatness.{key}={value}" for key, value in options.items())) == 0
    result = json.loads((tmp_path / "1/result.json").read_text())
    info = json.loads((tmp_path / "1/run.json").read_text())["info"]
    names = ["local_energy", "local_energy_reestimated", "local_energy_test", "local_energy_test_reestimated"]
    for name in names:
        assert result[name] == info[name]["error"][0]
        assert info[name] == json.loads((tmp_path / f"1/artifacts/{name}.json").read_text())
        assert (info[name]["num_samples"], info[name]["noise"]) == (3, "filter")
    assert [info[name]["split"] for name in names] == ["train", "train", "test", "test"]
    assert info["local_energy"]["loss"] != info["local_energy_reestimated"]["loss"]
    points = [json.loads(line) for line in (tmp_path / "1/metrics.jsonl").read_text().splitlines()]
    on_the_way = {p["name"]: p["value"] for p in points if "local_energy" in p["name"]}
    assert {"train/center/local_energy", "test/center_reestimated/local_energy_se"} < set(on_the_way)
    assert {p["step"] for p in points if "local_energy" in p["name"]} == {2}


def test_replicas_ensemble_and_both_kinds_of_statistics_are_recorded(tmp_path):
    words = ["resnet20", "rsgd", "dataset.num_train=96", "evaluation.replicas=True", "evaluation.batch_norm=both"]
    assert run(tmp_path, *words, "training.epochs=3", "training.accumulate=2", "training.clip_norm=1.0") == 0
    result = json.loads((tmp_path / "1/result.json").read_text())
    points = [json.loads(line) for line in (tmp_path / "1/metrics.jsonl").read_text().splitlines()]
    each = [result[f"test/replica_{a}/error"] for a in range(3)]
    assert result["test/replicas/error"] == pytest.approx(sum(each) / 3)
    assert 0 <= result["test/ensemble/error"] <= 100
    assert result["test/center/loss"] != result["test/center_reestimated/loss"]
    recorded = {p["name"] for p in points}
    assert {"test/ensemble/loss", "test/replica_2/error", "train/center_reestimated/error"} <= recorded
    assert {name for name in result if name.startswith(("test/", "train/"))} < recorded


def test_the_growth_of_the_coupling_per_epoch_is_gamma_1(tmp_path):
    words = ["rsgd", "algorithm.coupling=0.1", "algorithm.coupling_rate=0.5", "training.epochs=6"]
    assert run(tmp_path, *words) == 0
    points = [json.loads(line) for line in (tmp_path / "1/metrics.jsonl").read_text().splitlines()]
    couplings = [p["value"] for p in points if p["name"] == "training/coupling"]
    assert couplings == pytest.approx([0.1 * 1.5**epoch for epoch in range(6)])


def test_the_same_seed_is_the_same_run_and_another_is_not(tmp_path):
    for words in (["seed=1"], ["seed=1"], ["seed=2"]):
        assert run(tmp_path, "rsgd", "training.epochs=3", *words) == 0
    one, two, three = (center(tmp_path / str(i)) for i in (1, 2, 3))
    assert equal(one, two)
    assert not equal(one, three)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["training.lr=fast"], "training.lr: 'fast' is not allowed, it should be a valid number"),
        (["training.lrr=0.1"], "training.lrr: unknown key, did you mean lr?"),
        (["trainin.lr=0.1"], "trainin: unknown key, did you mean training?"),
        (["training.batch_size=5000"], "training.batch_size: 5000 is larger than the training set"),
        (["model.name=lenett"], "model.name: "),
        (["model.stem=cifar"], "model.stem: mlp takes no such option"),
        (["dataset.name=digit"], "dataset.name: unknown data set 'digit'"),
        (["dataset.augmentation=[flop]"], "flop"),
        (["algorithm.optimizer=sdg"], "optimizer: 'sdg' is unknown, did you mean sgd?"),
        (["dataset.augmentation=[crop, flip"], "dataset.augmentation: not valid YAML"),
        (["dataset.augmentation=[5]"], "dataset.augmentation.0: 5 is not allowed"),
        (["algorithm.optimizer_options={weight_decay: 0.5}"], "training.weight_decay is its key"),
        (["algorithm.optimizer=adam", "algorithm.optimizer_options={betas: [2.0, 0.9]}"], "beta"),
        (["model.dropout=abc"], "model.dropout"),
        (["dataset.normalization=pixl"], "dataset.normalization: 'pixl' is not allowed, did you mean pixel?"),
        (["dataset.num_train=100", "dataset.num_per_class=3", "training.batch_size=8"], "exclude each other"),
        (["training.lr_schedule.name=milestones"], "training.lr_schedule.milestones: [] does not go with"),
        (["-u"], "-u: every run is recorded on disk"),
        (["training.device=cuda:99"], "training.device: 'cuda:99' is not on this machine"),
        (["rsgd", "algorithm.inner_steps=3"], "algorithm.inner_steps: unknown key"),
        (["rsgd", "esgd"], "algorithm."),
        (
            ["rsgd", "algorithm.coupling_rate=10", "training.epochs=400"],
            "algorithm.coupling_rate: 10.0 makes (1 + rate)",
        ),
        (["lenet5"], "lenet5 needs images of at least 12x12 pixels, got 8x8"),
        (["digitz"], "with digitz: no such config, did you mean digits?"),
        (["configs/experiments/demos.yaml"], "did you mean configs/experiments/demo.yaml?"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_status_2(tmp_path, words, line, capsys):
    assert run(tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.strip().splitlines()) == 1
    if not any("batch_size" in word or word == "lenet5" for word in words):  # these need the data
        assert not list(tmp_path.iterdir())


def test_sacreds_own_commands_and_yaml_files_work(tmp_path, capsys):
    assert experiment.main(["train.py", "print_config", "with", "lenet", "rsgd", "training.lr=0.25"]) == 0
    printed = capsys.readouterr().out
    assert "lr = 0.25" in printed
    assert "replicas = 3" in printed
    file = tmp_path / "mine.yaml"
    file.write_text("training: {lr: 2e-2}\nseed: 5\n")
    assert run(tmp_path / "runs", str(file), "dataset.augmentation=[{crop: 1}, flip]") == 0
    config = yaml.safe_load((tmp_path / "runs/1/config.yaml").read_text())
    assert config["dataset"]["augmentation"] == [{"crop": 1}, "flip"]
    assert (config["training"]["lr"], config["seed"]) == (0.02, 5)


def test_pickled_and_unsafe_configs_are_not_loaded(tmp_path, capsys):
    (tmp_path / "evil.pickle").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (tmp_path / "evil.yaml").write_text("x: !!python/object/apply:os.mkdir [ran]")
    for name in ("evil.pickle", "evil.yaml"):
        assert run(tmp_path / "runs", str(tmp_path / name)) != 0
    assert not list(Path.cwd().glob("ran"))


def test_divergence_is_a_failed_run_with_its_cause(tmp_path, capsys):
    assert run(tmp_path, "training.lr=1.0e+30") == 1
    assert "is not finite at epoch 1" in capsys.readouterr().err
    record = json.loads((tmp_path / "1/run.json").read_text())
    assert record["status"] == "FAILED"
    assert "Diverged" in "".join(record["fail_trace"])


def start(tmp_path, *words):
    command = [sys.executable, "scripts/train.py", "with", *SMALL, f"tracking.root={tmp_path}", *words]
    return subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("algorithm", ["sgd", "esgd", "rsgd"])
def test_a_killed_run_resumes_bit_for_bit_under_its_own_id(tmp_path, algorithm):
    words = [algorithm, "training.epochs=12", "checkpoint.every_steps=50", "evaluation.every=12"]
    assert run(tmp_path / "whole", *words) == 0
    process = start(tmp_path / "killed", *words)
    checkpoints = tmp_path / "killed/1/checkpoints"
    wait_for(lambda: len(list(checkpoints.glob("step-*.pt"))) == 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    steps = [int(p.stem.removeprefix("step-")) for p in checkpoints.glob("step-*.pt")]
    total = json.loads((tmp_path / "whole/1/run.json").read_text())["info"]["num_steps"]
    assert max(steps) < total  # it was stopped on the way
    assert experiment.main(["train.py", "with", "resume=1", f"tracking.root={tmp_path / 'killed'}"]) == 0
    assert equal(center(tmp_path / "whole/1"), center(tmp_path / "killed/1"))
    assert not (tmp_path / "killed/2").exists()
    record = json.loads((tmp_path / "killed/1/run.json").read_text())
    assert record["status"] == "COMPLETED"
    assert len(record["attempts"]) == 2
    assert {attempt["config_hash"] for attempt in record["attempts"]} == {record["config_hash"]}
    whole, killed = (json.loads((tmp_path / name / "1/result.json").read_text()) for name in ("whole", "killed"))
    assert {k: v for k, v in whole.items() if "seconds" not in k} == {
        k: v for k, v in killed.items() if "seconds" not in k
    }


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_marks_interrupted(tmp_path, signum, status):
    process = start(tmp_path, "training.epochs=2000", "checkpoint.every_epochs=1000")
    wait_for(
        lambda: (tmp_path / "1/metrics.jsonl").exists() and (tmp_path / "1/metrics.jsonl").stat().st_size > 0,
        process,
    )
    process.send_signal(signum)
    assert process.wait(60) == status
    with process.stderr:
        assert f"with resume={tmp_path}/1" in process.stderr.read()
    assert json.loads((tmp_path / "1/run.json").read_text())["status"] == "INTERRUPTED"
    assert len(list((tmp_path / "1/checkpoints").glob("step-*.pt"))) == 1


def test_ctrl_c_while_a_complete_run_waits_for_its_database_leaves_it_complete(tmp_path):
    process = start(tmp_path, "tracking.database=True", "tracking.mongo_url=mongodb://127.0.0.1:9/away")
    record = tmp_path / "1/run.json"
    wait_for(lambda: record.exists() and json.loads(record.read_text())["status"] == "COMPLETED", process)
    time.sleep(0.5)  # it waits ten seconds
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 75
    with process.stderr:
        assert "(Ctrl-C while it waited for the database); they wait for a replay" in process.stderr.read()
    assert json.loads(record.read_text())["status"] == "COMPLETED"


FULL_AT_THE_END = """
import errno, os, sys
from sacreddnn import experiment
from sacreddnn.tracking import spool

def full(path, text, write=spool.write_atomic):
    if path.name == "run.json" and '"status": "COMPLETED"' in text:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    write(path, text)

spool.write_atomic = full
sys.exit(experiment.main(sys.argv[1:]))
"""


def test_a_disk_that_is_full_at_the_very_end_fails_the_run_and_it_is_resumed(tmp_path):
    words = ["train.py", "with", *SMALL, f"tracking.root={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", FULL_AT_THE_END, *words], stderr=subprocess.PIPE, text=True,
                          check=False, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    not_recorded, hint = [line for line in done.stderr.splitlines() if line.startswith("run 1: ")]
    assert "not recorded: [Errno 28] No space left on device" in not_recorded
    assert hint.endswith(f"go on with resume={tmp_path / '1'}")
    assert json.loads((tmp_path / "1/run.json").read_text())["status"] == "RUNNING"
    assert experiment.main(["train.py", "with", "resume=1", f"tracking.root={tmp_path}"]) == 0
    assert json.loads((tmp_path / "1/run.json").read_text())["status"] == "COMPLETED"


def test_a_signal_while_flatness_is_measured_can_be_resumed(tmp_path):
    """The training is done and saved; only the measurement is repeated."""
    process = start(tmp_path, "training.epochs=1", "evaluation.flatness.num_samples=100000")
    wait_for(lambda: (tmp_path / "1/artifacts/center.pt").exists(), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    process.stderr.close()
    assert json.loads((tmp_path / "1/run.json").read_text())["status"] == "INTERRUPTED"
    assert len(list((tmp_path / "1/checkpoints").glob("step-*.pt"))) == 1


def test_resume_refuses_another_algorithm_unknown_runs_and_complete_runs(tmp_path, capsys):
    assert run(tmp_path) == 0
    resume = ["train.py", "with", "resume=1", f"tracking.root={tmp_path}"]
    assert experiment.main(resume) == 0
    assert "run 1 is complete" in capsys.readouterr().out
    record = json.loads((tmp_path / "1/run.json").read_text())
    (tmp_path / "1/run.json").write_text(json.dumps(record | {"status": "INTERRUPTED"}))
    assert experiment.main([*resume, "rsgd"]) == 2
    assert "algorithm.name: 'rsgd' differs from 'sgd', with which run 1 was started" in capsys.readouterr().err
    assert experiment.main([*resume, "training.lr=0.3"]) == 2
    assert "training.lr: 0.3 differs from 0.05" in capsys.readouterr().err
    assert experiment.main(["train.py", "with", "resume=9", f"tracking.root={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith("resume: ")
    assert experiment.main(["train.py", "resume=1"]) == 2
    assert "must stand after with" in capsys.readouterr().err


def test_sacreds_options_work(tmp_path, capsys):
    """-F adds Sacred's own files, -l sets the log level, -m names the database (here one that is away)."""
    words = [*SMALL[:-1], f"tracking.root={tmp_path / 'ours'}", "training.epochs=1"]
    options = ["-F", str(tmp_path / "theirs"), "-l", "ERROR", "-m", "127.0.0.1:9:runs"]
    assert experiment.main(["train.py", "with", *words, *options]) == 75
    captured = capsys.readouterr()
    replay = f"scripts/report.py replay --root {tmp_path}/ours --mongo-url 127.0.0.1:9:runs\n"
    assert captured.err.endswith(replay)  # into the database that was meant, not the embedded one
    assert "INFO" not in captured.out + captured.err
    assert json.loads((tmp_path / "theirs/1/config.json").read_text())["dataset"]["name"] == "digits"
    config = yaml.safe_load((tmp_path / "ours/1/config.yaml").read_text())
    assert config["tracking"]["mongo_url"] == "127.0.0.1:9:runs"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_network_trains_to_the_same_place(tmp_path):
    for words in ([], ["training.compile=true"]):
        assert run(tmp_path, "training.epochs=1", *words) == 0
    eager, compiled = (center(tmp_path / run_id) for run_id in "12")
    for key in eager:
        torch.testing.assert_close(compiled[key], eager[key], rtol=1e-3, atol=1e-4)


def test_tensorboard_beside_the_record(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    assert run(tmp_path, "sgd", "training.epochs=1", "tracking.tensorboard=True") == 0
    assert list((tmp_path / "1" / "tensorboard").glob("events.out.tfevents.*"))
    monkeypatch.setattr("sacreddnn.command.find_spec", lambda name: None)
    assert run(tmp_path, "sgd", "training.epochs=1", "tracking.tensorboard=True") == 2
    assert "tracking.tensorboard: true needs the package tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "2").exists()
