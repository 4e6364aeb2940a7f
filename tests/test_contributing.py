"""The examples of CONTRIBUTING.md do what it says of them."""

import json
import re
import sys
import types
from pathlib import Path

from sacreddnn import experiment
from sacreddnn.data import sources
from sacreddnn.models import registry

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()


def blocks(heading):
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def module(name, code):
    made = types.ModuleType(name)
    exec(code, made.__dict__)
    return made


def test_the_data_set_and_the_network_of_contributing_train_together(tmp_path, monkeypatch):
    file, line = blocks("Add a data set")
    stripes = module("sacreddnn.data.stripes", file)
    for name, reader in eval("{" + line + "}", {"stripes": stripes}).items():
        monkeypatch.setitem(sources.SOURCES, name, reader)
    file, line = blocks("Add a network")
    monkeypatch.setitem(sys.modules, "sacreddnn.models.linear", module("sacreddnn.models.linear", file))
    for name, network in eval("{" + line + "}", {"Network": registry.Network}).items():
        monkeypatch.setitem(registry.NETWORKS, name, network)
    words = [
        "dataset.name=stripes", "dataset.options.size=8", "model.name=linear", "model.bias=false", "on_disk",
        "training.epochs=2", "training.batch_size=50", "training.num_threads=1", "training.device=cpu",
        "evaluation.flatness.num_samples=0", f"tracking.root={tmp_path}",
    ]  # fmt: skip
    assert experiment.main(["train.py", "with", *words]) == 0
    result = json.loads((tmp_path / "1/result.json").read_text())
    assert result["gradient_evaluations"] == 40
    assert json.loads((tmp_path / "1/run.json").read_text())["info"]["num_weights"] == 128
