"""What the configs of all recorded commands have in common: seed, record, resumption; checks, hash, differences."""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shlex
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from sacreddnn.schema import ConfigError, Place, Section
from sacreddnn.tracking.plain import check_no_password, redact

C = TypeVar("C", bound="RunConfig")


class TrackingConfig(Section):
    """Where runs are recorded: always on disk, and in a database."""

    root: Place = "results/runs"  # one folder a run
    database: bool = True  # False: on disk only; `scripts/report.py replay` brings runs into a database later
    mongo_url: str | None = None  # None: the embedded server
    folder: Place = "results/database"  # of the embedded server
    tensorboard: bool = False  # event files too, in the run's folder; needs the extra `tensorboard`
    tags: list[str] = []  # to find runs that belong together

    @field_validator("mongo_url")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url:
            check_no_password(url)
        return url


def replay_command(tracking: TrackingConfig) -> str:
    """The command that brings the runs recorded there into the database that is named there; no password in it.

    >>> replay_command(TrackingConfig(root="my runs", mongo_url="mongodb://me@lab/runs"))
    "python scripts/report.py replay --root 'my runs' --mongo-url mongodb://me@lab/runs"
    """
    words = ["python", "scripts/report.py", "replay"]
    if tracking.root != TrackingConfig().root:
        words += ["--root", tracking.root]
    if tracking.mongo_url:
        words += ["--mongo-url", redact(tracking.mongo_url)]
    elif tracking.folder != TrackingConfig().folder:
        words += ["--folder", tracking.folder]
    return shlex.join(words)


class RunConfig(Section):
    """A recorded command; each has a class of its own derived from this."""

    # What may differ between a run and its resumption: nothing of it changes the numbers by more than rounding.
    free_on_resume: ClassVar[tuple[str, ...]] = ("resume", "tracking")

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    tracking: TrackingConfig = TrackingConfig()
    resume: int | Place | None = None  # run id or folder


def check_config(schema: type[C], values: dict[str, Any]) -> C:
    """The typed config of a nested dict.

    Raises:
        ConfigError: with one line per fault.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines: dict[str, str] = {}  # by key: of the alternatives of a union the last says most
        for e in error.errors(include_url=False):
            key, line = _explain(schema, e, values)
            lines[key] = line
        # and one that is right down to some place below says more than one that is not
        deepest = [line for key, line in lines.items() if not any(other.startswith(f"{key}.") for other in lines)]
        raise ConfigError("\n".join(deepest)) from None


def _explain(schema: type[BaseModel], error: Any, values: dict[str, Any]) -> tuple[str, str]:
    """The key, and one line: key, value, what is allowed."""
    path: list[Any] = []
    here: Any = values
    for part in error["loc"]:
        # a discriminated union adds its tag, a plain union the type it tried: neither is a key of the config
        if (isinstance(here, list) and isinstance(part, int)) or (isinstance(here, dict) and part in here):
            path.append(part)
            here = here[part]
    key = ".".join(map(str, path)) or "config"
    kind, context = error["type"], error.get("ctx", {})
    if error["loc"] and error["loc"][-1] == "[key]":
        return key, f"{key}: this key is not allowed, it should be text; put it in quotes"
    if kind == "extra_forbidden":
        return key, f"{key}: unknown key{_hint(str(path[-1]), _siblings(schema, path, values))}"
    if kind.startswith("union_tag"):
        names = re.findall(r"'([^']*)'", context["expected_tags"])
        return f"{key}.name", f"{key}.name: {here.get('name')!r} is not allowed{_hint(str(here.get('name')), names)}"
    if kind == "literal_error":
        names = [name.strip("'") for name in re.split(r", | or ", context["expected"])]
        number = "a number or " if "Literal" in str(error["loc"]) or error["loc"][-1] not in path else ""
        return key, f"{key}: {here!r} is not allowed{_hint(str(here), names, number)}"
    message = error["msg"]
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        return key, message if not path else f"{key}.{message}" if ": " in message else f"{key}: {message}"
    message = message[0].lower() + message[1:]
    return key, f"{key}: {here!r} is not allowed, {message.replace('input should', 'it should')}"


def _hint(name: str, allowed: list[str], besides: str = "") -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    return (f", did you mean {near[0]}?" if near else ",") + f" allowed: {besides}{', '.join(allowed)}"


def _siblings(schema: type[BaseModel], path: list[Any], values: dict[str, Any]) -> list[str]:
    """The keys allowed where the last key of the path stands."""
    for part in path[:-1]:
        values = values[part]
        if part not in schema.model_fields:  # the name of an entry of a dict of sections
            continue
        kinds = list(_classes(schema.model_fields[part].annotation))
        named = [k for k in kinds if "name" in k.model_fields and k.model_fields["name"].default == values.get("name")]
        schema = (named or kinds)[0]
    return list(schema.model_fields)


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [cls for argument in getattr(annotation, "__args__", ()) for cls in _classes(argument)]


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def is_free(key: str, free: tuple[str, ...]) -> bool:
    """Whether the dotted key is, or stands below, one of those named."""
    return any(key == name or key.startswith(name + ".") for name in free)


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """The dotted keys whose values differ, those aside that do not change the numbers."""
    a, b = flatten(old.model_dump()), flatten(new.model_dump())
    return [k for k in {**a, **b} if a.get(k) != b.get(k) and not is_free(k, new.free_on_resume)]


def config_hash(config: RunConfig) -> str:
    """Sixteen hexadecimal digits that change with everything that changes the numbers of a run, and only with that."""
    flat = flatten(config.model_dump())
    kept = {key: value for key, value in flat.items() if not is_free(key, config.free_on_resume)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
