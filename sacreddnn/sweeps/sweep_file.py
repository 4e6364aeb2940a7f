"""The schema of a sweep file: which runs there are, and what each of them needs.

base: [fashion_mnist, lenet]          # named configs, as after `with` on the command line
fixed: {training.epochs: 40}          # keys that all runs share
grid: {training.lr: [0.1, 0.05]}      # every combination
zip: {a.b: [1, 2], a.c: [3, 4]}       # the first of each, the second of each ..
random: {num: 8, seed: 0, values: {training.weight_decay: {log_uniform: [1e-5, 1e-3]}}}
cases: {esgd: {base: [esgd], grid: {algorithm.inner_lr: [0.05, 0.1]}}}
seeds: 5                              # 0 to 4, or a list
trial: {cpus: 1, gpus: 0.25, retries: 2}
"""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from sacreddnn.run_config import RunConfig, check_config
from sacreddnn.schema import ConfigError, Count, NonNegative, Positive, Section
from sacreddnn.yaml_file import read_yaml

KINDS = ("uniform", "log_uniform", "integer", "choice")
Lists = dict[str, list[Any]]


class RandomConfig(Section):
    """Independent draws of several keys."""

    num: Count = 1
    seed: int = 0
    values: dict[str, dict[str, list[Any]]] = {}  # key -> {kind: [low, high]}, or {choice: [..]}

    @model_validator(mode="after")
    def _draws_are_possible(self) -> RandomConfig:
        for key, draw in self.values.items():
            kind, bounds = next(iter(draw.items()), ("", []))
            if len(draw) != 1 or kind not in KINDS:
                raise ValueError(f"values.{key}: {draw} is not allowed, give one of {', '.join(KINDS)}")
            if kind == "choice":
                if not bounds:
                    raise ValueError(f"values.{key}.choice: an empty list; give at least one value")
                continue
            numbers = [b for b in bounds if isinstance(b, int if kind == "integer" else int | float)]
            if len(numbers) != 2 or len(bounds) != 2 or not bounds[0] < bounds[1]:
                raise ValueError(f"values.{key}.{kind}: {bounds} is not allowed, give [low, high] with low < high")
            if kind == "log_uniform" and bounds[0] <= 0:
                raise ValueError(f"values.{key}.log_uniform: {bounds} is not allowed, both must be above 0")
        return self


class Block(Section):
    """Some runs: configs, fixed keys, and every combination of grid, zip and random draws."""

    base: list[str] = []
    fixed: dict[str, Any] = {}
    grid: Lists = {}
    zip: Lists = {}
    random: RandomConfig | None = None

    @field_validator("grid", "zip")
    @classmethod
    def _lists_have_values(cls, lists: Lists) -> Lists:
        for key, values in lists.items():
            if not values:
                raise ValueError(f"{key}: an empty list; give at least one value, or leave the key out")
        return lists

    @field_validator("zip")
    @classmethod
    def _lists_are_of_one_length(cls, lists: Lists) -> Lists:
        lengths = {key: len(values) for key, values in lists.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{key} has {n}" for key, n in lengths.items())
            raise ValueError(f"lists of different lengths ({said}); give each as many values")
        return lists

    @model_validator(mode="after")
    def _keys_are_set_once(self) -> Block:
        where: dict[str, str] = {}
        drawn = self.random.values if self.random else {}
        for part, keys in (("fixed", self.fixed), ("grid", self.grid), ("zip", self.zip), ("random", drawn)):
            for key in keys:
                if key in where:
                    raise ValueError(f"{part}.{key}: stands in {where[key]} too; leave it out of one of them")
                where[key] = part
        return self


class TrialConfig(Section):
    """What one run may use, and what happens when it fails."""

    cpus: Positive = 1.0  # cores; also its number of threads, unless training.num_threads says otherwise
    gpus: NonNegative = 0.0  # below 1: that many share a device
    retries: Annotated[int, Field(ge=0)] = 0  # more tries for a run that failed; each goes on from its checkpoint
    patience: Positive = 21600.0  # seconds without a new metric, checkpoint or line after which a run counts as hung
    grace: Positive = 60.0  # seconds in which a run that is told to stop may save

    @field_validator("gpus")
    @classmethod
    def _whole_devices(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus: {gpus} is not allowed, above 1 only whole devices")
        return gpus


class Sweep(Block):
    """A whole sweep file.

    Attributes:
        cases: blocks of which each run takes one; their configs and keys come after those of the sweep and win.
        seeds: how many, counted from 0, or which.
        trial: resources and retries.
    """

    cases: dict[str, Block] = {}
    seeds: Count | list[Annotated[int, Field(ge=0)]] | None = None
    trial: TrialConfig = TrialConfig()

    @model_validator(mode="after")
    def _seeds_are_given_once(self) -> Sweep:
        if self.seeds == []:
            raise ValueError("seeds: an empty list; give at least one seed, or how many")
        blocks = [self, *self.cases.values()]
        lists = [k for b in blocks for k in (b.fixed, b.grid, b.zip, b.random.values if b.random else {})]
        if self.seeds is not None and any("seed" in keys for keys in lists):
            raise ValueError("seeds: seed is set as a key too; leave out one of them")
        return self


class _File(RunConfig):
    """Lends `check_config` its way to explain errors."""

    sweep: Sweep = Sweep()


def read_sweep(path: str | Path) -> Sweep:
    """The sweep in a YAML file.

    Raises:
        ConfigError: one line per fault, each with the name of the file.
    """
    values = read_yaml(path)
    _complete(values)
    try:
        return check_config(_File, {"sweep": values}).sweep
    except ConfigError as error:
        lines = [line.removeprefix("sweep.") for line in str(error).splitlines()]
        raise ConfigError("\n".join(f"{path}: {line}" for line in lines)) from None


def _complete(block: Any) -> None:
    """What people leave empty or short: a key without anything below it, one config without brackets."""
    if isinstance(block, dict):
        for key in [key for key, value in block.items() if value is None]:
            del block[key]
        if isinstance(block.get("base"), str):
            block["base"] = block["base"].split()
        if isinstance(cases := block.get("cases"), dict):
            for name, case in cases.items():
                cases[name] = {} if case is None else case
                _complete(cases[name])
