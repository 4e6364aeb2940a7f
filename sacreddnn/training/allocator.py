"""Freed memory stays with the process, so that the next step need not ask the system for it again."""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Ask glibc's malloc to keep up to 1 GiB of freed memory; whether it did. Elsewhere nothing happens.

    By default blocks of some MiB go back to the system when they are freed and come again page by page, zeroed: tens
    of thousands of page faults a step for activations, gradients and intermediate vectors. What a user has set in the
    environment (MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_) stands.
    """
    set_by_user = any(name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"))
    if platform.libc_ver()[0] != "glibc" or set_by_user:
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT) and mallopt(M_TRIM_THRESHOLD, KEPT))
