import shlex

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sacreddnn.algorithm_config import ALGORITHMS
from sacreddnn.config import Config, check
from sacreddnn.flatness_config import FlatnessConfig
from sacreddnn.landscape_config import LandscapeConfig
from sacreddnn.report import command as report
from sacreddnn.run_config import TrackingConfig, check_config, config_hash, differences, flatten, replay_command
from sacreddnn.schema import ConfigError
from sacreddnn.shallow_config import ShallowConfig
from sacreddnn.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"training": {"lr": "fast"}}, "training.lr: 'fast' is not allowed, it should be a valid number"),
        ({"training": {"lrr": 1}}, "training.lrr: unknown key, did you mean lr?"),
        ({"traning": {}}, "traning: unknown key, did you mean training?"),
        ({"training": {"lr_schedule": {"milestons": [1]}}}, "training.lr_schedule.milestons: unknown key"),
        ({"training": {"lr": -1.0}}, "training.lr: -1.0 is not allowed, it should be greater than 0"),
        ({"training": {"epochs": 2.5}}, "training.epochs: 2.5 is not allowed"),
        ({"training": {"epochs": True}}, "training.epochs: True is not allowed"),
        ({"training": {"precision": "bf16"}}, "training.precision: 'bf16' is not allowed, did you mean bfloat16?"),
        ({"training": None}, "training: None is not allowed"),
        ({"algorithm": {"name": "rsgf"}}, "algorithm.name: 'rsgf' is not allowed, did you mean rsgd?"),
        ({"algorithm": {"name": "rsgd", "inner_steps": 3}}, "algorithm.inner_steps: unknown key, allowed: name,"),
        ({"algorithm": {"name": "esgd", "coupling": "aut"}}, "algorithm.coupling: 'aut' is not allowed, did you mean"),
        ({"algorithm": {"name": "esgd", "inner_steps": 0}}, "algorithm.inner_steps: 0 is not allowed"),
        ({"algorithm": {"name": "esgd", "averaging": 1.0}}, "algorithm.averaging: 1.0 is not allowed"),
        ({"algorithm": {"name": "rsgd", "replicas": 100}}, "algorithm.replicas: 100 is not allowed"),
        ({"algorithm": {"name": "rsgd", "replicas": 1}}, "algorithm.replicas: 1 has nothing to couple to"),
        ({"algorithm": {"name": "sam", "rho": -1.0}}, "algorithm.rho: -1.0 is not allowed"),
        ({"algorithm": {"name": "sam", "eta": 0.1}}, "algorithm.eta: unknown key"),
        ({"algorithm": {"name": "asan"}}, "algorithm.name: 'asan' is not allowed, did you mean asam?"),
        ({"algorithm": {"name": "swa", "start": 1.0}}, "algorithm.start: 1.0 is not allowed"),
        ({"algorithm": {"name": "ema", "decay": 1.0}}, "algorithm.decay: 1.0 is not allowed"),
        ({"algorithm": {"name": "weight_noise", "noise_scale": "filtr"}}, "algorithm.noise_scale: 'filtr' is not"),
        ({"algorithm": {"name": "esgd", "coupling_auto": "first"}}, "algorithm.coupling_auto: 'first' is not allowed"),
        ({"algorithm": {"name": "rsgd", "coupling_rate": 0.1, "coupling_schedule": "cosine"}},
         "algorithm.coupling_rate: 0.1 is the rate of the exponential schedule"),
        ({"training": {"accumulate": 0}}, "training.accumulate: 0 is not allowed"),
        ({"training": {"clip_norm": 0.0}}, "training.clip_norm: 0.0 is not allowed"),
        ({"training": {"flood": -0.1}}, "training.flood: -0.1 is not allowed"),
        ({"evaluation": {"batch_norm": "bothh"}}, "evaluation.batch_norm: 'bothh' is not allowed, did you mean both?"),
        ({"dataset": {"num_train": 100}}, "training.batch_size: 128 is larger than the training set, 100 images"),
        ({"evaluation": {"flatness": {"headline": 0.7}}}, "evaluation.flatness.headline: 0.7 is not among sigmas"),
        ({"seed": -1}, "seed: -1 is not allowed"),
    ],
)  # fmt: skip
def test_every_error_is_one_line_that_names_the_key(values, line):
    with pytest.raises(ConfigError) as error:
        check(values)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_several_faults_are_several_lines():
    with pytest.raises(ConfigError) as error:
        check({"training": {"lr": "fast", "epoch": 3}, "sed": 1})
    assert len(str(error.value).splitlines()) == 3


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="SACREDDNN_MONGO_PASSWORD") as error:
        check({"tracking": {"mongo_url": "mongodb://me:sesame@host/db"}})
    assert "sesame" not in str(error.value)
    check({"tracking": {"mongo_url": "mongodb://me@host:27017/db"}})


@given(
    lr=st.floats(1e-9, 1e3), epochs=st.integers(1, 10**6), seed=st.integers(0, 2**63 - 1),
    algorithm=st.sampled_from(ALGORITHMS), sigmas=st.lists(st.floats(0, 2), min_size=1, max_size=5),
    augmentation=st.lists(st.text(max_size=5), max_size=3),
)  # fmt: skip
def test_a_config_survives_yaml(lr, epochs, seed, algorithm, sigmas, augmentation):
    config = check({
        "seed": seed, "dataset": {"augmentation": augmentation}, "algorithm": {"name": algorithm},
        "training": {"lr": lr, "epochs": epochs},
        "evaluation": {"flatness": {"sigmas": sigmas, "headline": sigmas[0]}},
    })  # fmt: skip
    again = check(yaml.safe_load(yaml.safe_dump(config.model_dump())))
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_the_hash_changes_with_what_changes_the_numbers_and_with_nothing_else():
    base = config_hash(Config())
    assert config_hash(check({"training": {"lr": 1}})) == config_hash(check({"training": {"lr": 1.0}})) != base
    assert config_hash(check({"tracking": {"database": False}, "resume": 3, "training": {"num_threads": 1}})) == base
    assert config_hash(check({"model": {"name": "lenet", "dropout": 0.1}})) != base


