"""Tables of runs as files: CSV, JSON, Parquet, by the ending of the name."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

ENDINGS = (".csv", ".json", ".parquet")


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write the frame with its index; a file that is there is replaced as a whole.

    Raises:
        ValueError: another ending, or Parquet without its library.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: {path.suffix or 'no ending'} is not allowed, allowed: {', '.join(ENDINGS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix == ".csv":
            frame.to_csv(aside)
        elif path.suffix == ".json":
            frame.reset_index().to_json(aside, orient="records", indent=1, date_format="iso")
        else:
            _parquet(frame, aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    # a column of Parquet has one type: lists and columns of several kinds become text
    mixed = [name for name in frame.columns if len({type(v) for v in frame[name].dropna()}) > 1]
    listed = [name for name in frame.columns if frame[name].map(lambda v: isinstance(v, (list, dict))).any()]
    frame = frame.astype(dict.fromkeys({*mixed, *listed}, str))
    try:
        frame.to_parquet(path)
    except ImportError:
        raise ValueError("Parquet needs pyarrow: pip install 'sacreddnn[parquet]'") from None
