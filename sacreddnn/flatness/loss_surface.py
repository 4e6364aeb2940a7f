"""The loss of a network on a data set as a function of its weight vector: values, gradients, Hessian-vector products.

    L(w) = 1/P sum_mu l(f(x_mu; w), y_mu)

over all P samples, each counted once whatever the sizes of the minibatches. Every measure of curvature and of wide
minima reads the network through this one object, which works on a copy of it: the network itself is never written to.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sacreddnn.flatness.passes import Batches, mean, require_eval, require_repeatable
from sacreddnn.flatness.quantities import loss as cross_entropy
from sacreddnn.weights import Weights

SampleLoss = Callable[[Tensor, Tensor], Tensor]


class LossSurface:
    """L(w) of one network on some minibatches, in eval mode (batch norm uses its running statistics, no dropout).

    Vectors of shape (N,) hold the weights in the order of the parameters, each laid out as in memory; `views` gives
    them the parameters' shapes. Works on a copy of the network, which takes the memory of three networks: weights,
    gradients and the origin.

    Args:
        network: any module whose parameters share one floating-point dtype and device.
        batches: (inputs, targets) on the network's device, iterated over once per evaluation.
        loss: (outputs, targets) -> loss of each sample, shape (n,); cross-entropy in nats by default.
        dtype: that everything is computed in, e.g. torch.float64; by default the network's own.

    Attributes:
        origin: w of the network, shape (N,).
        origin_loss: L at the origin.
        num_samples: P.
        num_batches: minibatches in a pass.

    Raises:
        ValueError: no batches, a one-shot iterator, a network without parameters, one that cannot be measured in eval
            mode, or whose loss is not finite.

    Cost: one forward pass over the batches; then `value` costs one more, `gradient` one forward and backward,
    `hessian_product` about three times a gradient for one vector and two for each further one.
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Batches,
        *,
        loss: SampleLoss = cross_entropy,
        dtype: torch.dtype | None = None,
    ) -> None:
        require_repeatable(batches)
        network = getattr(network, "_orig_mod", network)  # a compiled network has no second derivatives
        if next(network.parameters(), None) is None:
            raise ValueError("network: it has no parameters, there is nothing to move")
        self.network = copy.deepcopy(network).eval().requires_grad_()
        require_eval(self.network)
        if dtype is not None:
            self.network.to(dtype)
        self.batches, self.loss = batches, loss
        self._weights = Weights([self.network.parameters()])
        self._parameters = list(self.network.parameters())
        self.origin = self._weights.values[0].clone()
        self.num_samples = self.num_batches = 0
        with torch.no_grad():
            self.origin_loss = mean(self._counted()).item()
        if not math.isfinite(self.origin_loss):
            raise ValueError(f"network: its loss on the batches is {self.origin_loss}, not a finite number")

    @property
    def num_weights(self) -> int:
        """N."""
        return self._weights.num_weights

    def views(self, vector: Tensor) -> list[Tensor]:
        """Views of a vector of shape (N,) with the parameters' shapes."""
        return self._weights.views(vector)

    def names(self) -> list[str]:
        """Names of the parameters, in the order of `views`."""
        return [name for name, _ in self.network.named_parameters()]

    def flatten(self, tensors: Iterable[Tensor]) -> Tensor:
        """The vector of shape (N,) whose views are the tensors."""
        vector = torch.empty_like(self.origin)
        for view, tensor in zip(self.views(vector), tensors, strict=True):
            view.copy_(tensor)
        return vector

    def move_to(self, w: Tensor) -> None:
        """Put the copy's weights at w, shape (N,)."""
        with torch.no_grad():
            self._weights.values[0].copy_(w)

    def value(self, w: Tensor | None = None) -> float:
        """L at w, shape (N,), by default at the present weights; not finite where the loss is not."""
        if w is not None:
            self.move_to(w)
        with torch.no_grad():
            return mean(self.loss(self.network(inputs), targets) for inputs, targets in self._cast()).item()

    def gradient(self, w: Tensor | None = None) -> Tensor:
        """The gradient of L at w, shape (N,). A new vector."""
        return self.value_and_gradient(w)[1]

    def value_and_gradient(self, w: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """L at w and its gradient, shape (N,), a new vector; L stays on the device, shape ()."""
        if w is not None:
            self.move_to(w)
        value, gradient = self.origin.new_zeros(()), torch.zeros_like(self.origin)
        for inputs, targets in self._cast():
            loss, of_batch = self._backward(inputs, targets)
            value += loss
            gradient += of_batch
        return value / self.num_samples, gradient.div_(self.num_samples)

    def minibatch_gradient(self, number: int, w: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Unbiased (loss, gradient) from minibatch `number`, for numbers drawn uniformly.

        Both are sums over the minibatch, times num_batches / P, so that a ragged one weighs what it should. The
        gradient, shape (N,), is the same memory at every call; the loss stays on the device.

        Raises:
            ValueError: the batches cannot be indexed (a list of minibatches can).
        """
        if not hasattr(self.batches, "__getitem__"):
            raise ValueError("batches: minibatches are drawn at random, pass a list or something else with an index")
        if w is not None:
            self.move_to(w)
        loss, gradient = self._backward(*self._as_dtype(*self.batches[number]))
        scale = self.num_batches / self.num_samples
        return loss * scale, gradient.mul_(scale)

    def hessian_product(self, V: Tensor) -> Tensor:
        """The Hessian of L at the present weights times each row of V, shape (k, N) or (N,). A new matrix.

        By double backward: the first is done once a minibatch, whatever k (forward-over-reverse was as fast on LeNet
        and ResNet-18 in channels-last, and not every layer has it). Where the derivative of an activation jumps
        (ReLU) the Hessian is that of the smooth pieces.
        """
        rows = V.reshape(-1, self.num_weights)
        total = torch.zeros_like(rows)
        for inputs, targets in self._cast():
            # the only attention that has second derivatives
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                loss = self._sum(inputs, targets) / self.num_samples
                first = torch.autograd.grad(loss, self._parameters, create_graph=True, materialize_grads=True)
            curved = [i for i, g in enumerate(first) if g.requires_grad]  # others are linear in every weight
            if not curved:
                continue
            for k, row in enumerate(rows):
                views = self.views(row)
                second = torch.autograd.grad(
                    [first[i] for i in curved],
                    self._parameters,
                    [views[i] for i in curved],
                    retain_graph=k < len(rows) - 1,
                    materialize_grads=True,
                )
                torch._foreach_add_(self.views(total[k]), second)
        return total.view_as(V)

    def outputs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs (outputs, targets) of each minibatch at the present weights."""
        with torch.no_grad():
            for inputs, targets in self._cast():
                yield self.network(inputs), targets

    def normal(self, generator: torch.Generator) -> Tensor:
        """A vector of independent standard normals, shape (N,).

        Drawn in the logical order of each parameter's elements: the same for every memory format.
        """
        shaped = (
            torch.empty(p.shape, dtype=p.dtype, device=p.device).normal_(generator=generator) for p in self._parameters
        )
        return self.flatten(shaped)

    def generator(self, seed: int) -> torch.Generator:
        """A generator on the network's device."""
        return torch.Generator(self.origin.device).manual_seed(seed)

    def _counted(self) -> Iterator[Tensor]:
        """Losses of each minibatch at the origin, counting minibatches and samples."""
        for inputs, targets in self._cast():
            self.num_samples += len(targets)
            self.num_batches += 1
            yield self.loss(self.network(inputs), targets)

    def _cast(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self._as_dtype(inputs, targets) for inputs, targets in self.batches)

    def _as_dtype(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        dtype = self.origin.dtype
        return (
            inputs.to(dtype) if inputs.is_floating_point() else inputs,
            targets.to(dtype) if targets.is_floating_point() else targets,
        )

    def _sum(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(self.network(inputs), targets).sum()

    def _backward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the loss over one minibatch and its gradient."""
        self._weights.zero_gradients()
        with torch.enable_grad():
            loss = self._sum(inputs, targets)
        loss.backward()
        return loss.detach(), self._weights.gradients[0]


def require_finite(key: str, value: float, where: str) -> float:
    """The value, or a ValueError that says where it is not finite."""
    if not math.isfinite(value):
        raise ValueError(f"{key}: {value} {where}, not a finite number")
    return value
