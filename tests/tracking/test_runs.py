import gc
import math
from datetime import datetime

import pandas as pd
import pytest
from pymongo import monitoring

from sacreddnn.tracking import database as databases
from sacreddnn.tracking.folder import Series
from sacreddnn.tracking.mirror import replay
from sacreddnn.tracking.packed import FORMAT, pack, unpack
from sacreddnn.tracking.runs import Record, frame, load, load_spool, metrics
from sacreddnn.tracking.spool import Spool


def record(run_id, series):
    return Record(run_id, str(run_id), "COMPLETED", None, None, {}, "", {}, {}, series=series)


@pytest.fixture
def root(tmp_path):
    for index, name in enumerate(("sgd", "entropy_sgd", "replicated_sgd")):
        config = {"algorithm": {"name": name}, "training": {"lr": 0.1, "a.b": None}, "seed": index}
        spool = Spool.create(tmp_path, config, info={"machine": {"x.y": 1}})
        for step in range(4):
            spool.log("test/center/error", 10 / (step + 1) + index, step, 100 * step)
            spool.log("train/center/loss", 0.5, step)
        spool.log("test/center/error", 5.0, 1, 100)
        if index < 2:
            spool.result({"test/center/error": 9.0 + index, "local_energy/0.3": 0.5})
            spool.end("COMPLETED")
        else:
            spool.end("FAILED", fail_trace=["boom"])
        spool.close()
    return tmp_path


def test_both_ways_give_the_same_records(root, database):
    replay(root, database)
    from_disk, from_database = load_spool(root), load(database)
    assert from_disk == from_database
    assert len(from_disk) == 3
    pd.testing.assert_frame_equal(frame(from_disk), frame(from_database))
    pd.testing.assert_frame_equal(metrics(from_disk), metrics(from_database))


def test_select(root, database):
    replay(root, database)
    assert [one.run_id for one in load(database, ids=[3, 1, 99])] == [1, 3]
    assert [one.run_id for one in load(database, query={"config.algorithm.name": "entropy_sgd"})] == [2]
    assert [one.run_id for one in load(database, query={"status": "FAILED"})] == [3]
    assert load(database, ids=[1, 2], query={"status": "FAILED"}) == []
    assert [one.run_id for one in load_spool(root, ids=[3, 1])] == [1, 3]
    with pytest.raises(FileNotFoundError, match="run '9'"):
        load_spool(root, ids=[9])


def test_frames(root):
    records = load_spool(root)
    table = frame(records)
    assert list(table.index) == [1, 2, 3]
    assert list(table["config.algorithm.name"]) == ["sgd", "entropy_sgd", "replicated_sgd"]
    assert table.loc[2, "test/center/error"] == 10.0
    assert pd.isna(table.loc[3, "test/center/error"])
    points = records[0].metrics
    assert list(points.columns) == ["name", "step", "value", "gradient_evaluations", "time"]
    error = points[points.name == "test/center/error"]
    assert list(error.step) == [0, 1, 2, 3]
    assert list(error.value) == [10.0, 5.0, 10 / 3, 2.5]
    assert list(error.gradient_evaluations) == [0, 100, 200, 300]
    assert points[points.name == "train/center/loss"].gradient_evaluations.isna().all()
    assert set(metrics(records).run_id) == {1, 2, 3}


def test_nothing_recorded(tmp_path, database):
    assert load(database) == load_spool(tmp_path) == []
    assert len(frame([])) == len(metrics([])) == 0


def test_documents_of_sacred_itself_are_passed_over(root, database):
    database.runs.insert_one({"_id": 77, "config": {}})
    database.metrics.insert_one(
        {"run_id": 77, "name": "x", "steps": [1], "values": [1.0], "timestamps": [datetime(2026, 1, 1)]}
    )
    replay(root, database)
    assert [one.run_id for one in load(database)] == [1, 2, 3]


class Count(monitoring.CommandListener):
    def __init__(self):
        self.commands = []

    def started(self, event):
        self.commands.append(event.command_name)

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


