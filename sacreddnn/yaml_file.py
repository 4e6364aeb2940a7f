"""Config files: safe YAML, plain types only, errors for people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from sacreddnn.schema import ConfigError


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number, as in YAML 1.2 (YAML 1.1 takes it for a string)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, plain types only.

    >>> parse_yaml("[crop, flip, 1e-4]")
    ['crop', 'flip', 0.0001]

    Raises:
        ConfigError: it is not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise ConfigError(f"not valid YAML{line}: {getattr(error, 'problem', error)}") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The nested dict in a YAML file.

    Raises:
        ConfigError: missing, not YAML, or not a mapping.
    """
    try:
        values = parse_yaml(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold keys and values, got {type(values).__name__}")
    return values
