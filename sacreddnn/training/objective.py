"""What a training step minimises: the minibatch loss of each replica, in the chosen precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(name: str = "auto") -> torch.device:
    """The device by name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises:
        ValueError: the device is not there.
    """
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        return torch.device("cuda" if "cuda" in available else "mps" if "mps" in available else "cpu")
    if name not in available:
        raise ValueError(f"training.device: {name!r} is not on this machine, available: auto, {', '.join(available)}")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of forward passes in training; "auto" is bfloat16 where the hardware has it natively, else float32."""
    if name == "float32":
        return torch.float32
    if name == "bfloat16":
        return torch.bfloat16
    if name != "auto":
        raise ValueError(f"training.precision: {name!r} is unknown, allowed: {', '.join(PRECISIONS)}")
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def make_loss(name: str = "cross_entropy", label_smoothing: float = 0.0) -> Loss:
    """The training loss, a mean over the minibatch: "cross_entropy" (nats) or "mse" against one-hot targets.

    Targets are classes, shape (n,), or probabilities, shape (n, num_classes) (mixup).
    """
    if name == "cross_entropy":
        return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    if name == "mse":
        return partial(_mean_squared_error, label_smoothing=label_smoothing)
    raise ValueError(f"training.loss: {name!r} is unknown, allowed: cross_entropy, mse")


def _mean_squared_error(outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    num_classes = outputs.shape[1]
    if targets.ndim == 1:
        targets = nn.functional.one_hot(targets, num_classes)
    smooth = targets.to(outputs.dtype) * (1 - label_smoothing) + label_smoothing / num_classes
    return (outputs - smooth).square().sum(1).mean()


def smallest_part(num_samples: int, accumulate: int) -> int:
    """Samples in the smallest part of a minibatch that goes through the network in parts.

    >>> smallest_part(16, 16), smallest_part(7, 3), smallest_part(1, 2)
    (1, 1, 1)
    """
    largest = -(-num_samples // accumulate)
    return num_samples % largest or largest


class Objective:
    """Calls each replica on its own minibatch and accumulates the gradient of its loss.

    Args:
        networks: the replicas.
        loss: (outputs, targets) -> mean loss.
        dtype: of the forward pass (autocast); the loss itself is float32.
        device: where the networks are.
        flood: b >= 0. Each replica descends |L - b| + b (Ishida et al. 2020, arXiv 2002.08709), so that its loss stays
            around b; 0: no flooding.
        accumulate: parts >= 1 in which a minibatch goes through the network, one after another. The gradient is that of
            the whole minibatch, in less memory; batch norm sees one part at a time.
        clip_norm: > 0, upper bound of the norm of each replica's gradient; None: no bound.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        loss: Loss,
        dtype: torch.dtype,
        device: torch.device,
        *,
        flood: float = 0.0,
        accumulate: int = 1,
        clip_norm: float | None = None,
    ) -> None:
        self.networks, self.loss = networks, loss
        self.dtype, self.device = dtype, device
        self.flood, self.accumulate, self.clip_norm = flood, accumulate, clip_norm

    def __call__(
        self,
        batches: Sequence[tuple[Tensor, Tensor]],
        before: Callable[[int], None] = lambda replica: None,
        combine: Callable[[Tensor], Tensor] = lambda losses: losses,
    ) -> Tensor:
        """Losses of the replicas, shape (y,), detached and not flooded; their gradients are in the parameters'.

        Args:
            batches: one (inputs, targets) per replica. The parameters' gradients must be zero before.
            before: called with the number of each replica before its forward pass (seeds its random draws).
            combine: called with the losses once gradients are there, before flooding and clipping, which need those of
                the whole minibatch: averages both over processes that share one, and returns the losses.
        """
        losses = []
        for replica, (network, (inputs, targets)) in enumerate(zip(self.networks, batches, strict=True)):
            before(replica)
            losses.append(self._add_gradients(network, inputs, targets))
        combined = combine(torch.stack(losses))
        for network, loss in zip(self.networks, combined, strict=True):
            self._reshape_gradients(network, loss)
        return combined

    def _add_gradients(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of one minibatch, part by part; its gradient is added to the parameters'."""
        total = torch.zeros((), device=self.device)
        for x, y in zip(inputs.chunk(self.accumulate), targets.chunk(self.accumulate), strict=True):
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                outputs = network(x)
            loss = self.loss(outputs.float(), y) * (len(x) / len(inputs))
            loss.backward()
            total += loss.detach()
        return total

    @torch.no_grad()
    def _reshape_gradients(self, network: nn.Module, loss: Tensor) -> None:
        """Flooding, then clipping, of the gradient of one replica; neither waits for the device."""
        parameters = [p for p in network.parameters() if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.flood > 0:  # the gradient of |L - b|
            torch._foreach_mul_(gradients, (loss - self.flood).sign())
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
