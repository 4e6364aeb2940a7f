"""Base optimizers step as torch's own do, without the compiler and after it was imported."""

import subprocess
import sys

import torch

from sacreddnn.algorithms import SGD, lean_optim

# What each optimizer does in two steps: in one process without the compiler, which is imported between them.
ALONE = """
import sys, torch
from sacreddnn.algorithms import SGD

def closure_of(algorithm, p):
    def closure():
        algorithm.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss.detach()
    return closure

parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
algorithms = [SGD([p], lr=0.1, optimizer=name) for p, name in zip(parameters, ("sgd", "adam"))]
for algorithm, p in zip(algorithms, parameters):
    algorithm.step(closure_of(algorithm, p))
    algorithm.load_state_dict(algorithm.state_dict())
print([p.tolist() for p in parameters], "torch._dynamo" in sys.modules)
import torch._dynamo
for algorithm, p in zip(algorithms, parameters):
    algorithm.step(closure_of(algorithm, p))
print([p.tolist() for p in parameters], "torch._dynamo" in sys.modules)
"""


def test_training_does_not_import_the_compiler_and_goes_on_when_it_comes():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE], capture_output=True, text=True, timeout=200, check=True
    )
    parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizers = [torch.optim.SGD(parameters[:1], 0.1, fused=True), torch.optim.Adam(parameters[1:], 0.1, fused=True)]
    for line, compiler_is_there in zip(done.stdout.splitlines(), (False, True), strict=True):
        for p, optimizer in zip(parameters, optimizers, strict=True):
            optimizer.zero_grad()
            p.square().sum().backward()
            optimizer.step()
        assert line == f"{[p.tolist() for p in parameters]} {compiler_is_there}"


def test_hooks_of_the_base_optimizer_are_called_once_the_compiler_is_there():
    import torch._dynamo

    algorithm = SGD([torch.nn.Parameter(torch.ones(3))], lr=0.1)
    calls = []
    algorithm.base.register_step_pre_hook(lambda *arguments: calls.append(1))
    lean_optim.step(algorithm.base)
    assert calls == [1]
