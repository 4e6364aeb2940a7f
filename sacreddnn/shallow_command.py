"""Shallow networks as a recorded command: trained by several algorithms, then their flatness and test error.

python scripts/shallow.py with figure1            # the paper's Figure 1, hours
python scripts/shallow.py with figure1_preview    # the same with few restarts, minutes
python scripts/shallow.py with resume=7           # go on with a run that was stopped

Every network and every curve is a file in the run's artifacts/, written as soon as it is there: what a run that is
stopped at any moment has finished, its resumption does not do again.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacreddnn import command
from sacreddnn.command import Command, Draw, Result
from sacreddnn.shallow_config import GrowthConfig, ShallowConfig, SolverConfig
from sacreddnn.tracking.plain import write_atomic
from sacreddnn.tracking.recorder import Recorder

if TYPE_CHECKING:
    from sacreddnn.shallow.committee import Array
    from sacreddnn.shallow.patterns import Patterns
    from sacreddnn.shallow.relaxation import Growth

FOLDERS = ("shallow", "tracking")
KEPT = ("t", "d", "phi", "error", "log_p", "log_p_error", "residual", "converged")  # of a curve


def main(argv: list[str] | None = None, draw: Draw | None = None) -> int:
    """Run the command line, as sys.argv; returns the exit status (see command.py)."""
    return command.run(Command("shallow", ShallowConfig, FOLDERS, execute, summary, preflight, draw=draw), argv)


def preflight(config: ShallowConfig) -> None:
    """Refuse a config that names no algorithm."""
    from sacreddnn.schema import ConfigError

    if not config.solvers:
        raise ConfigError("solvers: none is given; the YAML files in configs/shallow/ have them: with figure1_preview")


def execute(config: ShallowConfig, recorder: Recorder) -> Result:
    """Train, measure; artifacts/shallow.json holds what is drawn."""
    import torch

    from sacreddnn.shallow import patterns
    from sacreddnn.training.allocator import keep_freed_memory
    from sacreddnn.training.interrupt import StopRequest

    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    keep_freed_memory()
    artifacts = recorder.folder / "artifacts"
    (artifacts / "curves").mkdir(parents=True, exist_ok=True)
    with StopRequest():
        data = patterns.images(
            config.patterns.name, (config.patterns.classes[0], config.patterns.classes[1]), config.patterns.num_train,
            config.patterns.num_validation, root=config.patterns.root, seed=config.seed,
        )  # fmt: skip
        result: Result = {}
        solvers: dict[str, Any] = {}
        for name, solver in config.solvers.items():
            weights, about = _trained(name, solver, config, data, artifacts)
            solvers[name] = about | _measured(weights, config, data)
            for quantity in ("validation_error", "test_error"):
                for restart, value in enumerate(solvers[name].get(quantity, ())):
                    recorder.log(f"{quantity.split('_')[0]}/{name}/error", value, step=restart)
            result |= _means(name, solvers[name])
            recorder.result(result)
        # one restart of every algorithm before the next of any: a run that is cut short still compares them
        for restart in range(config.curve.restarts):
            for name in config.solvers:
                solvers[name].setdefault("curves", []).append(
                    _curve("sampling", name, restart, config, data, artifacts)
                )
        for restart in range(config.curve.amp_restarts):
            for name in config.solvers:
                solvers[name].setdefault("amp", []).append(_curve("amp", name, restart, config, data, artifacts))
        kept = {"sigmas": config.sigmas, "solvers": solvers, "num_units": config.num_units, "seed": config.seed,
                "patterns": config.patterns.model_dump(), "num_inputs": data.num_inputs, "out": config.out}  # fmt: skip
        write_atomic(artifacts / "shallow.json", json.dumps(kept))
        recorder.artifact(artifacts / "shallow.json")
    return result


def summary(config: ShallowConfig, result: Result) -> str:
    """The test errors in a line."""
    kind = "test" if config.test else "validation"
    return ", ".join(f"{name} {result[f'{name}/{kind}_error']:.2f} %" for name in config.solvers) + f" {kind} error"


def _trained(
    name: str, solver: SolverConfig, config: ShallowConfig, data: Patterns, artifacts: Path
) -> tuple[Array, dict[str, Any]]:
    """The networks of one algorithm, from its file if there is one; and what training says of itself."""
    import numpy as np

    from sacreddnn.data.seeds import derive_seed
    from sacreddnn.shallow import descent

    path, about = artifacts / f"{name}.npy", artifacts / f"{name}.json"
    if not about.exists():
        start = time.perf_counter()
        schedule = descent.Schedule(
            solver.epochs,
            solver.batch_size,
            _growth(solver.lr),
            _growth(solver.beta),
            _growth(solver.omega),
            solver.finish,
        )
        # every algorithm has random numbers of its own
        common: dict[str, Any] = {"num_units": config.num_units, "num_restarts": config.restarts,
                                  "seed": derive_seed(config.seed, name)}  # fmt: skip
        if solver.algorithm == "esgd":
            trained = descent.entropy_sgd(
                *data.train, schedule, coupling=_growth(solver.coupling), inner_steps=solver.inner_steps,
                averaging=solver.averaging, noise=solver.noise, **common,
            )  # fmt: skip
        else:
            trained = descent.replicated_sgd(
                *data.train, schedule, replicas=solver.replicas, coupling=_growth(solver.coupling), **common
            )
        aside = path.with_suffix(".tmp.npy")
        np.save(aside, trained.weights)
        aside.replace(path)
        write_atomic(about, json.dumps({
            "seconds": round(time.perf_counter() - start, 1), "gradient_evaluations": trained.gradient_evaluations,
            "num_errors": trained.num_errors, "spread": trained.spread,
        }))  # fmt: skip
    weights: Array = np.load(path, allow_pickle=False)
    values: dict[str, Any] = json.loads(about.read_text())
    return weights, values


def _growth(config: GrowthConfig) -> Growth:
    from sacreddnn.shallow.relaxation import Growth

    return Growth(config.first, config.last)


def _measured(weights: Array, config: ShallowConfig, data: Patterns) -> dict[str, Any]:
    """Errors in percent and local energies in points, of every network."""
    from sacreddnn.shallow import committee

    parts = {"train": data.train, "validation": data.validation} | ({"test": data.test} if config.test else {})
    errors = {
        f"{part}_error": [committee.error(w, *patterns) for w in weights]
        for part, patterns in parts.items()
        if len(patterns[1])
    }
    return errors | {"local_energy": [committee.local_energy(w, *data.train, config.sigmas).tolist() for w in weights]}


def _curve(
    method: str, name: str, restart: int, config: ShallowConfig, data: Patterns, artifacts: Path
) -> dict[str, Any]:
    """The local-entropy curve of one network, from its file if there is one; `failed` where there is none."""
    import numpy as np

    from sacreddnn.shallow.curve import local_entropy_curve

    path = artifacts / "curves" / f"{method}-{name}-{restart}.json"
    if not path.exists():
        weights = np.load(artifacts / f"{name}.npy", allow_pickle=False)[restart]
        of = config.curve
        options: dict[str, Any] = {} if method != "sampling" else {
            "num_chains": of.num_chains, "num_sweeps": of.num_sweeps, "burn_in": of.burn_in,
            "num_direct": of.num_direct, "seed": restart,
        }  # fmt: skip
        start = time.process_time()
        try:
            curve = local_entropy_curve(weights, *data.train, ts=of.ts, method=method, **options)
            found: dict[str, Any] = {key: np.asarray(getattr(curve, key)).tolist() for key in KEPT}
        except ValueError as error:  # of this network: the others still have theirs
            found = {"failed": str(error)}
        write_atomic(path, json.dumps(found | {"cpu_seconds": round(time.process_time() - start, 1)}))
        print(f"{method} {name} {restart}: {time.process_time() - start:.0f} s", flush=True)
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def _means(name: str, values: dict[str, Any]) -> Result:
    """Mean over restarts and its standard error."""
    import numpy as np

    found: Result = {f"{name}/gradient_evaluations": values["gradient_evaluations"]}
    for key in ("train_error", "validation_error", "test_error"):
        if key in values:
            of = np.array(values[key])
            found[f"{name}/{key}"] = float(of.mean())
            if len(of) > 1:
                found[f"{name}/{key}_se"] = float(of.std(ddof=1) / len(of) ** 0.5)
    found[f"{name}/unsolved"] = int(np.count_nonzero(values["num_errors"]))
    return found
