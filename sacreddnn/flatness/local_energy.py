r"""Local energy: how much the error rises when every weight is perturbed in proportion to itself.

    delta E(w, sigma) = E_{z ~ N(0, I)} E(w + sigma z * w) - E(w)

(Pittorino et al. 2021; multiplicative noise on every parameter, biases and batch-norm parameters included, batch-norm
statistics kept, 0-1 error.) Multiplicative noise needs no normalisation of the weights: it is invariant wherever
the network is. Other noises are in noise.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sacreddnn.flatness import noise as noises
from sacreddnn.flatness.estimate import Estimate
from sacreddnn.flatness.passes import Batches, finite_outputs, left_as_found, mean, require_repeatable
from sacreddnn.flatness.quantities import Measure, error


def local_energy(
    network: nn.Module,
    batches: Batches,
    sigmas: Sequence[float],
    *,
    num_samples: int = 10,
    standard_error: float | None = None,
    max_samples: int = 1000,
    generator: torch.Generator | None = None,
    measure: Measure = error,
    noise: str = "multiplicative",
    subset: str = "all",
    prepare: Callable[[nn.Module], object] | None = None,
    draws_at_once: int = 1,
) -> Estimate:
    """The local energy of a network at each noise strength.

    The network is measured in eval mode and left exactly as it was found, also after an exception or Ctrl-C. The same
    draws z serve every sigma, and every network of as many weights that is measured with an equally seeded generator
    (common random numbers), so that differences between networks are paired.

    Args:
        network: any module with floating-point parameters.
        batches: (inputs, targets) on the network's device; iterated over once per evaluation, so a list or a
            re-iterable, not a generator.
        sigmas: noise strengths >= 0.
        num_samples: number of draws z >= 1; two or more for a standard error.
        standard_error: draw on until no standard error is larger than this, in the unit of the measure (of its first
            column, if it has several).
        max_samples: draws at most for `standard_error`.
        generator: source of z, on the parameters' device; by default one seeded with 0.
        measure: (outputs, targets) -> value of each sample, shape (n,) or (n, m). `error` (percent) by default.
        noise: "multiplicative", "additive" or "filter", see noise.py.
        subset: of the parameters that are perturbed, "all" or "weights".
        prepare: called with the network each time its weights have changed and before they are measured, the first time
            at w; for example to estimate batch-norm statistics anew. What it does to buffers is undone in the end.
        draws_at_once: perturbed networks in one pass (torch.func.vmap), for the same numbers up to rounding. Worth a
            try for small networks on a GPU; on CPUs it was measured to be slower. Takes the memory of as many
            networks and activations, and no `prepare`.

    Returns:
        Mean and standard error of shape (len(sigmas),) or (len(sigmas), m) in the units of the measure, and the samples
        with the draws in front. The error bar is that of the draws; the data set is taken as given. A number of draws
        that was chosen by the error bar makes the error bar too small, the less the more draws one begins with.

    Raises:
        ValueError: no batches, no sigmas, a negative sigma, num_samples or draws_at_once < 1, a one-shot generator as
            batches, an unknown noise or subset, `prepare` with several draws at once, a network whose unperturbed
            outputs are not finite or that cannot be measured in eval mode (`passes.require_eval`).

    Cost: (1 + draws * number of nonzero sigmas) forward passes over the batches, memory for two more networks.
    """
    _validate(batches, sigmas, num_samples, standard_error, max_samples, noise, subset)
    if draws_at_once < 1 or (draws_at_once > 1 and prepare is not None):
        raise ValueError(
            f"draws_at_once: {draws_at_once} is not allowed, it must be >= 1, and 1 where batch-norm statistics are "
            "estimated anew for every draw"
        )
    parameters: list[Tensor] = list(network.parameters())
    generator = generator or torch.Generator(parameters[0].device).manual_seed(0)
    prepare = prepare or (lambda network: None)
    with left_as_found(network) as original, torch.inference_mode():
        prepare(network)
        forward = finite_outputs(network)
        energy = mean(measure(forward(inputs), targets) for inputs, targets in batches)
        samples: list[Tensor] = []
        while not _enough(samples, num_samples, standard_error, max_samples):
            most = (num_samples if len(samples) < num_samples else max_samples) - len(samples)
            directions = [noises.draw(original, noise, subset, generator) for _ in range(min(draws_at_once, most))]
            rises = energy.new_zeros(len(directions), len(sigmas), *energy.shape)
            for i, sigma in enumerate(sigmas):
                if sigma == 0:
                    continue
                if len(directions) > 1:
                    rises[:, i] = _together(network, batches, measure, original, directions, sigma) - energy
                    continue
                torch._foreach_copy_(parameters, original)
                torch._foreach_add_(parameters, directions[0], alpha=sigma)
                prepare(network)
                rises[0, i] = mean(measure(network(inputs), targets) for inputs, targets in batches) - energy
            samples.extend(rises.cpu())
    return Estimate.of(torch.stack(samples))


def _together(
    network: nn.Module, batches: Batches, measure: Measure, original: list[Tensor], directions: list[list[Tensor]],
    sigma: float,
) -> Tensor:  # fmt: skip
    """The mean of the measure for each of several perturbed networks in one pass, shape (draws,) or (draws, m)."""
    names = [name for name, _ in network.named_parameters()]
    moved = [torch.stack(all_).mul_(sigma).add_(w) for w, *all_ in zip(original, *directions, strict=True)]
    buffers = dict(network.named_buffers())

    def call(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(network, (parameters, buffers), (inputs,))
        return outputs

    forward = torch.func.vmap(call, in_dims=(0, None))
    stacked = dict(zip(names, moved, strict=True))
    # the samples in front, as `mean` has them
    return mean(
        torch.stack([measure(outputs, targets) for outputs in forward(stacked, inputs)], dim=1)
        for inputs, targets in batches
    )


def _enough(samples: list[Tensor], num_samples: int, standard_error: float | None, max_samples: int) -> bool:
    if len(samples) < num_samples:
        return False
    if standard_error is None or len(samples) >= max_samples:
        return True
    errors = Estimate.of(torch.stack(samples)).standard_error
    return bool(errors.flatten(1)[:, 0].max() <= standard_error if errors.ndim > 1 else errors.max() <= standard_error)


def _validate(
    batches: Batches,
    sigmas: Sequence[float],
    num_samples: int,
    standard_error: float | None,
    max_samples: int,
    noise: str,
    subset: str,
) -> None:
    require_repeatable(batches)
    if len(sigmas) == 0:
        raise ValueError("sigmas: empty, give at least one noise strength")
    for sigma in sigmas:
        if not 0 <= sigma < float("inf"):
            raise ValueError(f"sigmas: {sigma} is not allowed, noise strengths are finite and >= 0")
    if num_samples < 1:
        raise ValueError(f"num_samples: {num_samples} is not allowed, it must be >= 1")
    if standard_error is not None and (standard_error <= 0 or num_samples < 2):
        raise ValueError(
            f"standard_error: {standard_error} is not allowed, it must be > 0 and needs num_samples >= 2 to begin with"
        )
    if standard_error is not None and max_samples < num_samples:
        raise ValueError(f"max_samples: {max_samples} is not allowed, it must be >= num_samples, {num_samples}")
    for key, value, allowed in (("noise", noise, noises.NOISES), ("subset", subset, noises.SUBSETS)):
        if value not in allowed:
            raise ValueError(f"{key}: {value!r} is not allowed, allowed: {', '.join(allowed)}")
