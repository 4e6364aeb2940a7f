"""Which runs a sweep file stands for, and which files are refused."""

import math
import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from sweep_cases import write_sweep

from sacreddnn.config import check
from sacreddnn.run_config import config_hash
from sacreddnn.schema import ConfigError
from sacreddnn.sweeps import command, engine, table
from sacreddnn.sweeps.cost import check_runs, gradient_evaluations
from sacreddnn.sweeps.grid import draws, expand, merge, nested, read_named
from sacreddnn.sweeps.state import DONE, FAILED, INTERRUPTED, MISSING, State
from sacreddnn.sweeps.sweep_file import RandomConfig, TrialConfig, read_sweep
from sacreddnn.tracking.spool import Spool

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def runs_of(tmp_path):
    def runs_of(**values):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return expand(read_sweep(path), "mine")

    return runs_of


def test_every_combination_of_grid_zip_draws_cases_and_seeds(runs_of):
    runs = runs_of(
        base=["digits", "mlp"],
        fixed={"training.epochs": 3},
        grid={"training.batch_size": [16, 32]},
        zip={"training.weight_decay": [0.0, 0.1, 0.2], "training.label_smoothing": [0.0, 0.3, 0.4]},
        cases={
            "sgd": {"base": ["sgd"]},
            "esgd": {
                "base": ["esgd"],
                "random": {"num": 2, "values": {"algorithm.inner_lr": {"log_uniform": [0.01, 0.1]}}},
            },
        },
        seeds=[3, 5],
    )
    assert Counter(run.case for run in runs) == {"sgd": 2 * 3 * 2, "esgd": 2 * 3 * 2 * 2}
    seen = {
        (run.case, c.training.batch_size, c.training.weight_decay, c.training.label_smoothing, c.seed,
         getattr(c.algorithm, "inner_lr", None))
        for run in runs for c in [run.config]
    }  # fmt: skip
    assert len(seen) == len(runs) == len({run.hash for run in runs})
    assert {(decay, smoothing) for _, _, decay, smoothing, _, _ in seen} == {(0.0, 0.0), (0.1, 0.3), (0.2, 0.4)}
    assert {run.config.training.epochs for run in runs} == {3}
    assert {run.config.seed for run in runs} == {3, 5}
    assert {run.config.dataset.name for run in runs} == {"digits"}
    assert all(run.config.tracking.tags == ["mine"] for run in runs)
    assert runs[0].label == "sgd batch_size=16 weight_decay=0.0 label_smoothing=0.0 seed=3"


def test_configs_come_before_keys_and_those_of_a_case_last_as_on_the_command_line(runs_of):
    fixed = {"training.lr": 0.25, "training.epochs": 4}
    cases = {"plain": {"base": ["esgd"]}, "mine": {"base": ["esgd"], "fixed": {"training.lr": 0.75}}}
    plain, mine = runs_of(base=["digits", "mlp"], fixed=fixed, cases=cases)
    assert (plain.config.training.lr, mine.config.training.lr) == (0.25, 0.75)  # esgd.yaml alone says 0.5
    assert plain.config.training.epochs == mine.config.training.epochs == 4


def test_a_run_has_the_hash_that_its_record_will_have(runs_of):
    """Another order, another place of the record, a resumption: the same run; another seed: another."""
    one, other = runs_of(base=["digits", "mlp"], seeds=2)
    again = config_hash(check(one.config.model_dump(mode="json")))
    values = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "resume": 7, "tracking": {"root": "there"}}
    assert one.hash == again == config_hash(check(values))
    assert one.hash != other.hash


def test_draws_stay_when_there_are_more_of_them_or_of_their_keys():
    lr = {"lr": {"log_uniform": [1e-3, 1.0]}}
    few = draws(RandomConfig(num=3, seed=4, values=lr), "a")
    more = {**lr, "k": {"integer": [1, 3]}, "c": {"choice": ["x", "y"]}}
    many = draws(RandomConfig(num=30, seed=4, values=more), "a")
    assert [one["lr"] for one in many[:3]] == [one["lr"] for one in few]
    assert few != draws(RandomConfig(num=3, seed=5, values=lr), "a")
    assert few != draws(RandomConfig(num=3, seed=4, values=lr), "b")
    assert all(one["lr"] == float(f"{one['lr']:.4g}") for one in many)
    assert {one["k"] for one in many} == {1, 2, 3}
    assert {one["c"] for one in many} == {"x", "y"}


