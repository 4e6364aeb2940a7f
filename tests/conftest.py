"""Settings of every test: one thread (tiny tensors, several processes), deterministic hypothesis."""

import logging
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # so that tests import cases.py

torch.set_num_threads(1)
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def _root_logger():
    """Sacred takes over the root logger: its level and handlers are put back after every test."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
