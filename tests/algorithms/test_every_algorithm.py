"""What holds for every registered algorithm, whatever it does."""

import copy
import io

import pytest
import torch
from algorithm_cases import OPTIONS, closure_of, make_algorithm, num_networks
from cases import tiny_batches, tiny_network
from models.network_cases import CASES

from sacreddnn.algorithm_config import ALGORITHMS as CONFIGURED
from sacreddnn.algorithms import ALGORITHMS

NAMES = list(ALGORITHMS)
BATCH_NORM = 1  # its place in tiny_network


def setup(name, **options):
    networks = [tiny_network(seed) for seed in range(num_networks(name))]
    return make_algorithm(name, networks, **options), networks


def take_steps(algorithm, networks, num_steps, first=0, dtype=torch.float32, total=40):
    streams = [tiny_batches(8, seed=a) for a in range(len(networks))]
    history = []
    for step in range(first, first + num_steps):
        algorithm.progress = step / total
        batches = [stream[step % 8] for stream in streams]
        history.append(algorithm.step(closure_of(algorithm, networks, batches, dtype)))
    return torch.stack(history)


def everything(algorithm, networks):
    buffers = [buffer for network in networks for buffer in network.buffers()]
    return [t.clone() for t in (algorithm.weights.values, algorithm.center(), *buffers)]