def test_draws_have_the_distribution_they_are_named_after():
    """Mean of n draws, within four standard errors."""
    n, values = 2000, {"u": {"uniform": [2.0, 4.0]}, "l": {"log_uniform": [1e-4, 1.0]}}
    made = draws(RandomConfig(num=n, values=values))
    width = math.log(1e4)
    for mean, expected, deviation in (
        (sum(one["u"] for one in made) / n, 3.0, 2 / math.sqrt(12)),
        (sum(math.log(one["l"]) for one in made) / n, -width / 2, width / math.sqrt(12)),
    ):
        assert abs(mean - expected) < 4 * deviation / math.sqrt(n)
    assert all(2 <= one["u"] <= 4 and 1e-4 <= one["l"] <= 1 for one in made)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"grid": {"training.lrr": [0.1]}}, "training.lrr: unknown key, did you mean lr?"),
        ({"grid": {"training.lr": []}}, "mine.yaml: grid.training.lr: an empty list; give at least one value"),
        ({"zip": {"seed": [1], "training.lr": [0.1, 0.2]}}, "zip: lists of different lengths (seed has 1, training.lr"),
        ({"fixed": {"training.lr": 1.0}, "grid": {"training.lr": [1.0]}}, "grid.training.lr: stands in fixed too"),
        ({"seeds": 2, "grid": {"seed": [1]}}, "seeds: seed is set as a key too"),
        ({"seeds": []}, "seeds: an empty list"),
        ({"seeds": 0}, "seeds: 0 is not allowed"),
        ({"gird": {}}, "mine.yaml: gird: unknown key, did you mean grid?"),
        ({"cases": {"a": {"bse": ["sgd"]}}}, "cases.a.bse: unknown key, did you mean base?"),
        ({"cases": ["sgd"]}, "mine.yaml: cases: "),
        ({"cases": {"a": {"base": ["sgdd"]}}}, "no config 'sgdd', did you mean sgd?"),
        ({"cases": {"a": {"base": "sgd"}, "b": {}}}, "b: the same run as a (config hash "),
        ({"grid": {"training.lr": [-1.0, -2.0]}}, "training.lr: -1.0 is not allowed"),
        ({"fixed": {"training.lr.x": 1}}, "training.lr: {'x': 1} is not allowed"),
        ({"random": {"values": {"training.lr": {"normal": [0, 1]}}}}, "values.training.lr: {'normal': [0, 1]} is not"),
        ({"random": {"values": {"training.lr": {"log_uniform": [0, 1]}}}}, "both must be above 0"),
        ({"random": {"values": {"training.lr": {"uniform": [2, 1]}}}}, "give [low, high] with low < high"),
        ({"trial": {"gpus": 1.5}}, "gpus: 1.5 is not allowed"),
        ({"trial": {"cpu": 1}}, "trial.cpu: unknown key, did you mean cpus?"),
        ({"grid": {"tracking.root": ["a", "b"], "training.epochs": [1]}}, "a sweep has one folder of runs"),
    ],
)
def test_what_cannot_be_swept_is_said(runs_of, values, line):
    with pytest.raises(ConfigError) as error:
        runs_of(**values)
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("fixed", "line"),
    [
        ({"model.stem": "cifar"}, "model.stem: mlp takes no such option"),
        ({"algorithm.optimizer": "sdg"}, "'sdg' is unknown, did you mean sgd?"),
        ({"training.device": "cuda"}, "training.device: 'cuda', but trial.gpus is 0"),
        ({"training.batch_size": 600}, "training.batch_size: 600 is larger than the training set, 512 images"),
        ({"training.batch_size": 256, "dataset.num_train": 511}, "less than one an epoch"),
    ],
)
def test_what_only_the_run_would_find_is_found_before_the_first_one_starts(runs_of, fixed, line):
    images = {"dataset.options.train_samples": 512, "dataset.options.image_size": 8}
    runs = runs_of(base=["synthetic", "mlp", "rsgd"], fixed=images | fixed, seeds=2)
    with pytest.raises(ConfigError) as error:
        check_runs(runs, TrialConfig())
    assert line in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_the_cost_of_every_algorithm_in_gradient_evaluations():
    """512 images in minibatches of 32, 6 passes: 96; Entropy-SGD makes whole outer steps of 5, rSGD x y three times."""
    sweep = read_sweep(REPOSITORY / "configs/sweeps/toy.yaml")
    costs = check_runs(runs := expand(sweep, "toy"), sweep.trial)
    assert {run.case: costs[run.hash] for run in runs} == {"sgd": 96, "esgd": 95, "rsgd": 96}
    config = runs[0].config
    for algorithm, cost in (({"name": "rsgd", "budget": "per_replica"}, 288), ({"name": "sam"}, 96)):
        assert gradient_evaluations(check(config.model_dump() | {"algorithm": algorithm}), 512) == cost
    elsewhere = config.dataset.model_copy(update={"root": "nowhere", "name": "cifar10", "options": {}})
    run = replace(runs[0], config=config.model_copy(update={"dataset": elsewhere}), hash="absent")
    assert check_runs([run], sweep.trial) == {"absent": None}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs/sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_that_come_with_it_expand(path):
    assert expand(read_sweep(path), path.stem)