@pytest.mark.parametrize("running", [0, 3, 300])
@pytest.mark.parametrize("arguments", [{}, {"ids": range(200, 500)}, {"query": {"status": "COMPLETED"}}])
def test_two_round_trips_for_many_runs(database, arguments, running, monkeypatch):
    names = [f"split/network/{index}" for index in range(3)]
    runs = [
        {"_id": run_id, "uuid": str(run_id), "status": "COMPLETED", "start_time": None, "stop_time": None}
        | {"config": {"seed": run_id}, "config_hash": "", "result": None, "info": {}}
        for run_id in range(1, 500)
    ]
    database.runs.insert_many(runs)
    entries = [
        {"run_id": one["_id"], "name": name, "steps": [1], "values": [1.0], "timestamps": [datetime(2026, 1, 1)]}
        for one in runs
        for name in names
    ]
    database.metrics.insert_many(entries)
    series = Series([1], [1.0], [None], [datetime(2026, 1, 1)])
    for run in runs[: len(runs) - running]:
        fields = {"uuid": run["uuid"], "status": "COMPLETED", "start_time": "2026-01-01T00:00:00+00:00"}
        fields |= {"stop_time": None, "config": run["config"], "config_hash": "", "result": {}, "info": {}}
        data = pack(fields | {"git": {}, "host": {}}, dict.fromkeys(names, series))
        database.packed.insert_one({"_id": run["_id"], "digest": None, "format": FORMAT, "data": data})
    count = Count()
    monkeypatch.setitem(databases.TIMEOUTS, "event_listeners", [count])
    url = f"mongodb://{databases.address(database)}"
    counted = databases.connect(url)
    count.commands.clear()
    records = load(counted, **arguments)
    counted.client.close()
    trips = 4 if running else 2  # two more for runs that are not finished
    assert count.commands[:trips] == ["find"] * trips
    assert set(count.commands[trips:]) <= {"endSessions"}
    assert all(record.series == dict.fromkeys(names, series) for record in records)  # packed or not


def test_packed_runs_are_the_same_to_the_last_bit():
    times = [datetime(2026, 1, 1, 12, 30, 15, 123_000), datetime(1969, 12, 31, 23, 59, 59, 999_000)]
    run = {"uuid": "ü", "config": {"a.b": {"$c": [1, 0.1 + 0.2, None, 2**70, math.inf]}}, "stop_time": None}
    metrics = {
        "a": Series([3, -1], [0.1 + 0.2, 1e-310], [None, 2**62], times),
        "empty": Series(),
        "ü/loss": Series([2**62], [-1.7976931348623157e308], [0], times[:1]),
    }
    assert unpack(pack(run, metrics)) == (run, metrics)
    assert unpack(pack(run, {})) == (run, {})


def test_series_of_unequal_lengths_are_refused():
    """numpy would repeat the one number."""
    with pytest.raises(ValueError, match="metric 'a': 3 steps"):
        pack({}, {"a": Series([1, 2, 3], [1.0, 2.0, 3.0], [7], [datetime(2026, 1, 1)] * 3)})


def test_points_as_rows():
    """Against a plain loop; also no metrics, no points, what is not finite, times before 1970."""
    times = [datetime(2026, 1, 1, 12, 30, 15, 123_000), datetime(1969, 12, 31, 23, 59, 59, 999_000)]
    found = [
        {"b": Series([3, -1], [math.nan, -math.inf], [None, 2**62], times), "a": Series([1], [0.5], [7], times[:1])},
        {},
        {"a": Series(), "c": Series([9], [1e-310], [0], times[1:])},
    ]
    found = [one if packed else unpack(pack({}, one))[1] for one in found for packed in (True, False)]
    records = [record(number, series) for number, series in enumerate(found)]
    rows = [
        (number, name, step, value, evaluations, time)
        for number, one in enumerate(found)
        for name in sorted(one)
        for step, value, evaluations, time in zip(
            one[name].steps, one[name].values, one[name].gradient_evaluations, one[name].times, strict=True
        )
    ]
    frame = metrics(records)
    for (_, made), row in zip(frame.iterrows(), rows, strict=True):
        number, name, step, value, evaluations, time = made
        assert (number, name, step, time) == (row[0], row[1], row[2], row[5])
        assert evaluations is pd.NA if row[4] is None else evaluations == row[4]
        assert value == row[3] or (math.isnan(value) and math.isnan(row[3]))
    assert [str(dtype) for dtype in frame.dtypes] == ["int64", "str", "int64", "float64", "Int64", "datetime64[ms]"]


def test_long_runs_are_not_packed(monkeypatch):
    monkeypatch.setattr("sacreddnn.tracking.packed.MAX_BYTES", 100)
    assert pack({"info": {}}, {}) is not None
    assert pack({"info": {str(i): i for i in range(100)}}, {}) is None


def test_reading_leaves_the_garbage_collector_as_it_was(database, monkeypatch):
    seen = []
    monkeypatch.setattr("sacreddnn.tracking.runs._among", lambda ids: seen.append(gc.isenabled()) or {"$in": []})
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            assert load(database, query={"status": "RUNNING"}) == []
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
    assert seen == [False, False]


def test_a_metric_without_gradient_evaluations_shifts_no_other(root, database):
    replay(root, database)
    database.packed.delete_many({})
    database.metrics.update_one({"run_id": 1, "name": "test/center/error"}, {"$unset": {"gradient_evaluations": 1}})
    expected = metrics(load_spool(root))
    lost = (expected.run_id == 1) & (expected.name == "test/center/error")
    expected.loc[lost, "gradient_evaluations"] = pd.NA
    pd.testing.assert_frame_equal(metrics(load(database)), expected)
