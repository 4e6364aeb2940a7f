"""scripts/shallow.py at toy size: trained, measured, recorded, drawn; stopped and gone on with; refused in a line."""

import json
import os
import signal

import numpy as np
import pytest

from sacreddnn import shallow_command
from sacreddnn.command import BAD_CONFIG, COMPLETED
from sacreddnn.report.shallow_figures import draw_shallow
from sacreddnn.shallow import committee
from sacreddnn.shallow.patterns import images

RSGD = {"algorithm": "rsgd", "replicas": 2, "epochs": 6, "batch_size": 10, "lr": {"first": 10.0, "last": 1.0},
        "beta": {"first": 0.5, "last": 5.0}, "omega": {"first": 0.5, "last": 50.0},
        "coupling": {"first": 0.01, "last": 0.1}}  # fmt: skip
ESGD = RSGD | {"algorithm": "esgd", "replicas": 1}
SOLVERS = f"solvers={json.dumps({'rsgd_fast': RSGD, 'esgd': ESGD})}"
TOY = [
    "patterns.name=synthetic", "patterns.classes=[0, 1]", "patterns.num_train=20", "patterns.num_validation=20",
    "num_units=3", "restarts=2", "sigmas=[0.2, 0.5]", "curve.ts=[0.95, 0.9]", "curve.restarts=2",
    "curve.amp_restarts=1", "curve.num_chains=3", "curve.num_sweeps=4", "curve.burn_in=4", "curve.num_direct=500",
    "on_disk",
]  # fmt: skip


@pytest.fixture
def call(tmp_path):
    def call(*words, draw=None):
        argv = ["shallow.py", "with", *TOY, f"tracking.root={tmp_path}", *words]
        return shallow_command.main(argv, draw=draw)

    return call


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_it_trains_measures_records_and_draws(call, tmp_path):
    assert call(SOLVERS, f"out={tmp_path / 'out'}", draw=draw_shallow) == COMPLETED
    result, kept = result_of(tmp_path / "1"), json.loads((tmp_path / "1/artifacts/shallow.json").read_text())
    data = images("synthetic", (0, 1), 20, 20, seed=0)
    for name in ("rsgd_fast", "esgd"):
        weights = np.load(tmp_path / f"1/artifacts/{name}.npy")
        assert weights.shape == (2, 3, data.num_inputs)
        errors = [committee.error(w, *data.test) for w in weights]
        assert kept["solvers"][name]["test_error"] == errors
        assert result[f"{name}/test_error"] == pytest.approx(np.mean(errors))
        np.testing.assert_allclose(
            kept["solvers"][name]["local_energy"][1], committee.local_energy(weights[1], *data.train, [0.2, 0.5])
        )
        assert len(kept["solvers"][name]["curves"]) == 2
        assert "phi" in kept["solvers"][name]["curves"][0]
        assert len(kept["solvers"][name]["amp"]) == 1
    metrics = [json.loads(line) for line in (tmp_path / "1/metrics.jsonl").read_text().splitlines()]
    assert {m["name"] for m in metrics} >= {"test/esgd/error", "validation/rsgd_fast/error"}
    for suffix in ("pdf", "png", "md", "csv"):
        assert (tmp_path / f"out/figure1.{suffix}").stat().st_size > 0


def test_it_goes_on_where_it_was_stopped(call, tmp_path, monkeypatch):
    assert call(SOLVERS) == COMPLETED
    whole, real, calls = tmp_path / "1", shallow_command._curve, []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(shallow_command, "_curve", stopping)
    assert call(SOLVERS) == 128 + signal.SIGTERM
    monkeypatch.undo()
    stopped = tmp_path / "2"
    made = [path for path in stopped.glob("artifacts/**/*") if path.suffix in (".npy", ".json")]
    files = {path: path.stat().st_mtime_ns for path in made}
    assert sum("sampling" in path.name for path in files) == 3
    argv = ["shallow.py", "with", "on_disk", f"tracking.root={tmp_path}", "resume=2"]
    assert shallow_command.main(argv) == COMPLETED
    assert {path: path.stat().st_mtime_ns for path in files} == files  # nothing was done again
    assert result_of(stopped) == result_of(whole)

    def curves(folder):
        found = [json.loads(path.read_text()) for path in sorted((folder / "artifacts/curves").iterdir())]
        return [one | {"cpu_seconds": 0} for one in found]

    assert curves(stopped) == curves(whole)


def test_a_network_without_a_curve_does_not_stop_the_others(call, tmp_path):
    """With one epoch there are training errors left, which AMP refuses and sampling takes."""
    solver = {"rsgd": RSGD | {"epochs": 1, "finish": 0, "lr": {"first": 0.001, "last": 0.001}}}
    assert call(f"solvers={json.dumps(solver)}", "curve.restarts=1") == COMPLETED
    kept = json.loads((tmp_path / "1/artifacts/shallow.json").read_text())["solvers"]["rsgd"]
    assert kept["num_errors"][0] > 0
    assert kept["amp"][0]["failed"].startswith("method: 'amp' counts networks without training errors")
    assert "t" in kept["curves"][0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "solvers: none is given"),
        ([SOLVERS, "num_unit=3"], "num_unit: unknown key, did you mean num_units?"),
        ([SOLVERS, "num_units=4"], "num_units: 4 is not allowed, K is odd"),
        ([SOLVERS, "curve.ts=[0.5, 0.9]"], "curve.ts: "),
        ([SOLVERS, "curve.restarts=3"], "curve.restarts: 3"),
        ([SOLVERS, "patterns.classes=[0]"], "patterns.classes: [0] is not allowed, give two classes"),
        ([SOLVERS, "solvers.esgd.epoch=3"], "solvers.esgd.epoch: unknown key, did you mean epochs?"),
        ([SOLVERS, "solvers.esgd.replicas=3"], "solvers.esgd.replicas: 3 does not go with algorithm=esgd"),
        ([SOLVERS, "figure2"], "with figure2: no such config"),
    ],
)
def test_a_bad_config_is_one_line(call, capsys, words, line):
    assert call(*words) == BAD_CONFIG
    error = capsys.readouterr().err
    assert error.startswith(line), error
    assert error.count("\n") == 1
