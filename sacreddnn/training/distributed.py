"""A run in several processes: what each of them holds, and how they talk.

With R processes and y replicas each process holds

    R <= y      y / R replicas, one more or less where that is no whole number
    R = y g     one replica, together with g - 1 others; each of the g reads its part of every minibatch

A process learns its rank and how to find the others from the environment that `torchrun` sets: RANK, WORLD_SIZE,
LOCAL_RANK, MASTER_ADDR, MASTER_PORT.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from sacreddnn.collective import Group

START_SECONDS = 600  # to wait for all processes to start, and for rank 0 to read the config and open the record
MEASURE_SECONDS = 24 * 3600  # to wait for rank 0 while it alone measures


class ProcessLost(ConnectionError):
    """Another process of the run has ended or does not answer."""

    seen = False  # by this process

    def __init__(self, message: str) -> None:
        super().__init__(message)
        ProcessLost.seen = True


def start() -> None:
    """Join the processes of this run.

    Raises:
        ValueError: a variable is not set or makes no sense, or this PyTorch cannot talk to other processes.
        ProcessLost: not all of them came.
    """
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise ValueError(f"{name}: not set, but WORLD_SIZE={os.environ.get('WORLD_SIZE')}; start with torchrun")
        if name != "MASTER_ADDR" and not os.environ[name].isdecimal():
            raise ValueError(f"{name}: {os.environ[name]!r} is not a number; start with torchrun")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if rank >= size:
        raise ValueError(f"RANK: {rank} is not below WORLD_SIZE={size}; start with torchrun")
    if not (dist.is_available() and dist.is_gloo_available()):
        raise ValueError(f"WORLD_SIZE: {size} processes need gloo, which this PyTorch was built without; use one")
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    with lost_processes(f"MASTER_ADDR: rank {rank} could not join the {size} processes at {where}"):
        dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo", timeout=timedelta(seconds=START_SECONDS))


def leave() -> None:
    """Part from the other processes when all of them have come here; each goes on alone."""
    if dist.is_initialized():
        _wait_for_all()
        dist.destroy_process_group()


def end(status: int) -> NoReturn:
    """End this process with this exit status; the interpreter's own end aborts now and then when gloo was used."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def place(num_replicas: int, rank: int, size: int) -> tuple[range, tuple[int, int]]:
    """The replicas and the (part, number of parts) of their minibatches that a process holds.

    Raises:
        ValueError: more processes than replicas, and not a multiple of them.

    >>> [place(3, rank, 2) for rank in (0, 1)]
    [(range(0, 1), (0, 1)), (range(1, 3), (0, 1))]
    >>> place(3, 4, 6)
    (range(2, 3), (0, 2))
    """
    if size <= num_replicas:
        return range(rank * num_replicas // size, (rank + 1) * num_replicas // size), (0, 1)
    if size % num_replicas:
        raise ValueError(
            f"algorithm.replicas: {num_replicas} cannot be shared by {size} processes; "
            f"start at most {num_replicas}, or a multiple of that"
        )
    parts = size // num_replicas
    return range(rank // parts, rank // parts + 1), (rank % parts, parts)


def check_placement(num_replicas: int) -> None:
    """Raise ValueError if that many replicas cannot be shared by the processes of this run."""
    if dist.is_initialized():
        place(num_replicas, dist.get_rank(), dist.get_world_size())


def local_device(name: str) -> str:
    """The name of the device of this process, where the config says `name`: one CUDA device for each process of a host.

    Raises:
        ValueError: this host has fewer devices than processes, or the device cannot be used by several processes.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1 or name == "cpu":
        return name
    if name == "mps":
        raise ValueError("training.device: 'mps' works in one process only; use cpu")
    if not torch.cuda.is_available():
        return "cpu" if name == "auto" else name
    if not dist.is_nccl_available():
        raise ValueError(f"training.device: {name!r} needs NCCL, which this PyTorch was built without; use cpu")
    here, needed = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if name not in ("auto", "cuda") or needed > here:
        raise ValueError(
            f"training.device: {name!r} for {needed} processes of a host with {here} CUDA devices; "
            "use auto with at most one process a device, or cpu"
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def make_group(num_replicas: int, timeout: float) -> Group:
    """The group of this run: of all its processes, or a plain one where there is one process.

    Args:
        num_replicas: y.
        timeout: seconds after which a process that does not answer counts as lost.
    """
    return ProcessGroup(num_replicas, timeout) if dist.is_initialized() else Group(num_replicas)


class ProcessGroup(Group):
    """The y replicas, spread over the processes of the run. Every method is called by all of them, in the same order.

    Args:
        num_replicas: y.
        timeout: seconds after which a process that does not answer counts as lost (in `wait`: a day). One that ended is
            noticed at once.
    """

    def __init__(self, num_replicas: int, timeout: float) -> None:
        super().__init__(num_replicas)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.replicas, self.shard = place(num_replicas, self.rank, self.size)
        parts = self.shard[1]
        _wait_for_all()  # one may have had to fetch its data first
        ranks = torch.arange(self.size).view(-1, parts)  # those of one replica, or of several, stand in one row
        with lost_processes():
            everyone = [ranks.flatten().tolist()]
            self._all, _ = dist.new_subgroups_by_enumeration(everyone, timedelta(seconds=timeout))
            self._patient, _ = dist.new_subgroups_by_enumeration(everyone, timedelta(seconds=MEASURE_SECONDS))
            self._of_replica, _ = dist.new_subgroups_by_enumeration(ranks.tolist(), timedelta(seconds=timeout))
            self._of_part, _ = dist.new_subgroups_by_enumeration(ranks.T.tolist(), timedelta(seconds=timeout))

    def _reduce(self, values: Tensor, group: Any, operation: Any = dist.ReduceOp.SUM) -> Tensor:
        if dist.get_world_size(group) > 1:
            with lost_processes():
                dist.all_reduce(values, operation, group=group)
        return values

    def sum_replicas(self, values: Tensor) -> Tensor:
        """`values` summed over the processes that hold different replicas, in place."""
        return self._reduce(values, self._of_part)

    def sum_shards(self, values: Tensor) -> Tensor:
        """`values` summed over the processes that hold the same replica, in place."""
        return self._reduce(values, self._of_replica)

    def sum_all(self, values: Tensor) -> Tensor:
        """`values` summed over all processes, in place."""
        return self._reduce(values, self._all)

    def largest(self, *values: float) -> list[float]:
        """The largest of each value over all processes; NaN counts as nothing."""
        return self._reduce(torch.tensor(values, dtype=torch.float64), self._all, dist.ReduceOp.MAX).tolist()

    def wait(self) -> None:
        """Go on when all processes have come here, as late as that may be: one of them may be at work alone."""
        self._reduce(torch.zeros(1), self._patient)

    def collect(self, states: list[Any]) -> list[Any] | None:
        """One state per replica of this process -> of all y replicas, in order, on rank 0; None elsewhere."""
        if self.rank > 0:
            if self.shard[0] == 0:
                _send(states, 0, self._all)
            return None
        for rank in range(self.shard[1], self.size, self.shard[1]):
            states = states + _receive(rank, self._all)
        return states

    def share(self, state: Any) -> Any:
        """The state that rank 0 has, on every process; tensors are on the CPU where they arrive."""
        return share(state, self._all)


def share(state: Any = None, group: Any = None) -> Any:
    """The state that rank 0 gives, on every process."""
    packed = _pack(state) if dist.get_rank() == 0 else torch.empty(0, dtype=torch.uint8)
    size = torch.tensor(len(packed))
    with lost_processes():
        dist.broadcast(size, 0, group=group)
        packed = packed if len(packed) else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(packed, 0, group=group)
    return state if dist.get_rank() == 0 else _unpack(packed)


def _wait_for_all() -> None:
    with lost_processes():
        dist.all_reduce(torch.zeros(1))  # a barrier on CPUs, whatever devices there are


@contextmanager
def lost_processes(what: str = "another process of this run has ended or does not answer") -> Iterator[None]:
    """Turn the errors of torch.distributed into ProcessLost with one line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ProcessLost(f"{what} ({lines[0].split('] ', 1)[-1].rstrip('.')})") from error


def _send(state: Any, rank: int, group: Any) -> None:
    packed = _pack(state)
    with lost_processes():
        dist.send(torch.tensor(len(packed)), rank, group=group)
        dist.send(packed, rank, group=group)


def _receive(rank: int, group: Any) -> Any:
    size = torch.tensor(0)
    with lost_processes():
        dist.recv(size, rank, group=group)
        packed = torch.empty(int(size), dtype=torch.uint8)
        dist.recv(packed, rank, group=group)
    return _unpack(packed)


def _pack(state: Any) -> Tensor:
    """Tensors, numbers, strings, lists and dicts of them as bytes: what a checkpoint may hold, and no code."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)


def _unpack(packed: Tensor) -> Any:
    return torch.load(io.BytesIO(packed.numpy().tobytes()), map_location="cpu", weights_only=True)
