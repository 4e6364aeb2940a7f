"""Recorded runs made by hand, shared by the tests of the report."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import pandas as pd

SIGMAS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


@dataclass(frozen=True)
class Run:
    """What the report reads of a run."""

    run_id: int
    status: str = "COMPLETED"
    config: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    metrics: pd.DataFrame = field(default_factory=lambda: points({}))
    start_time: datetime = datetime(2025, 1, 1)
    uuid: str = field(default_factory=lambda: uuid4().hex)


def points(curves: dict[str, list[tuple[int, float, int | None]]]) -> pd.DataFrame:
    """Metrics from (step, value, gradient evaluations) by name."""
    rows = [(name, step, value, evals) for name, curve in curves.items() for step, value, evals in curve]
    frame = pd.DataFrame(rows, columns=["name", "step", "value", "gradient_evaluations"])
    frame["gradient_evaluations"] = frame["gradient_evaluations"].astype("Int64")
    frame["time"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(range(len(frame)), unit="s")
    return frame


def profile(scale: float = 1.0, se: float = 0.1, **changes: Any) -> dict[str, Any]:
    """A local-energy profile: scale * 100 sigma^2 points."""
    error = [round(scale * 100 * sigma**2, 6) for sigma in SIGMAS]
    return {
        "sigmas": SIGMAS, "num_samples": 5, "split": "train", "view": "clean", "batch_norm": "none",
        "num_examples": 5000,
        "error": error, "error_se": [se * (sigma > 0) for sigma in SIGMAS],
        "loss": [value / 20 for value in error], "loss_se": [se / 20 for _ in SIGMAS],
    } | changes  # fmt: skip


def run(
    run_id: int,
    algorithm: str = "sgd",
    seed: int = 0,
    test: float = 9.0,
    *,
    scale: float = 1.0,
    epochs: int = 6,
    **options: Any,
) -> Run:
    """A complete run whose test error falls like 1 / epoch to `test`."""
    evals = [468 * epoch for epoch in range(1, epochs + 1)]
    curve = [
        (epoch, test + 8 * (1 / epoch - 1 / epochs) + 0.2 * math.sin(5 * epoch + run_id) * (epoch < epochs), n)
        for epoch, n in enumerate(evals, 1)
    ]
    return Run(
        run_id,
        config={
            "seed": seed,
            "algorithm": {"name": algorithm, **options},
            "dataset": {"name": "fashion_mnist", "root": "data"},
            "model": {"name": "lenet"},
            "training": {"lr": 0.05, "batch_size": 128},
        },
        result={
            "test/center/error": test, "train/center/error": test - 4.0, "gradient_evaluations": evals[-1],
            "train_seconds": 51.25 + run_id, "measure_seconds": 12.5,
        },
        info={"local_energy": profile(scale)},
        metrics=points({"test/center/error": curve}),
    )  # fmt: skip


def changed(record: Run, **changes: Any) -> Run:
    """The run with other fields."""
    return replace(record, **changes)


def demo() -> list[Run]:
    """One run of each algorithm of the demo."""
    return [
        run(1, "sgd", test=9.84, scale=1.4),
        run(2, "esgd", test=9.41, scale=0.9),
        run(3, "rsgd", test=9.12, scale=0.7),
    ]


def seeded(num_seeds: int = 3) -> list[Run]:
    """Five algorithms, several seeds each."""
    kinds = [("sgd", 9.8, 1.4, {}), ("esgd", 9.4, 0.9, {}), ("rsgd", 9.15, 0.7, {}), ("sam", 9.0, 0.6, {}),
             ("rsgd", 8.6, 0.65, {"budget": "per_replica", "replicas": 3})]  # fmt: skip
    return [
        run(10 * k + seed, name, seed, test + 0.12 * math.sin(7 * seed + k),
            scale=scale * (1 + 0.05 * math.cos(9 * seed + k)), epochs=18 if options else 6, **options)
        for k, (name, test, scale, options) in enumerate(kinds)
        for seed in range(num_seeds)
    ]  # fmt: skip
