"""Start-up: from the start of Python to the end of the first training step, and what is imported on the way.

The command line's way, data in memory: import the front door, check a config, import torch and what trains, build,
one step. Every repeat is a process of its own. Packages that a run of LeNet with SGD does not use should not be
there; those that are, and the time they take, are rows of the table.
"""

from __future__ import annotations

import json
import subprocess
import sys

import measure

CHILD = """
import time
start = time.perf_counter()
import sacreddnn.experiment
front = time.perf_counter()
import sacreddnn.run, sacreddnn.build
imported = time.perf_counter()
from sacreddnn.config import check
config = check({"dataset": {"name": "synthetic", "options": {"channels": 1, "image_size": 28}}})
training = sacreddnn.build.build(config).training
built = time.perf_counter()
training.advance()
end = time.perf_counter()
import json, sys
print(json.dumps({"front": front - start, "torch": imported - front, "build": built - imported, "step": end - built,
                  "modules": [name for name in sys.modules if "." not in name or name == "torch._dynamo"]}))
"""
NAMES = {
    "front": "import of the command line (Sacred, schema, tracking)",
    "torch": "import of torch and the training",
    "build": "build: data, network, algorithm",
    "step": "first step",
}
# what a run of LeNet with SGD has no use for, until it draws its figures or asks for such a network
UNUSED = (
    "matplotlib", "numba", "pandas", "pyarrow", "ray", "scipy", "sklearn", "sympy", "tensorboard", "timm",
    "torch._dynamo", "torchvision",
)  # fmt: skip


def run() -> dict:
    """The times and modules of one start."""
    done = subprocess.run([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    bench = measure.start(__doc__, "startup")
    runs = [run() for _ in range(1 + (1 if bench.toy else bench.repeats(5)))][1:]  # the first fills the system's cache
    for key, what in NAMES.items():
        bench.row(what, [one[key] for one in runs], "s")
    bench.row("import to first step", [sum(one[key] for key in NAMES) for one in runs], "s")
    imported = [name for name in UNUSED if name in runs[-1]["modules"]]
    what = "packages imported without use" + (f": {', '.join(imported)}" if imported else "")
    bench.row(what, [len(imported)], "packages", at_most=0)
    bench.finish()


if __name__ == "__main__":
    main()
