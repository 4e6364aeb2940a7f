"""Config files: safe YAML, plain types only, errors for people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.error import MarkedYAMLError

from sacreddnn.schema import ConfigError


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number, as in YAML 1.2 (YAML 1.1 takes it for a string), and keys stand once."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The mapping as it is written, before `<<` brings in keys of others, which its own may replace."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key)
            if name in lines:
                text = f"key {key.value!r} stands at line {lines[name]} too; put what is below both under one of them"
                raise MarkedYAMLError(problem=text, problem_mark=key.start_mark)
            lines[name] = key.start_mark.line + 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value; one that looks like a date, a number .. and is none is a fault of its line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError) as error:
            text = f"{node.value!r} cannot be read ({error}); put it in quotes if it is text"
            raise MarkedYAMLError(problem=text, problem_mark=node.start_mark) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, plain types only.

    >>> parse_yaml("[crop, flip, 1e-4]")
    ['crop', 'flip', 0.0001]

    Raises:
        ConfigError: it is not valid YAML, or a key stands twice in one place.
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
        ConfigError: missing, not YAML, a key that stands twice, or not a mapping.
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
