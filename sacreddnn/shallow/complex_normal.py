r"""The normal distribution function Phi and its density at complex arguments, for arrays, fast.

With Faddeeva's w(z) = exp(-z^2) erfc(-i z), for u >= 0 (and Phi(z) = 1 - Phi(-z) for u < 0)

    1 - Phi(u + iv) = 1/2 exp(-(u + iv)^2/2) w((i u - v)/sqrt(2))

and w from a rational approximation in the upper half plane (Weideman 1994, SIAM J. Numer. Anal. 31, 1497)

    w(z) = 2 p(Z)/(L - iz)^2 + pi^-1/2/(L - iz),    Z = (L + iz)/(L - iz),    L = (N/sqrt(2))^1/2

with the polynomial p of degree N - 1, whose coefficients are those of a Fourier series: found below to full accuracy.
N = 36 has w to 1e-13. That takes a tenth of the time of scipy.special.erfc, which handles one complex number at a time.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sacreddnn.shallow.committee import Array

NUM_TERMS = 36
BLOCK = 64  # numbers that go through the polynomial together, in vector registers
_L = math.sqrt(NUM_TERMS / math.sqrt(2))


def coefficients(num_terms: int) -> Array:
    """Of p, the highest power first: (num_terms,), real."""
    half = 2 * num_terms
    k = np.arange(-half + 1, half)
    t = math.sqrt(num_terms / math.sqrt(2)) * np.tan(k * np.pi / (2 * half))
    scale = num_terms / math.sqrt(2)
    values = np.concatenate([[0.0], np.exp(-(t**2)) * (scale + t**2)])
    return np.asarray(np.fft.fft(np.fft.fftshift(values)).real[num_terms:0:-1] / (2 * half))


_COEFFICIENTS = coefficients(NUM_TERMS)


def distribution(u: Array, v: Array) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Phi(u + iv) and its derivative, the density exp(-(u + iv)^2/2)/sqrt(2 pi): complex, u and v broadcast.

    Absolute error below 1e-13 (1 + |density|).

    >>> phi, density = distribution(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    >>> phi.real.round(12).tolist()
    [0.5, 0.841344746069]
    """
    u, v = np.broadcast_arrays(u, v)
    phi, density = np.empty(u.shape, np.complex128), np.empty(u.shape, np.complex128)
    _fill(u.ravel(), v.ravel(), _COEFFICIENTS, _L, phi.reshape(-1), density.reshape(-1))
    return phi, density


@njit(cache=True, error_model="numpy")
def _fill(u, v, polynomial, length, phi, density):  # type: ignore[no-untyped-def]
    """Fill phi and density."""
    z_re, z_im = np.empty(BLOCK), np.empty(BLOCK)
    inverse_re, inverse_im = np.empty(BLOCK), np.empty(BLOCK)
    p_re, p_im = np.zeros(BLOCK), np.zeros(BLOCK)
    for start in range(0, len(u), BLOCK):
        number = min(BLOCK, len(u) - start)
        for i in range(number):
            # -iz = |u| + iv (times the sign of u), over sqrt(2): Im z >= 0
            re, im = abs(u[start + i]) * math.sqrt(0.5), v[start + i] * math.sqrt(0.5)
            if u[start + i] < 0:
                im = -im
            below = 1 / ((length + re) ** 2 + im**2)
            inverse_re[i], inverse_im[i] = (length + re) * below, -im * below
            z_re[i] = (length - re) * inverse_re[i] + im * inverse_im[i]
            z_im[i] = (length - re) * inverse_im[i] - im * inverse_re[i]
            p_re[i], p_im[i] = polynomial[0], 0.0
        for n in range(1, len(polynomial)):
            for i in range(BLOCK):
                real = p_re[i] * z_re[i] - p_im[i] * z_im[i] + polynomial[n]
                p_im[i] = p_re[i] * z_im[i] + p_im[i] * z_re[i]
                p_re[i] = real
        for i in range(number):
            inverse = complex(inverse_re[i], inverse_im[i])
            w = (2 * complex(p_re[i], p_im[i]) * inverse + 1 / math.sqrt(math.pi)) * inverse
            re, im = u[start + i], v[start + i]
            size, angle = math.exp((im - re) * (im + re) / 2) / math.sqrt(2 * math.pi), re * im
            density[start + i] = complex(size * math.cos(angle), -size * math.sin(angle))
            tail = math.sqrt(math.pi / 2) * density[start + i] * w
            phi[start + i] = tail if re < 0 else 1 - tail
