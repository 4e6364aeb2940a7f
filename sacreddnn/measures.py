"""Each measure of flatness as its config asks for it: (numbers for the result, details for an artifact)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sacreddnn import energy_profile, flatness
from sacreddnn.flatness_config import FlatnessConfig
from sacreddnn.recorded_network import RecordedNetwork
from sacreddnn.training.evaluate import evaluate

Batches = list[tuple[Tensor, Tensor]]
Values = dict[str, float]
Details = dict[str, Any]


def local_energy(target: RecordedNetwork, batches: Batches, config: FlatnessConfig) -> tuple[Values, Details]:
    """Rise of the error under multiplicative noise; it has a split and a number of images of its own."""
    made = energy_profile.profiles(target.network, target.clean, config.local_energy, target.statistics)
    return energy_profile.headlines(made, config.local_energy.headline), made


def hessian(target: RecordedNetwork, batches: Batches, config: FlatnessConfig) -> tuple[Values, Details]:
    """Largest eigenvalues and trace of the Hessian of the loss."""
    c = config.hessian
    pairs = flatness.hessian_eigenvalues(
        target.network, batches, c.num_eigenvalues, tolerance=c.tolerance, seed=config.seed
    )
    trace = flatness.hessian_trace(target.network, batches, num_products=c.num_products, seed=config.seed)
    values = {
        "hessian_largest": pairs.values[0].item(),
        "hessian_trace": trace.mean.item(),
        "hessian_trace_se": trace.standard_error.item(),
    }
    details = {
        "eigenvalues": pairs.values.tolist(), "residuals": pairs.residuals.tolist(), "converged": pairs.converged,
        "num_products": pairs.num_products, "num_products_trace": c.num_products,
    }  # fmt: skip
    return values, values | details


def spectral_density(target: RecordedNetwork, batches: Batches, config: FlatnessConfig) -> tuple[Values, Details]:
    """Density of the Hessian's eigenvalues by stochastic Lanczos quadrature."""
    c = config.spectral_density
    density = flatness.spectral_density(
        target.network, batches, num_steps=c.num_steps, num_vectors=c.num_vectors, seed=config.seed
    )
    details = {"nodes": density.nodes.tolist(), "weights": density.weights.tolist(), "num_weights": density.num_weights}
    second = density.moment(2)
    return {"hessian_rms_eigenvalue": math.sqrt(second.mean.item())}, details


def sharpness(target: RecordedNetwork, batches: Batches, config: FlatnessConfig) -> tuple[Values, Details]:
    """Worst rise of the loss within a radius, plain and relative to the weights."""
    c = config.sharpness
    values: Values = {}
    details: Details = {}
    for name, rho, adaptive in (("sharpness", c.rho, False), ("sharpness_adaptive", c.rho_adaptive, True)):
        found = flatness.sharpness(
            target.network, batches, rho, adaptive=adaptive, num_steps=c.num_steps, seed=config.seed
        )
        values[name] = found.rise
        details[name] = {"rho": rho, "rise": found.rise, "rises": found.rises.tolist(), "loss": found.loss}
    return values, details


def pac_bayes(target: RecordedNetwork, batches: Batches, config: FlatnessConfig) -> tuple[Values, Details]:
    """Noise at which the loss has risen by the target, additive and in proportion to the weights."""
    c = config.pac_bayes
    values: Values = {}
    details: Details = {}
    for name, aware in (("pac_bayes_sigma", False), ("pac_bayes_sigma_magnitude", True)):
        found = flatness.pac_bayes_sigma(
            target.network, batches, c.target, magnitude_aware=aware, epsilon=c.epsilon if aware else 0.0,
            num_samples=c.num_samples, seed=config.seed,
        )  # fmt: skip
        values |= {name: found.sigma, f"{name}_se": found.standard_error}
        details[name] = {
            "sigma": found.sigma, "standard_error": found.standard_error, "rise": found.rise.mean.item(),
            "rise_se": found.rise.standard_error.item(), "evaluations": list(found.evaluations),
            "not_finite": found.not_finite, "target": c.target,
        }  # fmt: skip
    return values, details


def local_entropy(target: RecordedNetwork, batches: Batches, config: FlatnessConfig) -> tuple[Values, Details]:
    """Local-entropy loss over the couplings, and the loss against the distance."""
    c = config.local_entropy
    inputs, targets = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    small = list(zip(inputs.split(c.batch_size), targets.split(c.batch_size), strict=True))
    found = flatness.local_entropy(
        target.network, small, c.gammas, beta=c.beta, num_steps=c.num_steps, burn_in=c.burn_in,
        num_chains=c.num_chains, seed=config.seed,
    )  # fmt: skip
    fields = (
        "gammas", "value", "standard_error", "error_within", "error_between", "quadrature_error", "distance",
        "distance_error", "loss", "loss_error", "time", "drift", "temperature", "step_size",
    )  # fmt: skip
    details: Details = {name: getattr(found, name).tolist() for name in fields}
    details |= {"beta": found.beta, "num_weights": found.num_weights, "burn_in": found.burn_in,
                "reference_samples": found.reference_samples}  # fmt: skip
    values = {"local_entropy_loss": found.value[-1].item(), "local_entropy_loss_se": found.standard_error[-1].item()}
    return values, details


def norms(target: RecordedNetwork, batches: Batches, config: FlatnessConfig) -> tuple[Values, Details]:
    """Frobenius norm, path norm, product of the layers' spectral norms; what a network does not have is left out."""
    inputs = batches[0][0]
    values = {"frobenius_norm": flatness.frobenius_norm(target.network)}
    # tops of convolutions' spectra are crowded: a part in a thousand needs fewer steps than the default
    spectral = flatness.spectral_norms(target.network, inputs, tolerance=1e-3, max_steps=300, seed=config.seed)
    details: Details = {"spectral_norms": spectral}
    if all(norm > 0 for norm in spectral.values()):  # a batch norm may begin at zero
        values["log_spectral_product"] = sum(math.log(norm) for norm in spectral.values())
    try:
        values["path_norm"] = flatness.path_norm(target.network, inputs)
    except ValueError as error:  # its layers are not all of a kind that has one
        details["no_path_norm"] = str(error)
    return values, values | details


def margins(target: RecordedNetwork, batches: Batches, config: FlatnessConfig) -> tuple[Values, Details]:
    """Quantiles of the margins."""
    found = flatness.margins(target.network, batches)
    quantiles = {str(q): found.quantile(q) for q in (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)}
    return {"margin_10": quantiles["0.1"], "margin_50": quantiles["0.5"]}, {"quantiles": quantiles}


MEASURES: dict[str, Callable[[RecordedNetwork, Batches, FlatnessConfig], tuple[Values, Details]]] = {
    "local_energy": local_energy,
    "hessian": hessian,
    "spectral_density": spectral_density,
    "sharpness": sharpness,
    "pac_bayes": pac_bayes,
    "local_entropy": local_entropy,
    "norms": norms,
    "margins": margins,
}


def errors(target: RecordedNetwork) -> Values:
    """Loss and errors on both splits, and the gap between them."""
    values: Values = {}
    for split in ("train", "test"):
        of_split = evaluate(target.network, target.clean(split), torch.float32)
        values |= {f"{split}/center/{name}": value for name, value in of_split.items()}
    values["generalization_gap"] = values["test/center/error"] - values["train/center/error"]
    return values
