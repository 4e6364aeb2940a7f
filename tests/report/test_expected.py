"""The paper as data: complete, consistent with the configs and sweeps, and refused in a line where it is wrong."""

import re

import pytest
import yaml
from paper_cases import EXPECTED

from sacreddnn import experiment
from sacreddnn.command_line import CONFIGS
from sacreddnn.config import Config
from sacreddnn.report.paper import expected, recipe, toy
from sacreddnn.run_config import config_hash, flatten
from sacreddnn.schema import ConfigError
from sacreddnn.yaml_file import read_yaml

CELLS = [(row, column) for row in EXPECTED.rows for column in EXPECTED.rows[row].cells]
# the table as the paper is recalled to have it: SGD, rSGD, eSGD, rSGD x y
TABLE1 = {
    "table1_cifar10_smallconvnet": "16.5±0.2 15.6±0.3 14.7±0.3 14.9±0.2",
    "table1_cifar10_resnet18": "13.1±0.3 12.4±0.3 12.1±0.3 11.8±0.1",
    "table1_cifar10_resnet110": "6.4±0.1 6.2±0.2 6.2±0.1 5.3±0.1",
    "table1_cifar10_pyramidnet": "2.1±0.2 2.2±0.1 - 1.8",
    "table1_cifar100_pyramidnet": "13.8±0.1 13.5±0.1 - 12.7",
    "table1_cifar100_efficientnet_b0": "20.5 20.6 20.1±0.2 19.5",
    "table1_tiny_imagenet_resnet50": "45.2±1.2 41.5±0.3 41.7±1.0 39.2±0.3",
    "table1_tiny_imagenet_densenet121": "41.4±0.3 39.8±0.2 38.6±0.4 38.9±0.3",
}


def written(cell):
    if cell is None:
        return "-"
    return f"{cell.value:.1f}" + ("" if cell.standard_error is None else f"±{cell.standard_error:.1f}")


def test_table_1_is_whole_and_recalled():
    rows = EXPECTED.rows_of("table1")
    columns = EXPECTED.tables["table1"].columns
    assert {key: " ".join(written(row.cells.get(c)) for c in columns) for key, row in rows.items()} == TABLE1
    assert {cell.standing for row in rows.values() for cell in row.cells.values()} == {"recalled"}


def test_numbers_of_a_third_party_are_called_so():
    rows = EXPECTED.rows_of("lpf_logs")
    assert [[cell.value for cell in row.cells.values()] for row in rows.values()] == [
        [11.59, 10.99], [9.69, 10.15], [38.56, 38.59]]  # fmt: skip
    assert {cell.standing for row in rows.values() for cell in row.cells.values()} == {"third_party"}


@pytest.mark.parametrize(("row", "column"), CELLS)
def test_every_setting_is_what_the_config_trains(row, column):
    values = flatten(recipe.recipe(EXPECTED, row, column).model_dump())
    for key, setting in EXPECTED.settings_of(row, column).items():
        assert values[key] == setting.value, key


@pytest.mark.parametrize("row", EXPECTED.rows)
def test_every_key_of_an_experiment_has_a_standing(row):
    keys = set(flatten(read_yaml(CONFIGS / "experiments" / f"{row}.yaml")))
    settings = {**EXPECTED.settings, **EXPECTED.rows[row].settings}
    assert keys - {"tracking.tags"} == set(settings)
    head = (CONFIGS / "experiments" / f"{row}.yaml").read_text()
    for key, setting in settings.items():
        name = key.rpartition(".")[2]
        assert re.search(rf"(?m)^ *({name}: .*)?# {expected.WORDS[setting.standing]}.*(\n *{name}: )?", head), key


@pytest.mark.parametrize("column", EXPECTED.columns)
def test_every_key_of_a_column_has_a_standing(column):
    (name,) = EXPECTED.columns[column].configs
    keys = set(flatten(read_yaml(CONFIGS / "algorithm" / f"{name}.yaml")))
    assert keys <= set(EXPECTED.columns[column].settings)


@pytest.mark.parametrize("row", EXPECTED.rows)
def test_a_sweep_has_the_columns_and_seeds_of_its_row(row):
    sweep = yaml.safe_load((CONFIGS / "sweeps" / f"{row}.yaml").read_text())
    assert sweep["base"] == [row]
    assert [case["base"] for case in sweep["cases"].values()] == [
        EXPECTED.columns[column].configs for column in EXPECTED.rows[row].cells
    ]
    assert sweep["seeds"] == EXPECTED.rows[row].seeds
    assert EXPECTED.rows[row].cells.keys() <= EXPECTED.columns.keys()


def test_a_recipe_is_what_the_command_line_trains(capsys, tmp_path):
    """Sacred's own reading of the named configs, in the same order, gives the same hash."""
    words = ["table1_cifar10_smallconvnet", "paper_esgd", "training.epochs=2", "training.batch_size=8",
             "dataset.num_train=40", "dataset.download=false", f"dataset.root={tmp_path}", "on_disk",
             f"tracking.root={tmp_path / 'runs'}", "evaluation.flatness.num_samples=0"]  # fmt: skip
    toy.write("cifar10", tmp_path)
    assert experiment.main(["train.py", "with", *words]) == 0
    recorded = recipe.check(read_yaml(tmp_path / "runs/1/config.yaml"))
    changes = {"training": {"epochs": 2, "batch_size": 8}, "evaluation": {"flatness": {"num_samples": 0}},
               "dataset": {"num_train": 40, "download": False, "root": str(tmp_path)}}  # fmt: skip
    assert config_hash(recipe.resolve(["table1_cifar10_smallconvnet", "paper_esgd"], changes)) == config_hash(recorded)
    assert recorded.training.lr == 0.5


def test_every_data_set_of_a_row_has_a_toy():
    for row in EXPECTED.rows:
        assert EXPECTED.rows[row].settings["dataset.name"].value in toy.SHAPES
    assert isinstance(recipe.resolve([]), Config)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("standing: recalled, source: table1", "standing: certain, source: table1",
         "rows.table1_cifar10_smallconvnet.cells.sgd.standing: 'certain' is not allowed"),
        ("value: 16.5", "value: -1", "cells.sgd.value: -1 is not allowed, input should be greater than or equal to 0"),
        ("source: table1}", "source: table9}", "cells.sgd.source: 'table9' is not allowed, allowed: table1, lpf_logs"),
        ("    dataset: CIFAR-10\n", "", "rows.table1_cifar10_smallconvnet.dataset: is missing"),
        ("    seeds: 5\n", "    seed: 5\n", "rows.table1_cifar10_smallconvnet.seed: unknown key"),
        ("table: table1", "table: table2", "table: 'table2' is not allowed, allowed: table1, lpf_logs"),
    ],
)  # fmt: skip
def test_a_fault_is_a_line_with_its_place(tmp_path, old, new, line):
    path = tmp_path / "paper.yaml"
    path.write_text(expected.FILE.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=re.escape(line)) as raised:
        expected.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_an_unknown_config_is_named():
    with pytest.raises(ConfigError, match="nothing_like_it: no such config"):
        recipe.resolve(["nothing_like_it"])
