"""File locks that the kernel releases when their process ends, however it ends.

So a lock that is held says that somebody lives: right after a SIGKILL, a reboot, and when a process id is
used again, without looking at process ids at all.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path


def is_held(path: Path) -> bool:
    """Whether a process, this one included, holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def take(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed, None when another has it.

    It waits a quarter of a second, because `is_held` takes the lock for a moment. The file is readable for those whom
    the umask lets, because other users of a shared folder ask `is_held` too.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(6):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        time.sleep(0.05)
    os.close(descriptor)
    return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock for a block, after waiting for whoever has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
