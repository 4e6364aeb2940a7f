import pytest
import torch

from sacreddnn.data.seeds import derive_seed
from sacreddnn.training.seeding import seed_step


def test_a_step_is_seeded_as_torch_seeds():
    seed_step(3, 1, 7)
    ours = torch.rand(4), torch.randn(4)
    torch.manual_seed(derive_seed(3, "step", 1, 7))
    torch.testing.assert_close((torch.rand(4), torch.randn(4)), ours, rtol=0, atol=0)


def test_steps_streams_and_parts_draw_differently():
    draws = []
    for words in ((3, 1, 7), (4, 1, 7), (3, 2, 7), (3, 1, 8), (3, 1, 7, 1)):
        seed_step(*words)
        draws.append(torch.rand(()).item())
    assert len(set(draws)) == len(draws)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there, and torch has no call to put off")
def test_without_a_gpu_no_call_stack_is_formatted(monkeypatch):
    """torch.manual_seed does so for every kind of device, for the day when it is there."""

    def format_stack(*args, **kwargs):
        raise AssertionError("formatted")

    monkeypatch.setattr("traceback.format_stack", format_stack)
    with pytest.raises(AssertionError, match="formatted"):
        torch.manual_seed(0)
    seed_step(0, 0, 0)
