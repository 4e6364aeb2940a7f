"""A network's parameters as one flat vector; y replicas as the rows of one matrix.

The paper writes a network as a vector w and its algorithms as a line or two of vector algebra. Here the parameters of
each network become views into a row of a matrix W (replicas x weights), their gradients views into a matrix G of the
same shape, so that `center = W.mean(0)` or `W.add_(G, alpha=-lr)` acts on the networks themselves, without copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

ROW_ALIGNMENT = 16  # elements: every row starts on a cache line, so that its arithmetic does not depend on its number
BLOCK = 1 << 18  # elements, 1 MiB of float32: a few vectors of that length stay in a cache, and a call is still cheap


def blocks(vectors: Tensor) -> list[slice]:
    """Parts of the last dimension, one after another; on a CPU short enough for the cache, elsewhere one of it all.

    Vector algebra of several terms, done part by part, passes the vectors through memory once and not once a term:

        for part in blocks(w):
            w[part].add_(g[part] + weight_decay * w[part], alpha=-lr)

    Every element sees the same operations, so the numbers are the same, bit for bit. So are random numbers that fill
    the parts in turn: torch draws normal numbers sixteen at a time, hence no part is shorter unless the whole is.

    >>> blocks(torch.empty(3, 600_000))
    [slice(0, 262144, None), slice(262144, 524288, None), slice(524288, 600000, None)]
    """
    n = vectors.shape[-1]
    starts = range(0, max(n - 15, 1), BLOCK) if vectors.device.type == "cpu" else range(1)
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], n], strict=True)]


class Weights:
    """The parameters of y networks of one architecture, flattened in place.

    Flattening keeps each parameter's memory layout (channels-last stays channels-last), so move a network to its
    device, dtype and memory format first. Moving it afterwards breaks the views; `check` notices and raises.

    Args:
        replicas: for each network its parameters, in the same order and of the same shapes, dtype and device.

    Attributes:
        values: W, shape (y, N), the weights themselves.
        gradients: G, shape (y, N), what `backward` accumulates into.
        rows: the rows of W as y parameters whose `.grad` are the rows of G, for any optimizer of torch.optim.

    Raises:
        ValueError: no parameters, or frozen ones; replicas of different shapes; mixed dtypes or devices; a parameter in
            two replicas.

    >>> network = torch.nn.Linear(2, 1)
    >>> weights = Weights([network.parameters()])
    >>> _ = weights.values.fill_(3)
    >>> network.bias.item()
    3.0
    """

    def __init__(self, replicas: Sequence[Iterable[Parameter]]) -> None:
        self._parameters = [list(parameters) for parameters in replicas]
        self._validate()
        first = self._parameters[0]
        num_replicas, num_weights = len(self._parameters), sum(p.numel() for p in first)
        stride = -(-num_weights // ROW_ALIGNMENT) * ROW_ALIGNMENT
        memory = torch.zeros(2, num_replicas, stride, dtype=first[0].dtype, device=first[0].device)
        self.values, self.gradients = memory[..., :num_weights]
        self.rows = [Parameter(row) for row in self.values]
        for row, gradient in zip(self.rows, self.gradients, strict=True):
            row.grad = gradient
        self._gradient_views = [self.views(self.gradients[a]) for a in range(num_replicas)]
        with torch.no_grad():
            for a, parameters in enumerate(self._parameters):
                for parameter, view in zip(parameters, self.views(self.values[a]), strict=True):
                    view.copy_(parameter)
                    parameter.data = view
        self._addresses = [[p.data_ptr() for p in parameters] for parameters in self._parameters]
        self._gradient_addresses = [[g.data_ptr() for g in views] for views in self._gradient_views]
        self.zero_gradients()

    def _validate(self) -> None:
        if not self._parameters or not all(self._parameters):
            raise ValueError("params: no parameters given; pass network.parameters() of each replica")
        for parameters in self._parameters:
            for p in parameters:
                if not isinstance(p, Tensor):
                    raise ValueError(
                        f"params: {type(p).__name__} is not a parameter; one vector has one parameter group"
                    )
        every = [p for parameters in self._parameters for p in parameters]
        if frozen := sum(not p.requires_grad for p in every):  # weight decay, noise and coupling would move them
            raise ValueError(
                f"params: {frozen} of {len(every)} are frozen parameters; pass only those that require gradients"
            )
        first = self._parameters[0]
        kinds = {(p.dtype, p.device) for parameters in self._parameters for p in parameters}
        if len(kinds) > 1:
            names = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
            raise ValueError(f"params: all parameters must share one dtype and device, got {names}")
        for a, parameters in enumerate(self._parameters[1:], start=1):
            if [p.shape for p in parameters] != [p.shape for p in first]:
                raise ValueError(f"params: replica {a} has other shapes than replica 0; replicas are one architecture")
        count = sum(len(parameters) for parameters in self._parameters)
        if len({id(p) for parameters in self._parameters for p in parameters}) < count:
            raise ValueError("params: a parameter appears twice; each replica needs a network of its own")

    def __len__(self) -> int:
        """Number of replicas y."""
        return len(self._parameters)

    @property
    def num_weights(self) -> int:
        """Number of weights N of one network."""
        return self.values.shape[1]

    def views(self, vector: Tensor) -> list[Tensor]:
        """Views of a vector of shape (N,), shaped and strided like the parameters of one network."""
        views, offset = [], 0
        for p in self._parameters[0]:
            strides = p.stride() if _is_dense(p) else torch.empty(p.shape, device="meta").stride()
            views.append(vector.as_strided(p.shape, strides, vector.storage_offset() + offset))
            offset += p.numel()
        return views

    def zero_gradients(self) -> None:
        """Clear G and make `backward` accumulate into it again."""
        self.gradients.zero_()
        for parameters, views in zip(self._parameters, self._gradient_views, strict=True):
            for parameter, view in zip(parameters, views, strict=True):
                if parameter.requires_grad:
                    parameter.grad = view

    def check(self) -> None:
        """Raise RuntimeError if the networks were moved away from W since they were flattened."""
        for a, (parameters, addresses) in enumerate(zip(self._parameters, self._addresses, strict=True)):
            if [p.data_ptr() for p in parameters] != addresses:
                raise RuntimeError(
                    f"params: replica {a} was moved or replaced after flattening (.to(), .half(), .data = ..); "
                    "move the network first, then build the algorithm"
                )

    def collect_gradients(self) -> None:
        """Bring gradients that do not lie in G into it, as after `network.zero_grad(set_to_none=True)`.

        Costs one address comparison a parameter when there is nothing to bring.
        """
        self.check()
        for parameters, views, addresses in zip(
            self._parameters, self._gradient_views, self._gradient_addresses, strict=True
        ):
            for parameter, view, address in zip(parameters, views, addresses, strict=True):
                gradient = parameter.grad
                if gradient is None:
                    view.zero_()
                elif gradient.data_ptr() != address:
                    view.copy_(gradient)
                    parameter.grad = view


def _is_dense(p: Tensor) -> bool:
    """Whether the tensor fills its memory without gaps or overlaps, in whatever order of dimensions."""
    expected = 1
    for size, stride in sorted(zip(p.shape, p.stride(), strict=True), key=lambda pair: (pair[1], pair[0])):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True
