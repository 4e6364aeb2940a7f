"""Loss and error of a network on a data set, seen clean: normalised, not augmented, every sample once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from sacreddnn.collective import Group
from sacreddnn.data.dataset import Split
from sacreddnn.data.seeds import generator_for


class CleanBatches:
    """A data set as minibatches without augmentation, in order; can be iterated over again and again.

    Args:
        split: images (uint8) and labels.
        clean: images -> network inputs, without augmentation.
        batch_size: of the forward passes.
        limit: so many samples, evenly spaced over the split (some data sets are stored class by class); None: all.
    """

    def __init__(
        self, split: Split, clean: Callable[[Tensor], Tensor], batch_size: int, limit: int | None = None
    ) -> None:
        self.split, self.clean, self.batch_size = split, clean, batch_size
        self.num_examples = min(len(split), limit or len(split))
        self.rows: Tensor | None = None
        if self.num_examples < len(split):
            spaced = torch.linspace(0, len(split) - 1, self.num_examples, dtype=torch.float64)
            self.rows = spaced.round().long().to(split.labels.device)

    def in_random_order(self) -> CleanBatches:
        """The same samples in an order that is drawn once and for all, in minibatches of one size: for batch norm.

        A minibatch of a data set that is stored class by class holds a few classes only, and the mean of its variances
        misses what lies between classes. The order depends on the number of samples alone, so networks compared with
        each other see the same minibatches. A last, smaller one may hold what does not divide evenly: a few samples.
        """
        view = copy.copy(self)
        n = self.num_examples
        order = torch.randperm(n, generator=generator_for("batch-norm statistics")).to(self.split.labels.device)
        view.rows = order if self.rows is None else self.rows[order]
        even = n // math.ceil(n / self.batch_size)
        view.batch_size = max(even, min(self.batch_size, 2))  # batch norm cannot take a batch of one
        return view

    @property
    def num_bytes(self) -> int:
        """Memory that all its inputs take in float32."""
        inputs, _ = self[0]
        return 4 * self.num_examples * inputs[0].numel()

    def __len__(self) -> int:
        return math.ceil(self.num_examples / self.batch_size)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        window = slice(number * self.batch_size, min((number + 1) * self.batch_size, self.num_examples))
        if self.rows is None:
            return self.clean(self.split.images[window]), self.split.labels[window]
        rows = self.rows[window]
        images = self.split.images
        # images that stay in files are read one by one, by their numbers
        chosen = images.index_select(0, rows) if isinstance(images, Tensor) else images[rows.tolist()]
        return self.clean(chosen), self.split.labels[rows]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self[number] for number in range(len(self)))


class Ensemble(nn.Module):
    """Networks as one that predicts the mean of their class probabilities; its outputs are log-probabilities.

    Args:
        networks: two or more, of the same classes.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.training = networks[0].training

    def forward(self, inputs: Tensor) -> Tensor:
        """Log of the mean softmax, shape (n, num_classes), float32."""
        logs = torch.stack([network(inputs).float().log_softmax(1) for network in self.networks])
        return logs.logsumexp(0) - math.log(len(self.networks))


@torch.inference_mode()
def evaluate(
    network: nn.Module, batches: CleanBatches, dtype: torch.dtype = torch.float32, group: Group | None = None
) -> dict[str, float]:
    """Mean loss (nats), error and top-5 error (percent) of a network in eval mode; its mode is put back.

    Args:
        network: the network.
        batches: the data.
        dtype: of the forward pass (autocast below float32).
        group: processes that have the same network and share the minibatches; by default this one does all.

    Returns:
        {"loss": .., "error": ..} and "top5_error" where there are more than five classes.
    """
    group = group or Group(1)
    training = network.training
    network.eval()
    totals = torch.zeros(len(batches), 4, device=batches.split.labels.device)
    try:
        for number in range(group.rank, len(batches), group.size):
            inputs, targets = batches[number]
            with torch.autocast(inputs.device.type, dtype=dtype, enabled=dtype != torch.float32):
                outputs = network(inputs)
            outputs = outputs.float()
            loss = nn.functional.cross_entropy(outputs, targets, reduction="sum")
            correct = outputs.topk(min(5, outputs.shape[1]), dim=1).indices == targets[:, None]
            # NaN outputs are wrong: topk would name some class all the same
            correct &= outputs.isfinite().all(1, keepdim=True)
            counts = torch.stack([correct[:, 0].sum(), correct.sum()])
            totals[number, 0], totals[number, 1:3], totals[number, 3] = loss, counts, outputs.shape[1]
    finally:
        network.train(training)
    group.sum_all(totals)  # of all processes: to what one wrote the others add zeros
    # summed on the CPU: not every device has float64
    loss_sum, correct1, correct5, classes_sum = totals.cpu().sum(0, dtype=torch.float64).tolist()
    n = batches.num_examples
    result = {"loss": loss_sum / n, "error": 100 * (n - correct1) / n}
    if classes_sum > 5 * len(batches):
        result["top5_error"] = 100 * (n - correct5) / n
    return result
