"""A run in several processes, from start to end: the first has the command line and the record, the others follow.

    torchrun --nproc-per-node 3 scripts/train.py with fashion_mnist lenet rsgd

Every process starts here. Rank 0 runs the command and, once the config is checked, sends it to the others. These know
nothing of command lines, folders and databases, print nothing but their own errors, and write nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import torch.distributed as dist

from sacreddnn.config import Config, check
from sacreddnn.schema import ConfigError
from sacreddnn.training import distributed
from sacreddnn.training.interrupt import Interrupted

FAILED, CANNOT_START = 1, 2
_announced = False


def run(command: Callable[[], int]) -> NoReturn:
    """This process's part of the run; ends the process, with the exit status of the command on rank 0.

    Args:
        command: reads the command line and does what it says; called on rank 0 only.
    """
    try:
        distributed.start()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        distributed.end(CANNOT_START)
    signal.signal(signal.SIGTERM, _terminate)
    if dist.get_rank() > 0:
        distributed.end(_follow())
    status = command()
    if not _announced and dist.is_initialized():
        try:
            distributed.share(None)  # there was nothing to run
        except distributed.ProcessLost as lost:
            print(lost, file=sys.stderr)
    distributed.end(status)


def announce(config: Config) -> None:
    """Send the config to the processes that follow, if there are any."""
    global _announced
    if dist.is_initialized():
        _announced = True
        distributed.share(config.model_dump(mode="json"))


def _follow() -> int:
    """Do what rank 0 does with the config that it sends; returns the exit status."""
    rank = dist.get_rank()
    try:
        values = distributed.share()
        if values is not None:
            from sacreddnn.run import execute

            execute(check(values), None, None)
    except Interrupted as stopped:
        return 128 + stopped.signum
    except (ConfigError, ArithmeticError):
        return FAILED  # rank 0 came to the same, and says it
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (OSError, ValueError) as error:
        print(f"rank {rank}: {type(error).__name__}: {error}", file=sys.stderr)
        return FAILED
    except Exception:
        print(f"rank {rank}:\n{traceback.format_exc()}", file=sys.stderr)
        return FAILED
    return 0


def _terminate(signum: int, frame: FrameType | None) -> None:
    """End at SIGTERM, except while ending for the loss of another process: torchrun sends it then, too."""
    if not distributed.ProcessLost.seen:
        os._exit(128 + signum)
