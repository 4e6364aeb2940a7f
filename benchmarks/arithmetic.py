"""An algorithm's own arithmetic costs at most 1.3 times a memory copy of the vectors that it must touch.

Coupling, averages, noise and base optimizer of one step on ready gradients, over 11 million weights (ResNet-18)
in float32. "Must touch" counts each vector once if it is read and once more if it is written, in every part of a step
that cannot begin before another has ended: SAM needs the norm of the whole gradient before it moves any weight, and
moves back only after the second gradient. A copy reads one vector and writes one. Not counted are vectors that an
implementation may keep in cache (noise, differences). Entropy-SGD's random numbers come from one sequential generator
and cost many times a copy; they are a row of their own, without a target.
"""

from __future__ import annotations

from collections.abc import Callable

import measure
import torch
from torch import Tensor, nn

from sacreddnn import algorithms

MOMENTUM = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
# per replica: vectors read and written by one step
TOUCHED = {
    "sgd": 3 + 2,  # w, g, velocity; w, velocity
    "sam": 1 + 4 + 2 + 5,  # norm: g; move: w, g; w, kept; back: kept; w; then as sgd
    "asam": 2 + 4 + 2 + 5,  # the norm reads w too
    "swa": 5 + 3,  # as sgd; then w, average; average
    "ema": 5 + 3,
    "esgd": 5 + 3,  # w', w, g, velocity, average; w', velocity, average
    "rsgd": 5 + 2,  # as sgd; then w; w: the center stays in cache
}


def make(name: str, size: int, device: torch.device, **options: float) -> tuple[Callable[[], Tensor], int]:
    """Returns a step on gradients that are already there, and the number of its networks."""
    replicas = 3 if name == "rsgd" else 1
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(size, generator=generator).to(device)) for _ in range(replicas)]
    algorithm = algorithms.ALGORITHMS[name](
        [[p] for p in parameters] if name == "rsgd" else parameters, lr=1e-6, **MOMENTUM, **options
    )
    losses = torch.ones(replicas, device=device)
    algorithm.weights.gradients.copy_(torch.randn(algorithm.weights.gradients.shape, generator=generator))
    algorithm.progress = 0.9
    return lambda: algorithm.step(lambda: losses), replicas


def main() -> None:
    bench = measure.start(__doc__, "arithmetic")
    size = 50_000 if bench.toy else 11_173_962
    source, target = torch.randn(2, size, device=bench.device)
    cases: dict[str, tuple[str, dict[str, float], float | None]] = {
        "sgd": ("sgd", {}, 1.3),
        "esgd, inner step": ("esgd", {"inner_steps": 10**9, "noise": 0.0}, 1.3),
        "esgd, inner step with noise": ("esgd", {"inner_steps": 10**9}, None),
        "rsgd, y=3": ("rsgd", {"coupling": 0.5}, 1.3),
        "sam": ("sam", {}, 1.3),
        "asam": ("asam", {}, 1.3),
        "ema": ("ema", {}, 1.3),
    }
    for what, (name, options, at_most) in cases.items():
        step, replicas = make(name, size, bench.device, **options)
        times = bench.in_turn({"step": step, "copy": lambda: target.copy_(source)}, repeats=15)
        copies = replicas * TOUCHED[name] / 2
        target_of_row = {} if at_most is None else {"at_most": at_most}
        bench.ratio(f"{what}: arithmetic / copy of what it touches", times["step"], times["copy"], 1 / copies,
                    **target_of_row)  # fmt: skip
    bench.finish()


if __name__ == "__main__":
    main()