def test_merging_goes_section_by_section():
    values = {"training": {"lr": 1, "lr_schedule": {"name": "step"}}, "seed": 1}
    merge(values, nested("training.lr_schedule.every", 3))
    assert values == {"training": {"lr": 1, "lr_schedule": {"name": "step", "every": 3}}, "seed": 1}
    with pytest.raises(ConfigError, match="seed.a: unknown key, seed is 1 and has no keys"):
        merge(values, nested("seed.a", 3))
    assert read_named("rsgd")["algorithm"]["replicas"] == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--retries", "-1"], "--retries -1: is not allowed, give 0 or more"),
        (["--cpus", "0"], "--cpus 0: is not allowed, give 1 or more"),
        (["--only", "sdg"], "--only sdg: no such case, there are: sgd, esgd, rsgd"),
    ],
)
def test_options_that_cannot_be_are_said(words, line, capsys):
    assert command.main([str(REPOSITORY / "configs/sweeps/toy.yaml"), *words, "--dry-run"]) == command.BAD_SWEEP
    assert capsys.readouterr().err == line + "\n"


def test_a_cluster_is_shown_the_token_that_there_is(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert engine.authentication() == {}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("0")
    assert engine.authentication() == {"RAY_AUTH_MODE": "token"}
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert engine.authentication() == {}
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0")
    assert engine.authentication() == {"RAY_AUTH_MODE": "token"}


def test_an_address_where_nobody_answers_is_refused_at_once():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match=rf"--address {address}: nobody answers there \(.*refused"):
            engine.refuse_silence(address)
        server.listen()
        engine.refuse_silence(address)
    for other in ("auto", "ray://there:10001"):
        engine.refuse_silence(other)


@pytest.mark.parametrize(("retries", "left"), [(0, 150), (1, 225)])
def test_failed_runs_are_still_to_do_only_where_they_are_tried_again(runs_of, retries, left):
    runs = runs_of(base=["digits", "mlp", "sgd"], seeds=4)
    kinds = (State(DONE), State(FAILED, progress=0.25), State(INTERRUPTED, progress=0.5), State(MISSING))
    states = {run.hash: kind for run, kind in zip(runs, kinds, strict=True)}
    lines = table.plan(runs, states, {run.hash: 100 for run in runs}, retries)
    assert f"4 runs, 400 gradient evaluations, {left} still to do" in lines
    assert lines[-1].startswith("1 failed runs are not tried again") == (not retries)


def test_a_second_grid_is_refused_and_replaces_no_first(tmp_path, capsys):
    path = tmp_path / "two.yaml"
    path.write_text("base: [digits, mlp]\ngrid: {training.lr: [0.1]}\ngrid: {training.epochs: [1, 2]}\n")
    assert command.main([str(path), "--dry-run"]) == command.BAD_SWEEP
    assert capsys.readouterr().err.startswith(f"{path}: not valid YAML at line 3: key 'grid' stands at line 2 too")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"fixed": {"tracking.tags": "demo"}}, "tracking.tags: 'demo' is not allowed, it should be a valid list"),
        ({"fixed": {"tracking.tags": None}}, "tracking.tags: None is not allowed"),
        ({"fixed": {"tracking.tags": 5}}, "tracking.tags: 5 is not allowed"),
        ({"fixed": {"tracking.tags": [5]}}, "tracking.tags.0: 5 is not allowed"),
        ({"fixed": {"tracking": 5}}, "tracking: 5 is not allowed"),
        ({"base": ["digits", "mlp", "empty.yaml"]}, "tracking: None is not allowed"),
        ({"seeds": [0, "a", -1]}, "typo.yaml: seeds.1: 'a' is not allowed"),
        ({"grid": {5: [1]}}, "typo.yaml: grid.5: this key is not allowed, it should be text"),
        ({"fixed": {"dataset.augmentation": [5]}}, "dataset.augmentation.0: 5 is not allowed"),
    ],
)
def test_a_typo_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, values, line):
    monkeypatch.chdir(tmp_path)
    Path("empty.yaml").write_text("tracking:\n")
    Path("typo.yaml").write_text(yaml.safe_dump({"base": ["digits", "mlp"]} | values))
    assert command.main(["typo.yaml", "--dry-run"]) == command.BAD_SWEEP
    assert capsys.readouterr().err.startswith(line)


def test_the_sweep_is_one_more_tag_once(runs_of):
    (run,) = runs_of(base=["digits", "mlp"], fixed={"tracking.tags": ["mine", "other"]})
    assert run.config.tracking.tags == ["other", "mine"]


@pytest.mark.parametrize("text", ["a: [1", "- 1", "5"])
def test_a_damaged_config_of_a_run_is_one_line_of_the_status(tmp_path, capsys, text):
    path = write_sweep(tmp_path, seeds=1)
    (run,) = expand(read_sweep(path), path.stem)
    folder = Spool.create(tmp_path / "runs", run.config.model_dump(), config_hash=run.hash).folder
    (folder / "config.yaml").write_text(text)
    assert command.main([str(path), "--status"]) == command.NOT_ALL
    assert capsys.readouterr().err.startswith(f"sweep: {folder}/config.yaml: ")
