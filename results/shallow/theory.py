"""Replica theory beside single networks, and what focusing belief propagation solves: the numbers of docs/shallow.md.

    python results/shallow/theory.py        # less than a minute on one core

It writes theory.png, theory.pdf, theory.csv and theory.md beside this file.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pandas as pd

from sacreddnn.report import figures
from sacreddnn.report.shallow_theory_figure import COLUMNS, theory_figure
from sacreddnn.shallow import amp, binary, committee, focusing, message_passing, mixture, patterns, protocols, theory
from sacreddnn.shallow.binary_messages import EXACT_UP_TO
from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.curve import local_entropy_curve
from sacreddnn.tracking import provenance

HERE = Path(__file__).parent
ALPHA = 0.5  # of the perceptron
INPUTS, INSTANCES, TS = 1000, 5, (0.97, 0.9, 0.8, 0.65, 0.5)
SAMPLED_INPUTS, SAMPLED_TS = 400, (0.95, 0.85, 0.75)
LOADS, DELTA, SIGMA, LAMBDAS, CLOUDS, RUNS = (0.7, 2.0), 1.0, 0.5, (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), 800, 8
RHOS = np.linspace(0, 0.98, 50)
Row = tuple[str, str, str, float, float, float]


def bayes_point(x: Array, y: Array) -> Array:
    """The mean of all solutions of a perceptron, by AMP without a reference."""
    engine = amp.ScalarAmp(np.ones((1, x.shape[1])), y[:, None] * x / math.sqrt(x.shape[1]))
    state, change = message_passing.iterate(engine, 1e-9, engine.start(1e-9), 0.2, 2000, 1e-8)
    if not change < 1e-8:
        raise RuntimeError(f"the Bayes point did not converge: a message changes by {change:.1e}")
    return committee.normalized(state.m)


def mean(values: Array) -> tuple[Array, Array]:
    """Over the first dimension, with its standard error."""
    return values.mean(0), values.std(0, ddof=1) / math.sqrt(len(values))


def entropies() -> list[Row]:
    """Phi of the perceptron: theory, AMP on instances, sampling on one."""
    rows: list[Row] = []
    for name, reference in (("typical", "teacher"), ("bayes_point", "bayes")):
        for d in np.linspace(0.005, 0.6, 60):
            rows.append(("local_entropy", name, "theory", d, theory.local_entropy(d, ALPHA, reference), 0.0))
    found: dict[str, list[Array]] = {"typical": [], "bayes_point": []}
    for seed in range(INSTANCES):
        student, teacher = patterns.teacher_student(INPUTS, round(ALPHA * INPUTS), seed=seed, num_test=2)
        x, y = student.train
        for name, weights in (("typical", teacher), ("bayes_point", bayes_point(x, y))):
            curve = local_entropy_curve(weights, x, y, ts=TS, method="amp")
            found[name].append(np.where(curve.converged, [curve.d, curve.phi], np.nan))
    for name, curves in found.items():
        (d, phi), (_, error) = mean(np.array(curves))
        rows += [("local_entropy", name, "amp", *one) for one in zip(d, phi, error, strict=True) if one[1] == one[1]]
    student, teacher = patterns.teacher_student(SAMPLED_INPUTS, round(ALPHA * SAMPLED_INPUTS), seed=2, num_test=2)
    x, y = student.train
    for name, weights in (("typical", teacher), ("bayes_point", bayes_point(x, y))):
        curve = local_entropy_curve(weights, x, y, ts=SAMPLED_TS, num_chains=4, num_sweeps=40)
        kept = zip(curve.d, curve.phi, curve.error, curve.converged, strict=True)
        rows += [("local_entropy", name, "sampling", d, phi, error) for d, phi, error, ok in kept if ok]
    return rows


def clouds() -> list[Row]:
    """Ridge and the Bayes-optimal rule on the Gaussian mixture: theory, and learned on sampled clouds."""
    rows: list[Row] = []
    for load in LOADS:
        name, lambdas = f"alpha={load:g}", np.logspace(-2.3, 1.8, 60)
        rules = [(name, lam, mixture.ridge(load, DELTA, lam)) for lam in lambdas]
        for curve, lam, rule in [*rules, (f"{name} bayes", math.inf, mixture.bayes(load, DELTA))]:
            rows.append(("test_error", curve, "theory", lam, rule.test_error(), 0.0))
            rows.append(("local_energy", curve, "theory", lam, rule.local_energy([SIGMA])[0], 0.0))
        found = np.empty((RUNS, len(LAMBDAS) + 1, 2))
        for seed in range(RUNS):
            x, y, new_x, new_y = mixture.sample(CLOUDS, round(load * CLOUDS), DELTA, num_test=4000, seed=seed)
            for i in range(len(LAMBDAS) + 1):
                ridge = i < len(LAMBDAS)
                w, b = mixture.fit_ridge(x, y, LAMBDAS[i]) if ridge else mixture.fit_bayes(x, y, DELTA)
                energy = mixture.error(w, b, x, y, SIGMA) - mixture.error(w, b, x, y)
                found[seed, i] = mixture.error(w, b, new_x, new_y), energy
        average, error = mean(found)
        for i, lam in enumerate((*LAMBDAS, math.inf)):
            for j, panel in enumerate(("test_error", "local_energy")):
                curve = name if lam < math.inf else f"{name} bayes"
                rows.append((panel, curve, "sample", lam, average[i, j], error[i, j]))
    return rows


def solvers() -> list[str]:
    """A table: which random perceptrons and committees focusing solves, by protocol."""
    named = {
        "standard reinforcement": (protocols.standard_reinforcement(RHOS), 5),
        "pseudo-reinforcement": (protocols.pseudo_reinforcement(RHOS), 20),
        "scoping, y = 10": (protocols.scoping(np.linspace(0, 2.5, 26), 10), 20),
        "free scoping, y = 5 then 20": (protocols.free_scoping([(g, y) for y in (5, 20) for g in RHOS[1::4] * 2]), 20),
    }
    cases = ((1, 201, 0.3), (1, 201, 0.5), (1, 201, 0.65), (3, 67, 0.3))
    lines = ["| protocol | " + " | ".join(f"K = {k}, N = {n}, P = {round(a * n * k)}" for k, n, a in cases) + " |"]
    lines.append("|---" * (len(cases) + 1) + "|")
    for name, (protocol, iterations) in named.items():
        cells = []
        for k, n, load in cases:
            runs = []
            for seed in range(5):
                x, y = patterns.random(n, round(load * n * k), seed=seed)
                options = {"damping": 0.8, "scale": 0.1} if k > 1 else {}
                runs.append(focusing.focusing_bp(
                    x, y, protocol, num_units=k, max_iterations=iterations, seed=seed, **options
                ))  # fmt: skip
            did = sum(run.solved for run in runs)
            steps = np.mean([sum(step.iterations for step in run.steps) for run in runs])
            cells.append(f"{did} of 5, {steps:.0f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def enumerated(w: Array, x: Array, y: Array, gammas: Array) -> Array:
    """Log Z of a perceptron with weights +-1, over all of them."""
    num_inputs = x.shape[1]
    bits = np.arange(2**num_inputs)[:, None] >> np.arange(num_inputs) & 1
    signs = (1 - 2 * bits).astype(np.float32)
    good = (signs @ (y[:, None] * x).T.astype(np.float32) > 0).all(1)
    overlaps, number = np.unique(signs[good] @ w[0].astype(np.float32), return_counts=True)
    return np.log(np.exp(np.outer(gammas, overlaps.astype(float))) @ number)


def counts() -> list[str]:
    """A table: how much belief propagation vouches for around a teacher with weights +-1, and how right it is."""
    gammas = np.linspace(0, 2, 11)
    lines = [
        "| K | N | P | pattern by | vouched for | frozen | mean error of log Z/(KN) | its largest |",
        "|---" * 8 + "|",
    ]
    for k, n, p in ((1, 19, 5), (1, 19, 9), (1, 51, 15), (1, 51, 35), (1, 201, 60), (1, 201, 140), (3, 51, 45)):
        for factor in ("exact", "gaussian") if n <= EXACT_UP_TO else ("gaussian",):
            curves, wrong = [], []
            for seed in range(5):
                generator = np.random.default_rng(seed)
                w = generator.choice((-1.0, 1.0), (k, n))
                x, _ = patterns.random(n, p, seed=seed)
                y = np.where((x @ w.T > 0).sum(1) > k // 2, 1.0, -1.0)
                curve = binary.entropy_curve(w, x, y, gammas=gammas, factor=factor, max_iterations=200)
                curves.append(curve)
                if n < 20:
                    wrong += list((np.abs(curve.log_z - enumerated(w, x, y, gammas)) / n)[curve.converged])
            good, frozen = (sum(int(getattr(c, what).sum()) for c in curves) for what in ("converged", "frozen"))
            error = [f"{np.mean(wrong):.4f}", f"{max(wrong):.4f}"] if wrong else ["", ""]
            cells = [str(k), str(n), str(p), factor, f"{good} of {5 * len(gammas)}", str(frozen), *error]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Write the figure, its numbers, and the tables."""
    start = time.process_time()
    points = pd.DataFrame([*entropies(), *clouds()], columns=list(COLUMNS))
    figures.save(theory_figure(points), HERE / "theory")
    points.to_csv(HERE / "theory.csv", index=False, float_format="%.6g")
    about = provenance.git(HERE)[0]
    commit = about.get("commit", "unknown")[:12] + (" with changes" if about.get("dirty") else "")
    lines = ["# Theory of shallow networks, binary weights", ""]
    lines += [f"Made by `python results/shallow/theory.py` at commit {commit}.", "", "![theory](theory.png)", ""]
    lines += ["## Solved by focusing belief propagation", ""]
    lines += ["Random labels; runs solved, and iterations on the average.", "", *solvers(), ""]
    lines += ["## Solutions around a teacher with weights ±1, by belief propagation", "", "Eleven γ from 0 to 2, five "
              "instances; errors against enumeration, of what is vouched for.", "", *counts(), ""]  # fmt: skip
    print(f"{time.process_time() - start:.0f} CPU seconds")
    (HERE / "theory.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
