"""Start the processes of one run by hand, as torchrun would: each with its rank in the environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def environment(**more: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    paths = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests")))
    return kept | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in more.items()}


def start(size: int, *words: object, prefixes=None, address: str = "127.0.0.1", **more: object):
    """`size` processes of `python words..`, each after its prefix (a command that runs it elsewhere)."""
    port = free_port()
    processes = []
    for rank in range(size):
        env = environment(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=size, LOCAL_WORLD_SIZE=size,
                          MASTER_ADDR=address, MASTER_PORT=port, **more)  # fmt: skip
        command = [*(prefixes[rank] if prefixes else []), sys.executable, *map(str, words)]
        processes.append(subprocess.Popen(command, env=env, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE))  # fmt: skip
    return processes


def torchrun(size: int, *words: object) -> subprocess.Popen:
    """The same through torchrun, which starts and watches them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", size, "--master-port", free_port()]
    return subprocess.Popen([str(word) for word in (*command, *words)], env=environment(), cwd=REPOSITORY, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def finish(processes, seconds: float = 90) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each; those that do not end in time are killed."""
    deadline = time.monotonic() + seconds
    ends = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
            ends.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return ends
