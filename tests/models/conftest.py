"""Tiny images on the CPU: preparing oneDNN's kernels for each shape takes longer than all the arithmetic."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _without_onednn(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
