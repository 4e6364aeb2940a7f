r"""Exact sampling of z ~ N(0, 1) given that w = t w~ + s z makes no more errors than allowed: compiled inner loops.

Everything happens unit by unit, on the ellipse z_k cos(a) + v sin(a), v ~ N(0, 1) fresh. On it every stability of
unit k is t A + s (u cos a + p sin a), u and p the projections of z_k and v on the patterns F, so that the angles where
a vote changes sign are known in closed form. Only patterns for which unit k is pivotal matter, where the votes of the
others are tied.

ess   (linear elliptical slice sampling, Gessner et al. 2020, arXiv 1910.09328) draws the next angle uniformly from the
      arcs with few enough errors. Works for any number of allowed errors.
hmc   (exact Hamiltonian Monte Carlo with reflections, Pakman and Paninski 2014, arXiv 1208.4118) follows the ellipse
      for a quarter turn and bounces off the walls: z' = z cos + v sin until pattern mu changes sign, then
      v <- v - 2 (v . F_mu) F_mu / |F_mu|^2. No errors allowed.

Both leave the law invariant and share nothing but the geometry: each is the other's test.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

TWO_PI = 2 * math.pi


@njit(cache=True)
def _pivotal(votes, k, u_k, ta_k, s, num_units, limit):  # type: ignore[no-untyped-def]
    """Patterns for which unit k decides, and how many of the others are wrong whatever it does."""
    num_patterns = votes.shape[0]
    pivotal = np.empty(num_patterns, np.int64)
    count, wrong = 0, 0
    for mu in range(num_patterns):
        others = votes[mu] - (1 if ta_k[mu] + s * u_k[mu] > 0 else 0)
        if others == num_units // 2:
            pivotal[count] = mu
            count += 1
        elif others < num_units // 2:
            wrong += 1
    return pivotal[:count], wrong


@njit(cache=True)
def ess_angle(u_k, p, ta_k, s, pivotal, wrong, allowed):  # type: ignore[no-untyped-def]
    """An angle uniform on the arcs of the ellipse with at most `allowed` errors."""
    starts = np.empty(2 * len(pivotal))
    changes = np.empty(2 * len(pivotal), np.int64)
    events, now = 0, wrong
    for mu in pivotal:
        radius = s * math.sqrt(u_k[mu] ** 2 + p[mu] ** 2)
        if ta_k[mu] >= radius:
            continue
        if ta_k[mu] <= -radius:
            now += 1
            continue
        # right where cos(angle - phase) > -ta/radius
        phase, half = math.atan2(p[mu], u_k[mu]), math.acos(-ta_k[mu] / radius)
        leave, enter = (phase + half) % TWO_PI, (phase - half) % TWO_PI
        starts[events], changes[events] = leave, 1
        starts[events + 1], changes[events + 1] = enter, -1
        events += 2
        now += leave > enter  # wrong at angle 0
    if events == 0:
        return np.random.random() * TWO_PI
    order = np.argsort(starts[:events])
    total, last, errors = 0.0, 0.0, now
    for i in order:
        if errors <= allowed:
            total += starts[i] - last
        errors += changes[i]
        last = starts[i]
    if errors <= allowed:
        total += TWO_PI - last
    target = np.random.random() * total
    last, errors = 0.0, now
    for i in order:
        if errors <= allowed:
            if target < starts[i] - last:
                return last + target
            target -= starts[i] - last
        errors += changes[i]
        last = starts[i]
    return last + target if errors <= allowed else 0.0


@njit(cache=True)
def _hmc_step(u_k, p, ta_k, s, pivotal, gram, coefficients):  # type: ignore[no-untyped-def]
    """Follow the ellipse for a quarter turn with reflections.

    Changes u_k (projections of z) and leaves in `coefficients` what the bounces added to z along the patterns; returns
    the factors of z and v in the new z.
    """
    num_patterns = len(u_k)
    z_z, z_v, v_z, v_v = 1.0, 0.0, 0.0, 1.0  # z = z_z z0 + z_v v0 + .., v = v_z z0 + v_v v0 + ..
    v_coefficients = np.zeros(num_patterns)
    coefficients[:] = 0.0
    left, last_hit = math.pi / 2, -1
    for _ in range(100_000):
        first, hit = left, -1
        for mu in pivotal:
            radius = s * math.sqrt(u_k[mu] ** 2 + p[mu] ** 2)
            if ta_k[mu] >= radius:
                continue
            angle = (math.atan2(p[mu], u_k[mu]) + math.acos(max(-1.0, -ta_k[mu] / radius))) % TWO_PI
            if mu == last_hit and (angle < 1e-9 or angle > TWO_PI - 1e-9):
                continue  # the wall just left
            if angle < first:
                first, hit = angle, mu
        c, d = math.cos(first), math.sin(first)
        for mu in range(num_patterns):
            u, q = u_k[mu], p[mu]
            u_k[mu], p[mu] = u * c + q * d, q * c - u * d
            a, b = coefficients[mu], v_coefficients[mu]
            coefficients[mu], v_coefficients[mu] = a * c + b * d, b * c - a * d
        z_z, v_z = z_z * c + v_z * d, v_z * c - z_z * d
        z_v, v_v = z_v * c + v_v * d, v_v * c - z_v * d
        left -= first
        if hit < 0:
            return z_z, z_v
        bounce = -2 * p[hit] / gram[hit, hit]
        v_coefficients[hit] += bounce
        for mu in range(num_patterns):
            p[mu] += bounce * gram[hit, mu]
        last_hit = hit
    return z_z, z_v


@njit(cache=True)
def seed(number):  # type: ignore[no-untyped-def]
    """Seed the generator of the compiled code."""
    np.random.seed(number)


@njit(cache=True)
def sweep(z, u, ta, s, F, gram, allowed, use_hmc):  # type: ignore[no-untyped-def]
    """One sweep over the units, in place.

    Args:
        z: shape (K, N).
        u: z F^T, shape (K, P), kept in step.
        ta: t w~ F^T, shape (K, P).
        s: sqrt(1 - t^2).
        F: label times pattern over sqrt(N), shape (P, N).
        gram: F F^T.
        allowed: number of errors.
        use_hmc: hmc instead of ess; allowed must be 0.
    """
    num_units, num_inputs = z.shape
    num_patterns = F.shape[0]
    votes = np.zeros(num_patterns, np.int64)
    for k in range(num_units):
        for mu in range(num_patterns):
            votes[mu] += ta[k, mu] + s * u[k, mu] > 0
    coefficients = np.zeros(num_patterns)
    for k in range(num_units):
        pivotal, wrong = _pivotal(votes, k, u[k], ta[k], s, num_units, allowed)
        for mu in range(num_patterns):
            votes[mu] -= ta[k, mu] + s * u[k, mu] > 0
        v = np.random.standard_normal(num_inputs)
        p = F @ v
        if use_hmc:
            a, b = _hmc_step(u[k], p, ta[k], s, pivotal, gram, coefficients)
            z[k] = a * z[k] + b * v + coefficients @ F
        else:
            angle = ess_angle(u[k], p, ta[k], s, pivotal, wrong, allowed)
            c, d = math.cos(angle), math.sin(angle)
            z[k] = c * z[k] + d * v
            u[k] = c * u[k] + d * p
        for mu in range(num_patterns):
            votes[mu] += ta[k, mu] + s * u[k, mu] > 0


@njit(cache=True)
def errors_at(u, base, t, s):  # type: ignore[no-untyped-def]
    """Number of errors of t w~ + s z: base = w~ F^T, u = z F^T, both (K, P)."""
    num_units, num_patterns = u.shape
    wrong = 0
    for mu in range(num_patterns):
        votes = 0
        for k in range(num_units):
            votes += t * base[k, mu] + s * u[k, mu] > 0
        wrong += votes <= num_units // 2
    return wrong


@njit(cache=True)
def run(z, weights, base, t, t_above, t_below, F, gram, allowed, use_hmc, burn_in, num_sweeps):  # type: ignore[no-untyped-def]
    """A chain at t: which of its states are also solutions at the next t above and below, and q of every state.

    Starts from z, a solution at t, and ends there with a state that is a solution at t_below too, if there was one.

    Returns:
        Fraction at t_above, fraction at t_below, q of each state.
    """
    num_units, num_inputs = z.shape
    s = math.sqrt(1 - t * t)
    ta = t * base
    u = z @ F.T
    above, below = 0, 0
    q = np.empty(num_sweeps)
    kept = z.copy()
    for step in range(burn_in + num_sweeps):
        sweep(z, u, ta, s, F, gram, allowed, use_hmc)
        if step % 50 == 49:
            u = z @ F.T  # against the drift of rounding
        if step >= burn_in:
            above += errors_at(u, base, t_above, math.sqrt(1 - t_above * t_above)) <= allowed
            if errors_at(u, base, t_below, math.sqrt(1 - t_below * t_below)) <= allowed:
                below += 1
                kept[:] = z
            q[step - burn_in] = t + s * (weights * z).sum() / (num_units * num_inputs)
    z[:] = kept
    return above / num_sweeps, below / num_sweeps, q
