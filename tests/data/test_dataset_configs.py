"""Every config of a data set names one that exists, with an augmentation and options that it takes."""

from pathlib import Path

import pytest
import yaml

from sacreddnn import data
from sacreddnn.data import sources

FOLDER = Path(__file__).parents[2] / "configs" / "dataset"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_every_data_set_has_a_config():
    assert {yaml.safe_load(path.read_text())["dataset"]["name"] for path in FILES} == set(data.SOURCES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_is_accepted(path):
    (group,) = yaml.safe_load(path.read_text()).items()
    assert group[0] == "dataset"
    config = group[1]
    sources.reader(config["name"], config.get("options", {}))
    data.Pipeline((0.5,), (0.5,), config.get("augmentation", "none"), num_classes=2)
    assert config.get("normalization", "pixel") in ("pixel", "reference", "imagenet", "none")
