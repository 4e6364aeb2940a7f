"""What every section of a config is made of: strict types, named ranges, errors for people."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Place = Annotated[str, AfterValidator(os.path.expanduser)]  # of a file or folder; ~ is the home, as in a shell
Scalar = bool | int | float | str | None


class ConfigError(ValueError):
    """A config that cannot be run: one line for the person who wrote it."""


class Section(BaseModel):
    """Strict types, no unknown keys, no change after it is made."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_default=True, protected_namespaces=())
