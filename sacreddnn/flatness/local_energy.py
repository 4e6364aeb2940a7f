r"""Local energy: how much the error rises when every weight is perturbed in proportion to itself.

    delta E(w, sigma) = E_{z ~ N(0, I)} E(w + sigma z * w) - E(w)

(Pittorino et al. 2021; multiplicative noise on every parameter, biases and batch-norm parameters included, batch-norm
statistics kept, 0-1 error.) Multiplicative noise needs no normalisation of the weights: it is invariant wherever
the network is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sacreddnn.flatness.estimate import Estimate

Batches = Iterable[tuple[Tensor, Tensor]]
Measure = Callable[[Tensor, Tensor], Tensor]


def error(outputs: Tensor, targets: Tensor) -> Tensor:
    """0-1 error of each sample in percent, shape (n,); outputs that are not finite are wrong."""
    wrong = (outputs.argmax(1) != targets) | ~outputs.isfinite().all(1)
    return 100.0 * wrong.to(outputs.dtype)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each sample in nats, shape (n,)."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def error_and_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Both from one pass, shape (n, 2)."""
    return torch.stack([error(outputs, targets), loss(outputs, targets)], dim=1)


def local_energy(
    network: nn.Module,
    batches: Batches,
    sigmas: Sequence[float],
    *,
    num_samples: int = 10,
    generator: torch.Generator | None = None,
    measure: Measure = error,
) -> Estimate:
    """The local energy of a network at each noise strength.

    The network is measured in eval mode and left exactly as it was found, also after an exception. The same draws z
    serve every sigma, and every network of as many weights that is measured with an equally seeded generator (common
    random numbers), so that differences between networks are paired.

    Args:
        network: any module with floating-point parameters.
        batches: (inputs, targets) on the network's device; iterated over once per evaluation, so a list or a
            re-iterable, not a generator.
        sigmas: noise strengths >= 0.
        num_samples: number of draws z >= 1; two or more for a standard error.
        generator: source of z, on the parameters' device; by default one seeded with 0.
        measure: (outputs, targets) -> value of each sample, shape (n,) or (n, m). `error` (percent) by default.

    Returns:
        Mean and standard error of shape (len(sigmas),) or (len(sigmas), m) in the units of the measure, and the samples
        with num_samples in front. The error bar is that of the draws; the data set is taken as given.

    Raises:
        ValueError: no batches, no sigmas, a negative sigma, num_samples < 1, a one-shot generator as batches, or a
            network whose unperturbed outputs are not finite.

    Cost: (1 + num_samples * number of nonzero sigmas) forward passes over the batches.
    """
    _validate(batches, sigmas, num_samples)
    parameters: list[Tensor] = list(network.parameters())
    generator = generator or torch.Generator(parameters[0].device).manual_seed(0)
    with _left_as_found(network) as original, torch.inference_mode():
        energy = _mean_measure(_refuse_nonfinite(network), batches, measure)
        samples = energy.new_zeros(num_samples, len(sigmas), *energy.shape)
        for k in range(num_samples):
            noise = [_normal_like(w, generator).mul_(w) for w in original]  # z * w
            for i, sigma in enumerate(sigmas):
                if sigma == 0:
                    continue
                torch._foreach_copy_(parameters, original)
                torch._foreach_add_(parameters, noise, alpha=sigma)
                samples[k, i] = _mean_measure(network, batches, measure) - energy
    return Estimate.of(samples.cpu())


def _validate(batches: Batches, sigmas: Sequence[float], num_samples: int) -> None:
    if isinstance(batches, Iterator):
        raise ValueError(
            "batches: a one-shot iterator cannot be passed over several times; pass a list or a DataLoader"
        )
    if len(sigmas) == 0:
        raise ValueError("sigmas: empty, give at least one noise strength")
    for sigma in sigmas:
        if not 0 <= sigma < float("inf"):
            raise ValueError(f"sigmas: {sigma} is not allowed, noise strengths are finite and >= 0")
    if num_samples < 1:
        raise ValueError(f"num_samples: {num_samples} is not allowed, it must be >= 1")


def _normal_like(w: Tensor, generator: torch.Generator) -> Tensor:
    # in the logical order of the elements, so that the draws do not depend on the memory format
    z = torch.empty(w.shape, dtype=w.dtype, device=w.device).normal_(generator=generator)
    return torch.empty_like(w).copy_(z)


def _refuse_nonfinite(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network, raising where its outputs are not finite (an argmax over NaN is a class like any other)."""

    def forward(inputs: Tensor) -> Tensor:
        outputs = network(inputs)
        if not outputs.isfinite().all():
            raise ValueError("network: its outputs on the batches are not finite, it has no local energy")
        return outputs

    return forward


def _mean_measure(network: Callable[[Tensor], Tensor], batches: Batches, measure: Measure) -> Tensor:
    """Mean of the measure over all samples, in float64."""
    total, count = None, 0
    for inputs, targets in batches:
        values = measure(network(inputs), targets).sum(0, dtype=torch.float64)
        total = values if total is None else total + values
        count += len(targets)
    if total is None or count == 0:
        raise ValueError("batches: empty, there is nothing to measure on")
    return total / count


@contextmanager
def _left_as_found(network: nn.Module) -> Iterator[list[Tensor]]:
    """Eval mode inside; afterwards weights, buffers and modes are those from before. Yields copies of the weights."""
    modes = {module: module.training for module in network.modules()}
    tensors = [*network.parameters(), *network.buffers()]
    saved = [t.detach().clone() for t in tensors]
    network.eval()
    try:
        yield saved[: len(list(network.parameters()))]
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, saved, strict=True):
                tensor.copy_(value)
        for module, training in modes.items():
            module.training = training
