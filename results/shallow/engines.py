"""What the engines of the local entropy give beside each other, and where they vouch for it.

    python results/shallow/engines.py        # about five minutes on one core; writes engines.md beside this file

Three networks without training errors: a committee trained by slow SGD on 500 images of Fashion-MNIST, a perceptron
that is the teacher of Gaussian patterns, and a committee that is.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from sacreddnn.shallow import descent, patterns, theory
from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.curve import LocalEntropyCurve, local_entropy_curve
from sacreddnn.shallow.relaxation import Growth
from sacreddnn.tracking import provenance

TS = (0.99, 0.95, 0.9, 0.8, 0.7, 0.6)
SLOW = descent.Schedule(400, 25, Growth(30.0, 3.0), Growth(0.5, 10.0), Growth(0.1, 100.0), finish=200)
ENGINES = {
    "EP": {"method": "ep", "max_iterations": 60},
    "AMP": {"method": "amp", "max_iterations": 500},
    "AMP K x K": {"method": "amp", "correlated": True, "max_iterations": 150},
}


def on_images() -> tuple[Array, Array, Array]:
    """A committee of nine units on 500 images."""
    x, y = patterns.images(num_train=500, num_validation=0).train
    found = descent.replicated_sgd(x, y, SLOW, num_units=9, num_restarts=10)
    return found.weights[found.num_errors.index(0)], x, y


def teacher(num_units: int, num_inputs: int, num_patterns: int) -> tuple[Array, Array, Array]:
    """A network and the patterns it taught."""
    student, weights = patterns.teacher_student(num_inputs, num_patterns, num_units, num_test=2)
    return weights, *student.train


def cell(curve: LocalEntropyCurve, i: int) -> str:
    """Log P_t, or in brackets what does not count as converged with its residual."""
    if curve.converged[i]:
        error = "" if np.isnan(curve.log_p_error[i]) else f" ± {curve.log_p_error[i]:.2f}"
        return f"{curve.log_p[i]:.2f}{error}"
    return "none" if np.isnan(curve.log_p[i]) else f"({curve.log_p[i]:.2f}; {curve.residual[i]:.1g})"


def section(title: str, network: tuple[Array, Array, Array], replica: bool = False) -> list[str]:
    """A table of log P_t."""
    columns, seconds = {}, {}
    for name, options in ({"sampling": {"method": "sampling"}} | ENGINES).items():
        if replica and name == "AMP K x K":
            continue  # the same as AMP for one unit
        start = time.process_time()
        columns[name] = local_entropy_curve(*network, ts=TS, **options)
        seconds[name] = time.process_time() - start
        print(title, name, f"{seconds[name]:.0f} s", flush=True)
    sampled = columns["sampling"]
    alpha = len(network[1]) / network[1].shape[1]
    names = [*columns, *(["replica theory"] if replica else [])]
    lines = ["", f"## {title}", "", "| t | d | KN Phi | R-hat - 1 | " + " | ".join(names) + " |"]
    lines.append("|---" * (len(names) + 4) + "|")
    for i, t in enumerate(TS):
        size = sampled.num_weights
        cells = [f"{t}", f"{sampled.d[i]:.3f}", f"{size * sampled.phi[i]:.2f} ± {size * sampled.error[i]:.2f}"]
        cells += [f"{sampled.residual[i]:.3f}", *(cell(curve, i) for curve in columns.values())]
        if replica:  # log P_t of the same d: the other terms of Phi are the network's
            of_amp = columns["AMP"]
            away = theory.local_entropy(of_amp.d[i], alpha) - of_amp.phi[i]
            cells.append(f"{of_amp.log_p[i] + size * away:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", "CPU seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()) + "."]


def main() -> None:
    """Write engines.md."""
    about = provenance.git(Path(__file__).parent)[0]
    commit = about.get("commit", "unknown")[:12] + (" with changes" if about.get("dirty") else "")
    lines = ["# log P_t by engine", "", f"Made by `python results/shallow/engines.py` at commit {commit}. In brackets "]
    lines[-1] += "what an engine does not vouch for, with its residual; none where it was not tried, as the point "
    lines[-1] += "before did not converge."
    lines += section("500 images of Dress and Coat, K = 9, N = 784, trained by slow SGD", on_images())
    lines += section("Gaussian patterns of a teacher, K = 1, N = 400, P = 200", teacher(1, 400, 200), replica=True)
    lines += section("Gaussian patterns of a teacher, K = 3, N = 300, P = 100", teacher(3, 300, 100))
    Path(__file__).with_name("engines.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
