"""What the tests on a real Ray share: one at a time, every process a child with a mark, all of them ended afterwards.

Nothing here depends on how fast the machine is. Trials are stubs that wait until the test lets them end, each step of a
test waits for what it needs to see, and the long deadlines are there for what never happens.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from sweep_cases import REPOSITORY, wait_for

from sacreddnn.sweeps.engine import SETTINGS
from sacreddnn.tracking.folder import folders, read_config, read_json, read_run

LONG = 240  # seconds after which something that was waited for will not come
DRIVE, HELD_TRAINING = Path(__file__).with_name("drive.py"), Path(__file__).with_name("held_training.py")


@contextlib.contextmanager
def one_at_a_time():
    """Of all test processes of this user, one: several Rays at once are too much for a small machine."""
    with open(Path(tempfile.gettempdir()) / f"sacreddnn-ray-tests-{os.getuid()}.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Shell:
    """Starts processes from the folder of the repository; `end` kills them and all that came of them.

    Args:
        folder: of the test; logs go there, and the files of Ray below a short name elsewhere.
    """

    def __init__(self, folder):
        self.folder = folder
        self.ray = tempfile.mkdtemp(prefix="ray-")  # the paths of its sockets must be short
        self.mark = f"SACREDDNN_TEST={uuid.uuid4().hex}"
        name, value = self.mark.split("=")
        token = Path(self.ray, "token")
        token.write_text(secrets.token_hex(32))
        without = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self.environment = without | SETTINGS | {
            name: value, "RAY_TMPDIR": self.ray, "RAY_AUTH_TOKEN_PATH": str(token), "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.started = []

    def start(self, *command, log="log", **more):
        """A process in a session of its own, as in another terminal; with more in its environment."""
        with (self.folder / log).open("ab") as file:
            process = subprocess.Popen(
                [str(word) for word in command], cwd=REPOSITORY, env=self.environment | more, stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *command):
        """A process to its end."""
        return subprocess.run(
            [str(word) for word in command], cwd=REPOSITORY, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=LONG, check=False,
        )  # fmt: skip

    def said(self, log="log"):
        """What processes with this log have printed so far."""
        path = self.folder / log
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_to_say(self, process, text, log="log"):
        """Until the process has printed it."""

        def has_said():
            ended = process.poll() is not None
            if text in self.said(log):
                return True
            assert not ended, f"ended without saying {text!r}:\n{self.said(log)}"
            return False

        wait_for(has_said, LONG, lambda: f"{text!r} was not said:\n{self.said(log)}")

    def ended(self, process, log="log"):
        """Its exit status."""
        wait_for(lambda: process.poll() is not None, LONG, lambda: f"it does not end:\n{self.said(log)}")
        return process.returncode

    def alive(self):
        """Ids of all processes that came of these, whoever their parent is by now."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def kill_all(self):
        """SIGKILL to everything."""

        def none_left():
            pids = self.alive()
            kill(pids)
            return not pids

        wait_for(none_left, LONG)
        for process in self.started:
            process.wait(LONG)

    def end(self):
        """Nothing stays: no process, no file of Ray's."""
        self.kill_all()
        shutil.rmtree(self.ray, ignore_errors=True)


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def family(pid):
    """The process and all below it, parents first."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(_parent(stat), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def parent(pid):
    return _parent(Path(f"/proc/{pid}/stat"))


def _parent(stat):
    return int(stat.read_text().rpartition(")")[2].split()[1])


def sweep(path, *words, train=None):
    """The command of a sweep, or of its other training."""
    return [sys.executable, *([DRIVE, train] if train else ["scripts/sweep.py"]), path, *words]


def watcher(root, folder):
    """The process that watches the training of a run."""
    return read_json(root / "trials" / read_run(folder)["config_hash"] / "owner.json")["pid"]


def by_seed(root):
    """Folders of the runs that have recorded something."""
    found = {}
    for folder in folders(root) if root.exists() else ():
        with contextlib.suppress(OSError):
            if (folder / "metrics.jsonl").stat().st_size:
                found[read_config(folder)["seed"]] = folder
    return found


def attempts(folder):
    return len(read_run(folder)["attempts"])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def node(*words, inside=()):
    """The command of a node with one core, which ends when its process does."""
    ray = shutil.which("ray", path=str(Path(sys.executable).parent))
    return [*inside, ray, "start", "--block", "--num-cpus", 1, "--num-gpus", 0, "--object-store-memory", 80 * 2**20,
            "--disable-usage-stats", *words]  # fmt: skip


def start_two_nodes(shell, addresses, port, inside=((), ())):
    """A head and a node; the second is started when the first is up, for it would be refused before."""
    words = ["--head", "--port", port, "--node-ip-address", addresses[0], "--include-dashboard", "false"]
    head = shell.start(*node(*words, inside=inside[0]), log="head", RAY_AUTH_MODE="token")
    shell.wait_to_say(head, "Ray runtime started", "head")
    words = ["--address", f"{addresses[0]}:{port}", "--node-ip-address", addresses[1]]
    second = shell.start(*node(*words, inside=inside[1]), log="node", RAY_AUTH_MODE="token")
    shell.wait_to_say(second, "Ray runtime started", "node")
    return second


@contextlib.contextmanager
def two_namespaces():
    """Two network namespaces with a cable between them: commands that run inside, and a call that cuts the cable.

    Raises:
        OSError: they cannot be made here.
    """
    names = [f"sweep{os.getpid()}{side}" for side in "ab"]
    ends = [f"swp{os.getpid() % 100000}{side}" for side in "ab"]

    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    if shutil.which("ip") is None or os.geteuid() != 0:
        raise OSError("they need root and the command ip (iproute2)")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for i, (name, end) in enumerate(zip(names, ends, strict=True)):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"10.213.7.{i + 1}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        inside = [["ip", "netns", "exec", name] for name in names]
        yield inside, lambda: ip("-n", names[0], "link", "set", ends[0], "down")
    except subprocess.CalledProcessError as error:
        raise OSError(error.stderr.decode().strip()) from None
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
