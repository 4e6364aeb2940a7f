"""The words of a command line: named configs, values written as in YAML, the run to resume; Sacred's settings."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from sacreddnn.schema import ConfigError
from sacreddnn.tracking.folder import find
from sacreddnn.tracking.light_sacred import sacred
from sacreddnn.yaml_file import parse_yaml, read_yaml

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def configure_sacred() -> None:
    """Sacred's settings: what the recorder does better is off; config files are read as plain, safe YAML only."""
    sacred.SETTINGS.CAPTURE_MODE = "sys"
    sacred.SETTINGS.DISCOVER_SOURCES = "none"  # the recorder keeps commit and diff
    sacred.SETTINGS.DISCOVER_DEPENDENCIES = "none"  # and the versions
    sacred.SETTINGS.CONFIG.READ_ONLY_CONFIG = False
    config_files = sacred.config.config_files
    reader = config_files.Handler(
        lambda file: read_yaml(file.name), lambda values, file: yaml.safe_dump(values, file), ""
    )
    config_files.HANDLER_BY_EXT.clear()  # with .pickle and .json (jsonpickle), which run code
    config_files.HANDLER_BY_EXT.update({".yaml": reader, ".yml": reader})


def named_configs(folders: Sequence[str]) -> dict[str, Path]:
    """Every YAML file in these folders below configs/ by its name without ending.

    Raises:
        ConfigError: two files of one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(path for folder in folders for path in (CONFIGS / folder).rglob("*.yaml")):
        if path.stem in found:
            raise ConfigError(f"{path}: has the same name as {found[path.stem]}; rename one of them")
        found[path.stem] = path
    return found


def run_to_resume(argv: list[str], root: str) -> Path | None:
    """The folder of the run that `resume=..` on the command line names; below `root` unless tracking.root says else."""
    values = dict(word.split("=", 1) for word in argv if "=" in word and not word.startswith("-"))
    if values.get("resume", "None") == "None":
        return None
    if "with" not in argv:
        raise ConfigError(f"resume: must stand after with: {argv[0]} with resume={values['resume']}")
    try:
        # ~ as in the config, which is not read yet
        return find(*(os.path.expanduser(path) for path in (values["resume"], values.get("tracking.root", root))))
    except (OSError, ValueError) as error:
        raise ConfigError(f"resume: {error}") from None


def quoted(word: str) -> str:
    """The word as Sacred reads it.

    A value written as in YAML (`[crop, flip]`, `true`) becomes Python; a network of timm or torchvision, which has no
    YAML file (`timm/resnet18`), becomes the name of the model.
    """
    if word.startswith(("timm/", "torchvision/")) and "=" not in word and not Path(word).exists():
        return f"model.name={word}"
    key, equals, value = word.partition("=")
    if equals and (value[:1] in ("[", "{") or value in ("true", "false", "null")):
        try:
            return f"{key}={parse_yaml(value)!r}"
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from None
    return word


def check_names(argv: list[str], experiment: sacred.Experiment, named: dict[str, Path]) -> None:
    """Refuse names after `with` that are no config, which Sacred answers in several ways or with a traceback."""
    if "with" not in argv:
        return
    takes_value = {flag for option in experiment.all_cli_options if option.arg for flag in option.get_flags()}
    words = argv[argv.index("with") + 1 :]
    for before, word in zip(["with", *words], words, strict=False):
        if "=" in word or word.startswith("-") or before in takes_value or Path(word).is_file():
            continue
        if word in named:
            continue
        known = named
        if word.endswith((".yaml", ".yml")) or os.sep in word:
            known = {str(path.relative_to(CONFIGS.parent)): path for path in named.values()}
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
        hint = f", did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"with {word}: no such config{hint} (each YAML file below configs/ is one; key=value sets a key)"
        )
