"""Where trials run: Ray core, started here for this command or joined by its address; the only file that imports Ray.

A trial is a process (`sacreddnn.sweeps.trial`) below a Ray task that holds the CPUs and GPUs it may use. Ray decides on
which node and device, and says when a worker or a node is lost; what to do then is decided in `launch`.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sacreddnn.schema import ConfigError
from sacreddnn.sweeps.sweep_file import TrialConfig
from sacreddnn.sweeps.trial import Outcome, Trial, parse

REPOSITORY = Path(__file__).resolve().parents[2]
# Read by every process of Ray when it starts; nodes that `ray start` makes need them too (docs/cluster.md).
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # a cut cable is noticed within half a minute; without these it takes seven
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    # Ray would kill its workers when the machine is short of memory; the kernel kills what takes it, the training
    "RAY_memory_monitor_refresh_ms": "0",
    # a worker that ends would kill the process that watches the training, and so the training, before it has saved;
    # it ends by itself when its worker is gone
    "RAY_kill_child_processes_on_worker_exit": "false",
    "RAY_worker_niceness": "0",  # trainings give way to nothing else, unless the command itself is started under nice
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
LOCAL_STARTS = 3  # tries to start Ray here: it gives up after half a minute, which on a busy machine is not enough
CONNECT_SECONDS = 10.0  # in which the head of a cluster has to take a connection
OBJECT_STORE = 80 * 2**20  # bytes of shared memory; only outcomes go through it


class RayEngine:
    """Runs trials on a Ray cluster, or on this machine.

    Args:
        trial: the resources of each.
        address: of a cluster, or "auto" for the one of this machine; None starts Ray here, on loopback.
        num_cpus: of this machine to use; None: all that this process may use.

    Raises:
        ConfigError: no Ray, no cluster at the address, or no node that has what a trial asks for.
    """

    def __init__(self, trial: TrialConfig, address: str | None = None, num_cpus: int | None = None) -> None:
        for name, value in (SETTINGS | authentication()).items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError:
            raise ConfigError("ray: is not installed; pip install 'sacreddnn[sweep]'") from None
        self._ray, self._trial = ray, trial
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        if address is None:
            options |= {
                "address": "local", "num_cpus": num_cpus or available_cpus(), "include_dashboard": False,
                "_node_ip_address": "127.0.0.1", "object_store_memory": OBJECT_STORE,
            }  # fmt: skip
        if address is not None:
            refuse_silence(address)
        for more_tries in reversed(range(1 if address else LOCAL_STARTS)):
            try:
                with _own_sigterm():
                    ray.init(**{"address": address, **options})
                break
            except Exception as error:  # of many types, from a wrong address to another version of Ray
                if more_tries:
                    ray.shutdown()
                    continue
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                where = f"--address {address}: cannot be joined" if address else "ray: does not start here"
                raise ConfigError(f"{where} ({first})") from None
        try:
            self._refuse_the_impossible()
        except ConfigError:
            self.close()
            raise
        self._task = _make_task(ray)
        self.environment = {
            "PYTHONUNBUFFERED": "1",  # lines in the order in which they were printed, at once
            "OMP_NUM_THREADS": str(max(1, math.floor(trial.cpus))),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        if not trial.gpus:
            self.environment["CUDA_VISIBLE_DEVICES"] = ""

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that are there now."""
        return [node for node in self._ray.nodes() if node["Alive"]]

    def capacity(self) -> int:
        """How many trials fit at once on the nodes that are there now."""
        return sum(self._fits(node["Resources"]) for node in self.nodes())

    def _fits(self, resources: dict[str, float]) -> int:
        """Trials that fit on one node; each takes its GPU fraction from a single device."""
        fits = math.floor(resources.get("CPU", 0) / self._trial.cpus + 1e-9)
        gpus, each = int(resources.get("GPU", 0)), self._trial.gpus
        if each == 0:
            return fits
        return min(fits, gpus * math.floor(1 / each + 1e-9) if each <= 1 else gpus // int(each))

    def _refuse_the_impossible(self) -> None:
        """Ray would let a task that no node can ever run wait for ever."""
        if self.capacity():
            return
        said = ", ".join(
            f"{node.get('NodeManagerHostname', '?')} has {node['Resources'].get('CPU', 0):g} CPUs and "
            f"{node['Resources'].get('GPU', 0):g} GPUs"
            for node in self.nodes()
        )
        asked = f"cpus {self._trial.cpus:g}, gpus {self._trial.gpus:g}"
        raise ConfigError(f"trial: {asked} is more than any node has ({said}); ask for less, or add a node")

    def submit(self, trial: Trial) -> Any:
        """Hand a trial to Ray, which starts it as soon as there is room; a handle on it."""
        options = self._task.options(num_cpus=self._trial.cpus, num_gpus=self._trial.gpus, name=trial.hash)
        return options.remote(json.dumps(asdict(trial)), trial.cwd, self.environment)

    def wait(self, handles: Sequence[Any], seconds: float) -> list[tuple[Any, Outcome]]:
        """Those of the trials that have ended, after waiting for the first of them so long at most."""
        ready, _ = self._ray.wait(list(handles), num_returns=len(handles), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(list(handles), num_returns=1, timeout=seconds)
        return [(handle, self._outcome(handle)) for handle in ready]

    def _outcome(self, handle: Any) -> Outcome:
        try:
            return parse(self._ray.get(handle))
        except self._ray.exceptions.RayTaskError as error:
            return Outcome("failed", str(error).strip().splitlines()[-1])
        except self._ray.exceptions.RayError as error:
            return Outcome("lost", f"{type(error).__name__}: its worker or node is gone")

    def close(self) -> None:
        """Leave the cluster; what was started here ends."""
        self._ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Whoever took SIGTERM before takes it afterwards: Ray lets it end the process, silently and with status 15."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as end:
        if end.code == signal.SIGTERM:  # Ray's own answer to it, while it starts
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():  # only there Ray changes it, and can it be changed
            signal.signal(signal.SIGTERM, before)


def refuse_silence(address: str) -> None:
    """Ray would try for many minutes to reach a machine or port where nobody answers.

    Raises:
        ConfigError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "/" in host:  # "auto", or a URL
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--address {address}: nobody answers there ({error}); start the head first") from None


def authentication() -> dict[str, str]:
    """The setting with which a cluster that asks for a token is joined.

    Newer versions of Ray ask for one as soon as the user who starts the cluster has one, and every sweep without a
    cluster makes one. Who joins would be refused, though, unless told to show it.
    """
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    return {"RAY_AUTH_MODE": "token"} if os.environ.get("RAY_AUTH_TOKEN") or Path(path).is_file() else {}


def available_cpus() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make_task(ray: Any) -> Any:
    """The Ray task; a local function travels by value, so that a node needs nothing to receive it."""

    def run_trial(request: str, cwd: str, environment: dict[str, str]) -> bytes:
        import os
        import socket
        import subprocess
        import sys

        if not os.path.isdir(cwd):
            raise FileNotFoundError(
                f"{cwd}: not on {socket.gethostname()}; a sweep needs a file system that nodes share"
            )
        process = subprocess.Popen(
            [sys.executable, "-m", "sacreddnn.sweeps.trial"], cwd=cwd, env={**os.environ, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()  # and left open: it closes when this worker is gone
            return process.stdout.read()

    return ray.remote(max_retries=0)(run_trial)
