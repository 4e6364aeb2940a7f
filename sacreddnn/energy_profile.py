"""The local energy as a config asks for it: profiles over sigma on the clean view of a data set, as plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from sacreddnn import flatness
from sacreddnn.local_energy_config import LocalEnergyConfig
from sacreddnn.training import batchnorm
from sacreddnn.training.evaluate import CleanBatches

Clean = Callable[[str, int | None], CleanBatches]  # (split, number of images or None: all) -> its clean view
Profile = dict[str, Any]
BATCHNORM_EXAMPLES = 10_000  # training images over which batch-norm statistics are re-estimated
MEMORY = 2**30  # bytes up to which inputs are normalised once and kept, not once a draw


def profiles(network: nn.Module, clean: Clean, config: LocalEnergyConfig, statistics: str) -> dict[str, Profile]:
    """Rise of error (percentage points) and loss (nats) against sigma, with standard errors.

    Args:
        network: in float32, on the device of the data.
        clean: the views of the data set.
        config: what to measure; `num_samples` 0: nothing.
        statistics: of the network's batch norm as it is given, for the record.

    Returns:
        By name: `local_energy`; where both splits are asked for `local_energy_test` too, and where both kinds of
        batch-norm statistics are, the same names with `_reestimated` (of each draw).
    """
    made = {}
    for name, split, reestimated in _kinds(network, config):
        batches = _batches(clean(split, config.num_examples))
        generator = torch.Generator(next(network.parameters()).device).manual_seed(config.seed)
        estimate = flatness.local_energy(
            network, batches, config.sigmas, num_samples=config.num_samples, standard_error=config.standard_error,
            max_samples=config.max_samples, generator=generator, measure=flatness.error_and_loss,
            noise=config.noise, subset=config.subset, prepare=_reestimation(clean) if reestimated else None,
            draws_at_once=config.draws_at_once,
        )  # fmt: skip
        mean, error = estimate.mean.T.tolist(), estimate.standard_error.T.tolist()
        made[name] = {
            "sigmas": list(config.sigmas), "num_samples": len(estimate.samples), "split": split, "view": "clean",
            "num_examples": sum(len(targets) for _, targets in batches), "noise": config.noise, "subset": config.subset,
            "seed": config.seed, "batch_norm": "reestimated at every draw" if reestimated else statistics,
            "error": mean[0], "error_se": error[0], "loss": mean[1], "loss_se": error[1],
            # a row a draw, so that networks measured with the same draws can be compared draw by draw
            "error_draws": estimate.samples[..., 0].tolist(),
        }  # fmt: skip
    return made


def headlines(made: dict[str, Profile], sigma: float) -> dict[str, float]:
    """Of each profile the local energy of the error at one sigma, and its standard error."""
    values: dict[str, float] = {}
    for name, profile in made.items():
        at = profile["sigmas"].index(sigma)
        values |= {name: profile["error"][at], f"{name}_se": profile["error_se"][at]}
    return values


def during_training(network: nn.Module, clean: Clean, config: LocalEnergyConfig) -> dict[str, float]:
    """The same at the headline sigma alone, on the way: metrics by name."""
    only = config.model_copy(update={"sigmas": [config.headline], "standard_error": None})
    values: dict[str, float] = {}
    for name, profile in profiles(network, clean, only, "running").items():
        prefix = f"{profile['split']}/center{'_reestimated' if name.endswith('_reestimated') else ''}"
        values |= {f"{prefix}/local_energy": profile["error"][0], f"{prefix}/local_energy_se": profile["error_se"][0]}
    return values


def _kinds(network: nn.Module, config: LocalEnergyConfig) -> Iterator[tuple[str, str, bool]]:
    """(name, split, whether statistics are estimated anew) of each profile."""
    if config.num_samples == 0:
        return
    splits = ["train", "test"] if config.split == "both" else [config.split]
    policies = {"running": [False], "reestimated": [True], "both": [False, True]}[config.batch_norm]
    if not batchnorm.has_batch_norm(network):
        policies = [False]
    for split in splits:
        for reestimated in policies:
            name = "local_energy" + ("_test" if len(splits) > 1 and split == "test" else "")
            yield name + ("_reestimated" if len(policies) > 1 and reestimated else ""), split, reestimated


def _reestimation(clean: Clean) -> Callable[[nn.Module], None]:
    return partial(batchnorm.reestimate, batches=_batches(statistics_view(clean)))


def statistics_view(clean: Clean) -> CleanBatches:
    """The training images over which batch-norm statistics are re-estimated: the same ones for all networks."""
    return clean("train", BATCHNORM_EXAMPLES).in_random_order()


def _batches(view: CleanBatches) -> Any:
    return list(view) if view.num_bytes <= MEMORY else view