def test_every_algorithm_has_a_config_and_a_case():
    assert set(ALGORITHMS) == set(CONFIGURED) == set(OPTIONS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_so_does_its_center(name, dtype):
    algorithm, networks = setup(name)
    probe = closure_of(algorithm, [networks[0]], [tiny_batches(1, size=64)[0]])
    with algorithm.at_center():
        before = probe()
    losses = take_steps(algorithm, networks, 40, dtype=dtype)
    with algorithm.at_center():
        after = probe()
    assert losses[-8:].mean() < 0.8 * losses[:8].mean()
    assert after < 0.8 * before
    assert algorithm.weights.values.dtype == torch.float32
    assert all(value == value for value in algorithm.metrics().values())


@pytest.mark.parametrize("name", NAMES)
def test_gradient_evaluations_are_calls_of_the_closure(name):
    algorithm, networks = setup(name)
    calls = 0
    for step in range(6):
        inner = closure_of(algorithm, networks, [tiny_batches(1)[0]] * len(networks))

        def closure(inner=inner):
            nonlocal calls
            calls += 1
            return inner()

        algorithm.step(closure)
        assert calls == (step + 1) * algorithm.evaluations_per_step
        assert algorithm.gradient_evaluations == calls * algorithm.num_streams


@pytest.mark.parametrize("stop_at", [1, 13])
@pytest.mark.parametrize("name", NAMES)
def test_a_state_taken_midway_continues_bit_for_bit(name, stop_at):
    whole, networks = setup(name)
    take_steps(whole, networks, 24)

    first, first_networks = setup(name)
    take_steps(first, first_networks, stop_at)
    file = io.BytesIO()
    torch.save({"state": first.state_dict(), "networks": [n.state_dict() for n in first_networks]}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    second, second_networks = setup(name)
    take_steps(second, second_networks, 3)  # it was somewhere else before
    second.load_state_dict(saved["state"])
    for network, state in zip(second_networks, saved["networks"], strict=True):
        network.load_state_dict(state)
    take_steps(second, second_networks, 24 - stop_at, first=stop_at)
    for a, b in zip(everything(whole, networks), everything(second, second_networks), strict=True):
        assert torch.equal(a, b)
    assert second.metrics() == whole.metrics()


@pytest.mark.parametrize("name", NAMES)
def test_running_statistics_move_once_a_step(name):
    algorithm, networks = setup(name)
    take_steps(algorithm, networks, 4)
    assert [int(network[BATCH_NORM].num_batches_tracked) for network in networks] == [4] * len(networks)


@pytest.mark.parametrize("name", NAMES)
def test_schedulers_of_torch_set_its_learning_rate(name):
    algorithm, networks = setup(name)
    scheduler = torch.optim.lr_scheduler.LambdaLR(algorithm, lambda step: 1.0 if step < 5 else 0.0)
    moved = []
    for step in range(10):
        vectors = algorithm.base.param_groups[0]["params"]
        before = [vector.clone() for vector in vectors]
        take_steps(algorithm, networks, 1, first=step)
        moved.append(any(not torch.equal(a, b) for a, b in zip(before, vectors, strict=True)))
        scheduler.step()
    assert any(moved[:5])
    assert not any(moved[5:])


@pytest.mark.parametrize("name", NAMES)
def test_looking_at_the_center_changes_nothing(name):
    algorithm, networks = setup(name)
    take_steps(algorithm, networks, 7)
    live, center = algorithm.weights.values.clone(), algorithm.center().clone()
    with algorithm.at_center():
        assert torch.equal(torch.cat([p.detach().flatten() for p in networks[0].parameters()]), center)
    assert torch.equal(algorithm.weights.values, live)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_closure_is_named_and_leaves_the_weights(name):
    algorithm, _ = setup(name)
    before = algorithm.weights.values.clone()
    with pytest.raises(ValueError, match="closure: missing; call step"):
        algorithm.step()
    assert torch.equal(algorithm.weights.values, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_closure_that_fails_leaves_the_weights(name):
    algorithm, networks = setup(name)
    take_steps(algorithm, networks, 2)
    before = everything(algorithm, networks)[0]
    inner = closure_of(algorithm, networks, [tiny_batches(1)[0]] * len(networks))
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        if calls == algorithm.evaluations_per_step:
            raise MemoryError
        return inner()

    with pytest.raises(MemoryError):
        algorithm.step(closure)
    assert torch.equal(algorithm.weights.values, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_moved_after_flattening_is_noticed(name):
    algorithm, networks = setup(name)
    networks[-1].double()
    batches = [(x.double(), y) for x, y in tiny_batches(1)] * len(networks)
    batches[:-1] = [tiny_batches(1)[0]] * (len(networks) - 1)
    with pytest.raises(RuntimeError, match=f"params: replica {len(networks) - 1} was moved or replaced"):
        algorithm.step(closure_of(algorithm, networks, batches))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", 0.0), ("lr", float("nan")), ("optimizer", "sgdd"), ("betas", (0.9, 0.99)), ("momentum", -1.0)],
)
def test_bad_common_options_are_named(name, key, value):
    with pytest.raises(ValueError, match=key):
        setup(name, **{key: value})


BAD = {
    "sgd": [("lr", "fast")],
    "esgd": [("inner_steps", 0), ("inner_lr", 0.0), ("coupling_auto", "first"), ("averaging", 1.0), ("noise", -1e-4)],
    "rsgd": [("coupling", -1.0), ("coupling_growth", 0), ("coupling_period", 0), ("coupling_form", "soft"),
             ("weight_decay_convention", "ours")],
    "sam": [("rho", -0.1), ("rho", float("nan")), ("rho", "big")],
    "asam": [("rho", -0.1), ("eta", -1.0)],
    "swa": [("start", 1.0), ("start", -0.1), ("period", 0), ("period", 1.5)],
    "ema": [("decay", 1.0), ("decay", -0.1), ("period", 0)],
    "weight_noise": [("noise", -1.0), ("noise_scale", "layer"), ("num_draws", 0)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "key", "value"), [(name, *bad) for name, cases in BAD.items() for bad in cases], ids=str
)
def test_bad_values_are_one_line_that_names_the_key(name, key, value):
    with pytest.raises(ValueError, match=f"^{key}: .* is not allowed, it must be ") as error:
        setup(name, **{key: value})
    assert "\n" not in str(error.value)


def test_every_algorithm_refuses_something():
    assert set(BAD) == set(ALGORITHMS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_network_takes_a_step_with_every_algorithm(case, dtype):
    replicas = [case.build(seed) for seed in range(2)]
    start = [copy.deepcopy(network.state_dict()) for network in replicas]
    batch = (case.images(), torch.tensor([0, 2]))
    for name in NAMES:
        mine = replicas[: num_networks(name)]
        for network, state in zip(replicas, start, strict=True):
            network.load_state_dict(state)
        options = {"noise": 0.002} if name == "weight_noise" else {}  # batch norm over two images stands no more
        algorithm = make_algorithm(name, mine, lr=0.01, weight_decay=1e-4, **options)  # flattens them anew
        before = algorithm.weights.values.clone()
        losses = algorithm.step(closure_of(algorithm, mine, [batch] * len(mine), dtype))
        assert losses.isfinite().all(), name
        assert algorithm.weights.values.isfinite().all(), name
        assert not torch.equal(algorithm.weights.values, before), name
