"""Loss and error of a network on a data set, seen clean: normalised, not augmented, every sample once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from sacreddnn.data.dataset import Split


class CleanBatches:
    """A data set as minibatches without augmentation, in order; can be iterated over again and again.

    Args:
        split: images (uint8) and labels.
        clean: images -> network inputs, without augmentation.
        batch_size: of the forward passes.
        limit: only the first so many samples; None: all.
    """

    def __init__(
        self, split: Split, clean: Callable[[Tensor], Tensor], batch_size: int, limit: int | None = None
    ) -> None:
        self.split, self.clean, self.batch_size = split, clean, batch_size
        self.num_examples = min(len(split), limit or len(split))

    @property
    def num_bytes(self) -> int:
        """Memory that all its inputs would take in float32."""
        return 4 * self.num_examples * self.split.images[0].numel()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, self.num_examples, self.batch_size):
            window = slice(start, min(start + self.batch_size, self.num_examples))
            yield self.clean(self.split.images[window]), self.split.labels[window]


@torch.inference_mode()
def evaluate(network: nn.Module, batches: CleanBatches, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Mean loss (nats), error and top-5 error (percent) of a network in eval mode; its mode is put back.

    Args:
        network: the network.
        batches: the data.
        dtype: of the forward pass (autocast below float32).

    Returns:
        {"loss": .., "error": ..} and "top5_error" where there are more than five classes.
    """
    training = network.training
    network.eval()
    totals: list[Tensor] = []
    try:
        for inputs, targets in batches:
            with torch.autocast(inputs.device.type, dtype=dtype, enabled=dtype != torch.float32):
                outputs = network(inputs)
            outputs = outputs.float()
            loss = nn.functional.cross_entropy(outputs, targets, reduction="sum")
            correct = outputs.topk(min(5, outputs.shape[1]), dim=1).indices == targets[:, None]
            # NaN outputs are wrong: topk would name some class all the same
            correct &= outputs.isfinite().all(1, keepdim=True)
            totals.append(torch.stack([loss, correct[:, 0].sum(), correct.sum()]))
    finally:
        network.train(training)
    # summed on the CPU: not every device has float64
    loss_sum, correct1, correct5 = torch.stack(totals).cpu().sum(0, dtype=torch.float64).tolist()
    n = batches.num_examples
    result = {"loss": loss_sum / n, "error": 100 * (n - correct1) / n}
    if outputs.shape[1] > 5:
        result["top5_error"] = 100 * (n - correct5) / n
    return result
