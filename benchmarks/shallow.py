"""A local-entropy curve of a committee machine on 500 images takes less than a minute of one core.

Nine units on 784 inputs, trained by slow SGD without errors on two classes of Fashion-MNIST; the curve has ten
distances. By sampling: CPU seconds of a curve, and the largest standard error of log P_t over log P_t itself. By
message passing: one iteration against its bare matrix products (AMP: with F and its square; EP: one LU factorisation a
unit, of a P x P matrix, and its inverse times another). AMP K x K takes more nodes the more its units are correlated:
it is also timed around a teacher of as many Gaussian patterns, near it and far out.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import measure
import numpy as np
from scipy.linalg import lu_factor, lu_solve

from sacreddnn.shallow import amp, amp_matrix, descent, expectation_propagation, message_passing, patterns
from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.curve import local_entropy_curve
from sacreddnn.shallow.relaxation import Growth

T = 0.9


def network(toy: bool) -> tuple[Array, Array, Array]:
    """Weights, patterns, labels; a restart without errors, or with the fewest."""
    num_units, num_train, name = (3, 40, "synthetic") if toy else (9, 500, "fashion_mnist")
    classes = (0, 1) if toy else ("Dress", "Coat")
    x, y = patterns.images(name, classes, num_train, 0).train
    schedule = descent.Schedule(
        20 if toy else 400, 25, Growth(30.0, 3.0), Growth(0.5, 10.0), Growth(0.1, 100.0), finish=200
    )
    found = descent.replicated_sgd(x, y, schedule, num_units=num_units, num_restarts=8)
    print(f"training errors of the restarts: {found.num_errors}", flush=True)
    return found.weights[int(np.argmin(found.num_errors))], x, y


def far(engine: message_passing.Engine, ts: tuple[float, ...]) -> message_passing.State:
    """Messages near the fixed point at the last of the t, after the ones before."""
    state = engine.start(ts[0])
    for t in ts:
        state, _ = message_passing.iterate(engine, t, state, 0.8, 100, 1e-4)
    return state


def iterations(w: Array, x: Array, y: Array) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """By engine: an iteration, and its bare products."""
    F = y[:, None] * x / np.sqrt(w.shape[1])
    F2, gram, (K, N), P = F**2, F @ F.T, w.shape, len(F)
    columns, rows = np.ones((P, K)), np.ones((K, N))
    squares, covariances = np.ones((N, K * K)), np.ones((P, K * K))
    shifted = np.eye(P) + 0.1 * gram

    def products() -> None:
        F2 @ rows.T, F @ rows.T, columns.T @ F2, columns.T @ F

    def wide_products() -> None:
        F2 @ squares, F @ rows.T, F2.T @ covariances, F.T @ columns

    def factorisations() -> None:
        for _ in range(K):
            lu_solve(lu_factor(shifted, check_finite=False), gram, check_finite=False)

    made = {}
    for name, engine, bare in (
        ("AMP", amp.ScalarAmp(w, F), products),
        ("AMP K x K", amp_matrix.MatrixAmp(w, F), wide_products),
        ("EP", expectation_propagation.ExpectationPropagation(w, F), factorisations),
    ):
        state = engine.start(T)
        for _ in range(3):
            state, _ = engine.step(T, state, 0.9)
        made[name] = (lambda engine=engine, state=state: engine.step(T, state, 0.9), bare)
    made |= {f"AMP K x K, teacher, t = {t}": (step, wide_products) for t, step in teacher(K, N, P).items()}
    return made


def teacher(num_units: int, num_inputs: int, num_patterns: int) -> dict[float, Callable[[], object]]:
    """An iteration of AMP K x K around a teacher, by t."""
    data, w = patterns.teacher_student(num_inputs, num_patterns, num_units, num_test=2)
    x, y = data.train
    engine = amp_matrix.MatrixAmp(w, y[:, None] * x / np.sqrt(num_inputs))
    near, out = far(engine, (0.99, 0.95, T)), far(engine, (0.99, 0.95, T, 0.8, 0.6))
    return {T: lambda: engine.step(T, near, 0.9), 0.6: lambda: engine.step(0.6, out, 0.9)}


def main() -> None:
    bench = measure.start(__doc__, "shallow")
    w, x, y = network(bench.toy)
    options = {"num_direct": 2000, "num_sweeps": 10} if bench.toy else {}
    local_entropy_curve(w, x, y, ts=(0.99, 0.95), num_direct=1000, num_sweeps=4, burn_in=4)  # compiles
    seconds, errors = [], []
    for seed in range(bench.repeats(3)):
        start = time.process_time()
        curve = local_entropy_curve(w, x, y, seed=seed, **options)
        seconds.append(time.process_time() - start)
        with np.errstate(divide="ignore", invalid="ignore"):
            errors.append(float(np.nanmax(100 * curve.log_p_error / np.abs(curve.log_p))))
        print(f"converged: {curve.converged.sum()} of {len(curve.converged)}", flush=True)
    bench.row("sampling: CPU time of a curve of ten distances", seconds, "s", at_most=60)
    bench.row("sampling: largest standard error of log P_t, relative", errors, "%", at_most=5)
    for name, (iteration, bare) in iterations(w, x, y).items():
        times = bench.in_turn({"iteration": iteration, "bare": bare}, repeats=3 if name == "EP" else 9)
        bench.ratio(f"{name}: iteration / its matrix products", times["iteration"], times["bare"], at_most=3)
    bench.finish()


if __name__ == "__main__":
    main()
