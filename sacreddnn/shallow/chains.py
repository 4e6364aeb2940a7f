r"""Markov chains on the Gaussian z given that w = t w~ + s z makes no more errors than allowed: compiled inner loops.

Only the projections u = z F^T on the P patterns matter (F: label times pattern over sqrt(N), one row a pattern), so
they are the state, shape (K, P): N(0, G) with G = F F^T before any condition. A sweep takes one unit after another.
With a fresh p ~ N(0, G) unit k moves on the ellipse u cos(a) + p sin(a), on which its stability of a pattern is

    t F w~_k + s (u cos a + p sin a)

so that the angles where votes change are known in closed form. Only patterns for which unit k is pivotal matter there:
the votes on all others are decided by the other units.

ess   linear elliptical slice sampling (Gessner et al. 2020, arXiv 1910.09328): the angle is drawn uniformly from the
      arcs with few enough errors. Any number of allowed errors.
hmc   exact Hamiltonian Monte Carlo with reflections (Pakman and Paninski 2014, arXiv 1208.4118): a quarter turn, in
      which unit k bounces off the walls of its pivotal patterns, p <- p - 2 p_mu / G_mumu G_mu. No errors allowed.

Both leave the law invariant and share nothing but the geometry: each is the other's test.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit

TWO_PI = 2 * math.pi
MOST_BOUNCES = 100_000  # of a unit in one move; a move with more is rejected, as its reverse would be


@njit(cache=True)
def num_errors(u, base, t):
    """Number of errors of t w~ + s z: base = w~ F^T and u = z F^T, both (K, P)."""
    num_units, num_patterns = u.shape
    s, wrong = math.sqrt(1 - t * t), 0
    for mu in range(num_patterns):
        votes = 0
        for k in range(num_units):
            votes += t * base[k, mu] + s * u[k, mu] > 0
        wrong += votes <= num_units // 2
    return wrong


@njit(cache=True)
def errors_of(us, base, ts):
    """Number of errors of the states (n, K, P) at each t, shape (n, len(ts))."""
    found = np.empty((len(us), len(ts)), np.int32)
    for i in range(len(us)):
        for j in range(len(ts)):
            found[i, j] = num_errors(us[i], base, ts[j])
    return found


@njit(cache=True)
def uniform_angle(u, p, drift, s, pivotal, wrong, allowed):
    """An angle uniform on the arcs of the ellipse with at most `allowed` errors; `wrong` are wrong at every angle."""
    angles = np.empty(2 * len(pivotal))
    changes = np.empty(2 * len(pivotal), np.int64)
    num_events, now = 0, wrong
    for mu in pivotal:
        radius = s * math.sqrt(u[mu] ** 2 + p[mu] ** 2)
        if drift[mu] >= radius:
            continue
        if drift[mu] <= -radius:
            now += 1
            continue
        # right where cos(angle - phase) > -drift / radius
        phase, half = math.atan2(p[mu], u[mu]), math.acos(-drift[mu] / radius)
        leave, enter = (phase + half) % TWO_PI, (phase - half) % TWO_PI
        angles[num_events], changes[num_events] = leave, 1
        angles[num_events + 1], changes[num_events + 1] = enter, -1
        num_events += 2
        now += leave > enter  # wrong at angle 0
    order = np.argsort(angles[:num_events])
    total, last, errors = 0.0, 0.0, now
    for i in order:
        if errors <= allowed:
            total += angles[i] - last
        errors += changes[i]
        last = angles[i]
    if errors <= allowed:
        total += TWO_PI - last
    target = np.random.random() * total
    last, errors = 0.0, now
    for i in order:
        if errors <= allowed:
            if target < angles[i] - last:
                return last + target
            target -= angles[i] - last
        errors += changes[i]
        last = angles[i]
    return last + target if errors <= allowed else 0.0


@njit(cache=True)
def quarter_turn(u, p, drift, s, pivotal, gram):
    """Follow the ellipse for a quarter turn with reflections, u and p in place; False if there were too many."""
    left, last_hit = math.pi / 2, -1
    for _ in range(MOST_BOUNCES):
        first, hit = left, -1
        for mu in pivotal:
            square = s * s * (u[mu] ** 2 + p[mu] ** 2)
            if drift[mu] > 0 and drift[mu] * drift[mu] >= square:
                continue
            half = math.acos(min(1.0, -drift[mu] / math.sqrt(square)))
            angle = (math.atan2(p[mu], u[mu]) + half) % TWO_PI
            if angle < first and not (mu == last_hit and angle < 1e-9):  # not the wall just left
                first, hit = angle, mu
        c, d = math.cos(first), math.sin(first)
        for mu in range(len(u)):
            u[mu], p[mu] = u[mu] * c + p[mu] * d, p[mu] * c - u[mu] * d
        left -= first
        if hit < 0:
            return True
        bounce = -2 * p[hit] / gram[hit, hit]
        for mu in range(len(u)):
            p[mu] += bounce * gram[hit, mu]
        last_hit = hit
    return False


@njit(cache=True)
def sweep(u, drift, s, root, gram, allowed, use_hmc):
    """One sweep over the units, in place.

    Args:
        u: shape (K, P), a state with at most `allowed` errors.
        drift: t w~ F^T, shape (K, P).
        s: sqrt(1 - t^2).
        root: shape (P, R), root root^T = gram.
        gram: F F^T.
        allowed: number of errors; 0 for hmc.
        use_hmc: hmc instead of ess.
    """
    num_units, num_patterns = u.shape
    fresh = np.random.standard_normal((num_units, root.shape[1])) @ root.T
    votes = np.zeros(num_patterns, np.int64)
    for k in range(num_units):
        for mu in range(num_patterns):
            votes[mu] += drift[k, mu] + s * u[k, mu] > 0
    pivotal = np.empty(num_patterns, np.int64)
    for k in range(num_units):
        count, wrong = 0, 0
        for mu in range(num_patterns):
            votes[mu] -= drift[k, mu] + s * u[k, mu] > 0
            if votes[mu] == num_units // 2:
                pivotal[count] = mu
                count += 1
            elif votes[mu] < num_units // 2:
                wrong += 1
        p = fresh[k]
        if use_hmc:
            before = u[k].copy()
            if not quarter_turn(u[k], p, drift[k], s, pivotal[:count], gram):
                u[k] = before
        else:
            angle = uniform_angle(u[k], p, drift[k], s, pivotal[:count], wrong, allowed)
            u[k] = u[k] * math.cos(angle) + p * math.sin(angle)
        for mu in range(num_patterns):
            votes[mu] += drift[k, mu] + s * u[k, mu] > 0


@njit(cache=True)
def run(u, base, overlap, t, ts, root, gram, allowed, use_hmc, num_sweeps, seed):
    """A chain at t, in place; it ends with its last state that is a solution at ts[-1] too, if there was one.

    Args:
        u: shape (K, P), a solution at t.
        base: w~ F^T, shape (K, P).
        overlap: shape (K, P): sum(overlap * u) is the mean of w~ . z given u.
        t: of the law.
        ts: other t at which the states are tried, shape (n,).
        root: see `sweep`.
        gram: ..
        allowed: ..
        use_hmc: ..
        num_sweeps: length.
        seed: of the generator of the compiled code.

    Returns:
        solved: whether each state is a solution at each of ts, (num_sweeps, n).
        overlaps: sum(overlap * u) of each state.
    """
    np.random.seed(seed)
    s, drift = math.sqrt(1 - t * t), t * base
    tried = np.zeros((num_sweeps, len(ts)), np.bool_)
    overlaps = np.empty(num_sweeps)
    kept = u.copy()
    for step in range(num_sweeps):
        sweep(u, drift, s, root, gram, allowed, use_hmc)
        for j in range(len(ts)):
            tried[step, j] = num_errors(u, base, ts[j]) <= allowed
        if tried[step, -1]:
            kept[:] = u
        overlaps[step] = (overlap * u).sum()
    u[:] = kept
    return tried, overlaps