def test_differences_name_the_keys():
    new = check({"algorithm": {"name": "esgd"}, "tracking": {"database": False}})
    assert "algorithm.name" in differences(Config(), new)
    assert not any(key.startswith("tracking") for key in differences(Config(), new))


def test_flatten_keeps_empty_dicts():
    assert flatten({"a": {"b": {}, "c": [1]}}) == {"a.b": {}, "a.c": [1]}


def test_yaml_numbers_and_errors(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("training: {lr: 1e-4, weight_decay: 5.e-4}")
    assert read_yaml(file) == {"training": {"lr": 1e-4, "weight_decay": 5e-4}}
    for text, message in [
        ("training: [1", "not valid YAML at line"),
        ("- 1", "must hold keys and values, got list"),
        ("x: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("training: {lr: 0.5}\nseed: 1\ntraining: {epochs: 3}", "line 3: key 'training' stands at line 1 too"),
        ("training:\n  lr: 0.5\n  'lr': 0.1", "line 3: key 'lr' stands at line 2 too"),
        ("a: {<<: {x: 1}, y: 2}\nb:\n- {x: 1, x: 1}", "line 3: key 'x' stands at line 3 too"),
        ("seed: 1\ntags: [2026-13-01]", "line 2: '2026-13-01' cannot be read .month must be in 1..12."),
        ("x: !!bool maybe", "line 1: 'maybe' cannot be read"),
    ]:
        file.write_text(text)
        with pytest.raises(ConfigError, match=message) as raised:
            read_yaml(file)
        assert str(raised.value).startswith(f"{file}: ")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")


def test_own_keys_replace_merged_ones(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a:\n- b: &b\n    <<: &base {x: 1, y: 1}\n    x: 2\nc: {<<: *b, x: 3}\nd: {<<: [*base, {z: 4}]}")
    assert read_yaml(file) == {
        "a": [{"b": {"x": 2, "y": 1}}], "c": {"x": 3, "y": 1}, "d": {"x": 1, "y": 1, "z": 4},
    }  # fmt: skip


def test_momentum_defaults_belong_to_sgd():
    assert Config().algorithm.momentum == 0.9
    assert check({"algorithm": {"optimizer": "adam"}}).algorithm.momentum is None


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({}, []),
        ({"root": "my runs"}, ["--root", "my runs"]),
        ({"folder": "/scratch/db"}, ["--folder", "/scratch/db"]),
        ({"mongo_url": "lab:27017:runs", "folder": "/scratch/db"}, ["--mongo-url", "lab:27017:runs"]),
        ({"mongo_url": "mongodb://me@lab/runs?tls=true&w=1"}, ["--mongo-url", "mongodb://me@lab/runs?tls=true&w=1"]),
        ({"mongo_url": "mongodb://lab/r?authMechanismProperties=AWS_SESSION_TOKEN:t0ken"},
         ["--mongo-url", "mongodb://lab/r?authMechanismProperties=AWS_SESSION_TOKEN:***"]),
    ],
)  # fmt: skip
def test_a_replay_goes_into_the_database_of_the_run(values, options):
    words = shlex.split(replay_command(TrackingConfig(**values)))
    assert words == ["python", "scripts/report.py", "replay", *options]
    tracking = TrackingConfig(**values)
    read = report._parser().parse_args(words[2:])
    assert read.root == tracking.root
    assert (read.folder == tracking.folder) or tracking.mongo_url


def test_a_tilde_is_the_home_in_every_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = {"tracking": {"root": "~/runs", "folder": "~/db"}, "dataset": {"root": "~/data"}, "resume": "~/runs/3"}
    config = check(values)
    assert config.tracking.root == "/home/me/runs"
    assert config.tracking.folder == "/home/me/db"
    assert config.dataset.root == "/home/me/data"
    assert config.resume == "/home/me/runs/3"
    assert config_hash(config) == config_hash(check({"dataset": {"root": "/home/me/data"}}))  # the same run
    assert config_hash(check({"tracking": {"root": "~"}})) == config_hash(Config())
    assert check(config.model_dump()) == config
    assert check({"dataset": {"root": "there/~"}}).dataset.root == "there/~"
    flatness = {"run": "~/runs/3"}, {"checkpoint": "~/a.pt"}, {"weights": "~/w.pt", "dataset": {}, "model": {}}
    for source, path in zip(flatness, ("runs/3", "a.pt", "w.pt"), strict=True):
        typed = check_config(FlatnessConfig, source)
        assert getattr(typed, next(iter(source))) == f"/home/me/{path}"
    landscape = check_config(LandscapeConfig, {"runs": [7, "~/runs/3"], "checkpoints": ["~/a.pt"]})
    assert (landscape.runs, landscape.checkpoints) == ([7, "/home/me/runs/3"], ["/home/me/a.pt"])
    shallow = check_config(ShallowConfig, {"out": "~/figure", "patterns": {"root": "~/data"}})
    assert (shallow.out, shallow.patterns.root) == ("/home/me/figure", "/home/me/data")
