import subprocess
import sys

import pytest
import torch

from sacreddnn.algorithms import SGD, lean_optim

ALONE = """
import sys, torch
from sacreddnn.algorithms import SGD
p = torch.nn.Parameter(torch.ones(3))
algorithm = SGD([p], lr=0.1, optimizer=sys.argv[1])
def closure():
    algorithm.zero_grad()
    loss = p.square().sum()
    loss.backward()
    return loss.detach()
algorithm.step(closure)
algorithm.load_state_dict(algorithm.state_dict())
print(p.tolist(), "torch._dynamo" in sys.modules)
compiled = torch.compile(lambda x: x + 1, backend="eager")
algorithm.step(closure)
print(compiled(p).tolist(), "torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_training_does_not_import_the_compiler_and_goes_on_when_it_comes(name):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE, name], capture_output=True, text=True, timeout=200, check=True
    )
    before, after = done.stdout.splitlines()
    assert before.endswith("False")
    assert after.endswith("True")
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]([p], 0.1, fused=True)
    values = []
    for _ in range(2):
        optimizer.zero_grad()
        p.square().sum().backward()
        optimizer.step()
        values.append(p.detach().clone())
    assert before.startswith(str(values[0].tolist()))
    assert after.startswith(str((values[1] + 1).tolist()))


def test_hooks_of_the_base_optimizer_are_called_once_the_compiler_is_there():
    import torch._dynamo

    algorithm = SGD([torch.nn.Parameter(torch.ones(3))], lr=0.1)
    calls = []
    algorithm.base.register_step_pre_hook(lambda *arguments: calls.append(1))
    lean_optim.step(algorithm.base)
    assert calls == [1]
