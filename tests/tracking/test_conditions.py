from datetime import datetime

import pytest

from sacreddnn.tracking.conditions import select
from sacreddnn.tracking.runs import Record


def record(run_id, lr=0.1, status="COMPLETED", tags=(), error=8.0, augmentation=(), clip=None):
    config = {"training": {"lr": lr, "clip_norm": clip}, "algorithm": {"name": "sgd"}, "tracking": {"tags": list(tags)},
              "dataset": {"augmentation": list(augmentation)}}  # fmt: skip
    return Record(run_id, f"u{run_id}", status, datetime(2026, 11, run_id, 12), None, config, f"abc{run_id}",
                  {"test/center/error": error}, {}, {"commit": "f00d" if run_id == 1 else "beef"})  # fmt: skip


RUNS = [
    record(1), record(2, lr=0.01, tags=["demo", "late"]), record(3, status="FAILED", error=90.0),
    record(4, augmentation=["crop", "flip"], clip=1.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [1, 2, 3, 4]),
        (["training.lr<0.1"], [2]),
        (["training.lr=0.10"], [1, 3, 4]),
        (["training.lr>=1e-2", "training.lr!=0.1"], [2]),
        (["status=FAILED"], [3]),
        (["status!=FAILED", "test/center/error<=8"], [1, 2, 4]),
        (["tag=demo"], [2]),
        (["tag!=demo"], [1, 3, 4]),
        (["hash=abc3"], [3]),
        (["commit=f0"], [1]),
        (["start_time>=2026-11-03"], [3, 4]),
        (["start_time<2026-11-02T13"], [1, 2]),
        (["start_time=2026-11-02"], [2]),
        (["dataset.augmentation=flip"], [4]),
        (["dataset.augmentation=[crop, flip]"], [4]),
        (["training.clip_norm=null"], [1, 2, 3]),
        (["training.clip_norm>0"], [4]),  # None is not larger than anything
        (["algorithm.name~sg", "run_id>2"], [3, 4]),
        (["start_time>=2026-11-31"], []),  # no such day, but text that can be compared
        (["training.lr=[0.1]"], []),
    ],
)
def test_conditions(words, expected):
    assert [one.run_id for one in select(RUNS, words)] == expected


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("training.lrr=1", "training.lrr: no run has it, did you mean training.lr?"),
        ("training.lr<[0.1]", "'training.lr<.0.1.': < compares numbers or text, not list"),
        ("run_id<2026-01-01", "< compares numbers or text, not date"),
        ("training.lr>=null", ">= compares numbers or text, not NoneType"),
        ("demo", "'demo': is no condition; write KEY=VALUE"),
    ],
)
def test_what_is_no_condition(word, line):
    with pytest.raises(ValueError, match=line.replace("?", r"\?")):
        select(RUNS, [word])
