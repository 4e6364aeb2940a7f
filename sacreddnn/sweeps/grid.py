"""From a sweep file to its runs: every combination of its choices as a checked config with the hash that names it."""

from __future__ import annotations

import copy
import difflib
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacreddnn import command_line
from sacreddnn.config import Config, check
from sacreddnn.experiment import FOLDERS
from sacreddnn.run_config import config_hash
from sacreddnn.schema import ConfigError
from sacreddnn.sweeps.sweep_file import Block, RandomConfig, Sweep
from sacreddnn.yaml_file import read_yaml

Choice = dict[str, Any]  # values by dotted key


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        case: name of its case, empty in a sweep without.
        varied: the keys that distinguish it, with their values.
        config: checked.
        hash: of all in the config that changes the numbers; the identity of the run.
    """

    case: str
    varied: Choice
    config: Config
    hash: str

    @property
    def label(self) -> str:
        """Case and varied keys in a few words."""
        words = [f"{key.split('.')[-1]}={value}" for key, value in self.varied.items()]
        return " ".join([self.case, *words]).strip() or "the run"


def expand(sweep: Sweep, name: str) -> list[Run]:
    """All runs of the sweep, case by case, seeds innermost.

    Configs are merged as on the command line: first the named ones, those of the sweep before those of the case, then
    the keys, again those of the case last, so that a key of the sweep wins over a named config of the case.

    Args:
        sweep: what `read_sweep` returned.
        name: of the sweep, becomes a tag of every run; tags do not change the hash.

    Raises:
        ConfigError: one line per fault: an unknown config or key, a value out of range, the same run twice.
    """
    runs: list[Run] = []
    faults: dict[str, str] = {}  # each once, with the first run that has it
    for case, block in (sweep.cases or {"": Block()}).items():
        base: dict[str, Any] = {"algorithm": {"name": "sgd"}}
        for word in (*sweep.base, *block.base):
            merge(base, read_named(word))
        for outer, inner, seed in itertools.product(choices(sweep), choices(block, case), _seeds(sweep)):
            chosen = outer | inner | seed
            values = copy.deepcopy(base)
            varied = {key: value for key, value in chosen.items() if not _is_fixed(key, sweep, block)}
            try:
                for key, value in chosen.items():
                    merge(values, nested(key, copy.deepcopy(value)))
                config = _tagged(check(values), name)
                runs.append(Run(case, varied, config, config_hash(config)))
            except ConfigError as error:
                for line in str(error).splitlines():
                    faults.setdefault(line, f"{case}: {line}" if case else line)
    _check_same(runs, faults)
    if faults:
        raise ConfigError("\n".join(faults.values()))
    return runs


def _tagged(config: Config, name: str) -> Config:
    """The config with one more tag, which changes no hash."""
    tags = [*(tag for tag in config.tracking.tags if tag != name), name]
    return config.model_copy(update={"tracking": config.tracking.model_copy(update={"tags": tags})})


def _check_same(runs: list[Run], faults: dict[str, str]) -> None:
    """Note the runs that are the same, or that would be recorded in several places."""
    seen: dict[str, Run] = {}
    for run in runs:
        first = seen.setdefault(run.hash, run)
        if first is not run:
            faults[run.hash] = f"{run.label}: the same run as {first.label} (config hash {run.hash}); leave one out"
    for root in sorted({run.config.tracking.root for run in runs})[1:]:
        faults["root"] = f"tracking.root: {root!r} and {runs[0].config.tracking.root!r}; a sweep has one folder of runs"


def _is_fixed(key: str, *blocks: Block) -> bool:
    return any(key in block.fixed for block in blocks) and not any(
        key in {**block.grid, **block.zip, **(block.random.values if block.random else {})} for block in blocks
    )


def _seeds(sweep: Sweep) -> list[Choice]:
    if sweep.seeds is None:
        return [{}]
    return [{"seed": seed} for seed in (range(sweep.seeds) if isinstance(sweep.seeds, int) else sweep.seeds)]


def choices(block: Block, case: str = "") -> Iterator[Choice]:
    """Every combination of the block: fixed keys, grid, zip, random draws, the last changing fastest."""
    axes: list[list[Choice]] = [[{key: value} for value in values] for key, values in block.grid.items()]
    if block.zip:
        axes.append([dict(zip(block.zip, row, strict=True)) for row in zip(*block.zip.values(), strict=True)])
    if block.random:
        axes.append(draws(block.random, case))
    for parts in itertools.product(*axes):
        yield block.fixed | {key: value for part in parts for key, value in part.items()}


def draws(config: RandomConfig, case: str = "") -> list[Choice]:
    """The random draws of a block.

    Each value depends on seed, case, key and number of the draw only, so that more draws or more keys later leave those
    there are, and the runs made of them. Floats have four significant digits: they are the same on every machine,
    whose logarithms may differ in the last bit, and can be typed.
    """
    return [
        {key: _draw(random.Random(f"{config.seed}/{case}/{key}/{i}"), spec) for key, spec in config.values.items()}
        for i in range(config.num)
    ]


def _draw(generator: random.Random, spec: dict[str, list[Any]]) -> Any:
    ((kind, bounds),) = spec.items()
    if kind == "choice":
        return generator.choice(bounds)
    low, high = bounds
    if kind == "integer":
        return generator.randint(low, high)
    if kind == "log_uniform":
        value = math.exp(generator.uniform(math.log(low), math.log(high)))
    else:
        value = generator.uniform(low, high)
    return min(max(float(f"{value:.4g}"), low), high)


def read_named(word: str) -> dict[str, Any]:
    """The values of a named config or of a YAML file.

    Raises:
        ConfigError: there is none of that name; the line names the nearest.
    """
    named = command_line.named_configs(FOLDERS)
    if word in named:
        return read_yaml(named[word])
    if Path(word).is_file():
        return read_yaml(word)
    near = difflib.get_close_matches(word, named, n=1, cutoff=0.4)
    hint = f", did you mean {near[0]}?" if near else ""
    raise ConfigError(f"base: no config {word!r}{hint} (each YAML file below configs/ is one)")


def nested(key: str, value: Any) -> dict[str, Any]:
    """The value below its dotted key.

    >>> nested("training.lr", 0.1)
    {'training': {'lr': 0.1}}
    """
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Put the new values into the old, section by section, in place.

    Raises:
        ConfigError: a key below something that has none.
    """
    for key, value in new.items():
        here = old.get(key)
        if isinstance(value, dict) and isinstance(here, dict):
            merge(here, value)
        elif isinstance(value, dict) and value and key in old and here is not None:
            raise ConfigError(f"{key}.{next(iter(value))}: unknown key, {key} is {here!r} and has no keys")
        else:
            old[key] = value
