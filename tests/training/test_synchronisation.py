"""On a GPU the host runs ahead of the device: nothing between two looks at the loss waits for it."""

import warnings

import pytest
import torch
from algorithm_cases import OPTIONS

from sacreddnn.build import build
from sacreddnn.config import check

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@needs_cuda
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("augmentation", ["none", "crop:4+flip+cutout:8"])
def test_no_step_inside_an_epoch_waits_for_the_device(name, augmentation):
    config = check(
        {
            "dataset": {"name": "synthetic", "augmentation": augmentation, "options": {"train_samples": 2048}},
            "training": {"batch_size": 32, "device": "cuda", "epochs": 4},
            "algorithm": {"name": name},
        }
    )
    training = build(config).training
    for _ in range(6):  # allocations, the automatic coupling, the first outer step
        training.advance()
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(12):
            training.advance()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert training.loss_sum.isfinite().all()


@needs_cuda
def test_a_step_that_waits_would_be_noticed():
    values = torch.ones(3, device="cuda")
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with warnings.catch_warnings(), pytest.raises(RuntimeError, match="synchroniz"):
            values.sum().item()
    finally:
        torch.cuda.set_sync_debug_mode(before)
