"""Norms of a network's weights: Frobenius, path norm, and the spectral norm of every layer as a linear map.

They say how large a function a network can be, and enter bounds of its generalization (Neyshabur et al. 2015, arXiv
1503.00036; Bartlett et al. 2017, arXiv 1706.08498; compared in Jiang et al. 2020, arXiv 1912.02178). No label is read,
and nothing is random but the start of an iteration.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sacreddnn.flatness.lanczos import Tridiagonal, lanczos
from sacreddnn.flatness.loss_surface import require_finite

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def frobenius_norm(network: nn.Module) -> float:
    """The Euclidean norm of all weights, sqrt(sum_i w_i^2), biases and normalisations included.

    >>> frobenius_norm(torch.nn.Linear(3, 4)) > 0
    True
    """
    squares = [p.detach().double().square().sum().item() for p in network.parameters()]
    if not squares:
        raise ValueError("network: it has no parameters, there is no norm")
    return math.sqrt(require_finite("network", math.fsum(squares), "is the sum of its squared weights"))


def path_norm(network: nn.Module, inputs: Tensor) -> float:
    r"""The path norm of a ReLU network, sqrt(sum over paths of prod_(i in path) w_i^2).

    A path leads from an input (or a bias) to an output through one weight a layer (Neyshabur et al. 2015). The sum is
    that of the outputs of the network with squared weights on an input of ones (Jiang et al. 2020). Batch norm is the
    affine map of its running statistics. Weights that are not parameters enter as they are, not squared: averages
    of pooling, shortcuts; max-pooling takes the largest instead of the sum, as in Jiang et al.

    Args:
        network: of layers that are linear for positive values: ReLU and its kind, pooling, shortcuts.
        inputs: one minibatch, for its shape, dtype and device.

    Returns:
        The norm, invariant under a rescaling of layers that leaves the function alone.

    Raises:
        ValueError: a network that is not linear for positive values (tanh, GELU, layer norm ..), where the sum is
            not that over paths; weights that are not finite.

    Cost: three forward passes of one sample in float64; memory two networks in float64.
    """
    squared = copy.deepcopy(network).double().eval().requires_grad_(False)
    for module in squared.modules():
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None:
            _fold(module)
    for parameter in squared.parameters():
        parameter.square_()
    ones = torch.ones_like(inputs[:1], dtype=torch.float64)
    with torch.no_grad():
        total = squared(ones).sum().item()
        for name, parameter in squared.named_parameters():
            if name.split(".")[-1] == "bias":
                parameter.zero_()
        once, twice = squared(ones).sum().item(), squared(2 * ones).sum().item()
    require_finite("network", total, "is the sum over its paths")
    if not math.isclose(twice, 2 * once, rel_tol=1e-6):
        raise ValueError("network: it is not linear for positive values, its paths have no norm; ReLU networks have")
    return math.sqrt(total)


def _fold(norm: Any) -> None:
    """Write the running statistics of a batch norm into its weight and bias."""
    mean, deviation = norm.running_mean, (norm.running_var + norm.eps).sqrt()
    weight = torch.ones_like(mean) if norm.weight is None else norm.weight
    bias = torch.zeros_like(mean) if norm.bias is None else norm.bias
    norm.weight = nn.Parameter(weight / deviation, requires_grad=False)
    norm.bias = nn.Parameter(bias - mean * norm.weight, requires_grad=False)
    norm.running_mean, norm.running_var = torch.zeros_like(mean), torch.ones_like(mean)
    norm.eps = 0.0


def spectral_norms(
    network: nn.Module,
    inputs: Tensor,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 100,
    seed: int = 0,
) -> dict[str, float]:
    """The largest singular value of every linear, convolutional and batch-norm layer as a map of its whole input.

    For a convolution that is the map from all its input pixels to all outputs, with its stride, padding and groups at
    the size it sees in this network, not the reshaped kernel's (Sedghi et al. 2019, arXiv 1805.10408, have the circular
    one). Found by Lanczos on A^T A, with A^T by differentiation. Batch norm is the diagonal map of its running
    variance.

    Args:
        network: any module; its layers are found by type. Others (attention, layer norm ..) are not in the result.
        inputs: one minibatch, for the sizes; run through the network once.
        tolerance: > 0, relative error of the singular value.
        max_steps: >= 1, upper bound of the Lanczos steps a layer.
        seed: of the first vectors.

    Returns:
        {name of the layer: norm}, in the order of the modules. The norm of a layer that is used several times is that
        at its first use.

    Raises:
        ValueError: weights that are not finite; more steps needed than max_steps.

    Cost: one forward pass of one sample, then one forward and backward of a layer a step; memory a copy of the network
    and as many inputs of a layer as steps were made.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance: {tolerance} is not allowed, it must be > 0")
    if max_steps < 1:
        raise ValueError(f"max_steps: {max_steps} is not allowed, it must be >= 1")
    network = copy.deepcopy(network).eval().requires_grad_(False)
    shapes = _input_shapes(network, inputs[:1])
    generator = torch.Generator(inputs.device).manual_seed(seed)
    norms: dict[str, float] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            norms[name] = torch.linalg.matrix_norm(module.weight, 2).item()
        elif isinstance(module, BATCH_NORMS) and module.running_var is not None:
            scale = 1 if module.weight is None else module.weight
            norms[name] = (scale / (module.running_var + module.eps).sqrt()).abs().max().item()
        elif isinstance(module, CONVOLUTIONS) and name in shapes:
            module.bias = None
            start = torch.empty(shapes[name].numel(), dtype=inputs.dtype, device=inputs.device)
            start.normal_(generator=generator)
            product = partial(_gram_product, module, shapes[name])
            norms[name] = _largest_singular_value(product, start, tolerance, max_steps, name)
        if name in norms:
            require_finite(f"network.{name}", norms[name], "is its spectral norm")
    return norms


def _input_shapes(network: nn.Module, inputs: Tensor) -> dict[str, torch.Size]:
    """Shape of the first input of every convolution, with one sample."""
    shapes: dict[str, torch.Size] = {}

    def keep(name: str, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        shapes.setdefault(name, torch.Size((1, *arguments[0].shape[1:])))

    for name, module in network.named_modules():
        if isinstance(module, CONVOLUTIONS):
            module.register_forward_pre_hook(partial(keep, name))
    with torch.no_grad():
        network(inputs)
    return shapes


def _gram_product(layer: nn.Module, shape: torch.Size, v: Tensor) -> Tensor:
    """A^T A v of a layer without bias: the gradient of |A v|^2 / 2."""
    with torch.enable_grad():
        x = v.detach().view(shape).requires_grad_()
        return torch.autograd.grad(0.5 * layer(x).square().sum(), x)[0].flatten()


def _largest_singular_value(
    product: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, max_steps: int, name: str
) -> float:
    def done(tridiagonal: Tridiagonal) -> bool:
        values, _, bounds = tridiagonal.eigen()
        # an error of its square, relative, is twice that of the singular value
        return bool(bounds[-1] <= tolerance * values[-1])

    try:
        found = lanczos(product, start, max_steps, done=done)
    except ValueError:
        raise ValueError(f"network.{name}: its weights are not finite") from None
    values, _, bounds = found.eigen()
    if bounds[-1] > 2 * tolerance * values[-1]:
        raise ValueError(
            f"max_steps: {max_steps} steps are too few for network.{name}; allow more or a larger tolerance"
        )
    return math.sqrt(max(values[-1].item(), 0.0))
