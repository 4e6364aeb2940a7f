import math
import shutil
import time

import bson
import gridfs
import pytest

from sacreddnn.tracking import document, folder, locks, mirror, packed
from sacreddnn.tracking.database import prepare
from sacreddnn.tracking.mirror import Mirror, replay
from sacreddnn.tracking.mirrored import is_mirrored
from sacreddnn.tracking.runs import load, load_spool
from sacreddnn.tracking.spool import Spool


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


def record(root, num_points=5, config=None, run_id=None, **fields):
    spool = Spool.create(root, config or {"lr": 0.1, "seed": 1}, run_id=run_id, **fields)
    for step in range(num_points):
        spool.log("test/center/error", 90 / (step + 1), step, 10 * step)
        spool.log("train/center/loss", 1 / (step + 1), step)
    (spool.folder / "center.pt").write_bytes(bytes(300_000))
    spool.artifact(spool.folder / "center.pt")
    spool.result({"test/center/error": 9.5, "local_energy/0.3": 1.0})
    spool.output("printed\n")
    spool.end("COMPLETED")
    spool.close()
    return spool.folder


def everything(database):
    """All documents but upload dates, which are not part of what is recorded."""
    files = [{**one, "uploadDate": None} for one in database.fs.files.find(sort=[("_id", 1)])]
    rest = [list(database[name].find(sort=[("_id", 1)])) for name in ("runs", "metrics", "fs.chunks")]
    for chunk in rest[2]:
        chunk["_id"] = None
    return files, *rest


def test_documents_are_those_of_sacred(root, database):
    run = record(root, command="main", experiment={"name": "sacreddnn", "mainfile": "train.py"}, git={"commit": "abc"})
    done = replay(root, database)
    assert (done.runs, done.points, done.artifacts, done.failed) == (1, 10, 1, [])
    (entry,) = database.runs.find()
    # what Omniboard 2.16.1 reads
    assert entry["_id"] == 1
    assert entry["format"] == "MongoObserver-0.8.7"
    assert entry["experiment"]["sources"] == []
    assert entry["experiment"]["repositories"] == [{"url": None, "commit": "abc", "dirty": None}]
    assert entry["config"] == {"lr": 0.1, "seed": 1}
    assert entry["status"] == "COMPLETED"
    assert entry["start_time"] <= entry["heartbeat"] == entry["stop_time"]  # between them is the duration shown
    assert entry["captured_out"] == "printed\n"
    assert entry["result"] == {"test/center/error": 9.5, "local_energy/0．3": 1.0}
    assert entry["fail_trace"] is None
    for metric in entry["info"]["metrics"]:
        found = database.metrics.find_one({"_id": bson.ObjectId(metric["id"])})
        assert (found["run_id"], found["name"]) == (1, metric["name"])
        assert found["steps"] == [0, 1, 2, 3, 4]
        assert all(type(value) is float for value in found["values"])
        assert found["timestamps"] == sorted(found["timestamps"])
    error = database.metrics.find_one({"name": "test/center/error"})
    assert error["gradient_evaluations"] == [0, 10, 20, 30, 40]
    (artifact,) = entry["artifacts"]
    stored = gridfs.GridFS(database).get(artifact["file_id"])
    assert stored.read() == (run / "center.pt").read_bytes()
    assert stored.filename == "artifact://runs/1/center.pt"


def test_replay_twice_changes_nothing(root, database):
    for _ in range(3):
        record(root)
    replay(root, database)
    before = everything(database)
    done = replay(root, database)
    assert (done.runs, done.unchanged) == (0, 3)
    assert everything(database) == before
    assert replay(root, database, force=True).runs == 3
    assert everything(database) == before


def test_a_lost_database_is_rebuilt(root, connect):
    record(root)
    database = connect()
    replay(root, database)
    before = everything(database)
    database.client.drop_database(database.name)
    replay(root, database)
    assert everything(database) == before
    database.metrics.delete_many({})
    database.fs.files.delete_many({})  # chunks stay, as after an upload that broke off
    replay(root, database, force=True)
    assert everything(database) == before
    database.client.close()


def test_growing_is_incremental_and_equal_to_a_replay(root, database):
    spool = Spool.create(root, {})
    live = Mirror(spool.folder, database)
    assert live.push().points == 0
    for step in range(4):
        spool.log("a", step, step)
        spool.log("b", step, 10 + step, step)
        assert live.push().points == 2
    assert live.push().points == 0
    spool.log("a", 9.0, 2)  # as after a resume
    live.push()
    assert live.points == 8
    assert database.metrics.find_one({"name": "a"})["values"] == [0.0, 1.0, 9.0, 3.0]
    spool.end("COMPLETED")
    spool.close()
    live.push()
    before = everything(database)
    replay(root, database, force=True)
    assert everything(database) == before


def test_an_answer_that_was_lost_does_not_double(root, database, monkeypatch):
    spool = Spool.create(root, {})
    live = Mirror(spool.folder, database)
    spool.log("a", 1.0, 1)
    live.push()
    spool.log("a", 2.0, 2)
    updated = type(database.metrics).bulk_write

    def lost(*arguments, **options):
        updated(*arguments, **options)
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(type(database.metrics), "bulk_write", lost)
        with pytest.raises(ConnectionError):
            live.push()
    live.push()
    assert database.metrics.find_one({"name": "a"})["steps"] == [1, 2]
    spool.close()


def test_points_that_the_database_lost_come_back(root, database):
    spool = Spool.create(root, {})
    live = Mirror(spool.folder, database)
    for step in range(3):
        spool.log("a", step, step)
        spool.log("b", step, step)
    live.push()
    # as after a crash of a server that acknowledges before it writes
    database.metrics.update_one({"name": "a"}, {"$set": {"steps": [0], "values": [0.0]}})
    database.metrics.delete_one({"name": "b"})
    for name in ("a", "b"):
        spool.log(name, 3, 3)
    live.push()
    for name in ("a", "b"):
        assert database.metrics.find_one({"name": name})["values"] == [0.0, 1.0, 2.0, 3.0]
    spool.close()


def test_two_machines_with_the_same_number(tmp_path, database):
    for machine in ("one", "two", "three"):
        record(tmp_path / machine, config={"machine": machine})
        replay(tmp_path / machine, database)
    assert {one["_id"]: one["config"]["machine"] for one in database.runs.find()} == {1: "one", 2: "two", 3: "three"}
    assert database.metrics.count_documents({}) == 6
    # each keeps its number, whoever is first when the database is built again
    name = database.name
    database.client.drop_database(name)
    for machine in ("three", "two", "one"):
        replay(tmp_path / machine, database)
    assert {one["_id"]: one["config"]["machine"] for one in database.runs.find()} == {1: "one", 2: "two", 3: "three"}


def test_numbers_of_sacred_itself_are_respected(root, database):
    database.runs.insert_many([{"_id": 1, "status": "COMPLETED"}, {"_id": 41}, {"_id": "named"}])
    record(root)
    replay(root, database)
    assert database.runs.find_one({"uuid": {"$exists": True}})["_id"] == 42
    assert database.runs.find_one({"_id": 1}) == {"_id": 1, "status": "COMPLETED"}
    assert [one.run_id for one in load(database)] == [42]
    database.packed.delete_many({})
    assert [one.run_id for one in load(database, query={"status": "COMPLETED"})] == [42]


def test_notes_of_omniboard_stay(root, database):
    record(root)
    replay(root, database)
    database.runs.update_one({"_id": 1}, {"$set": {"omniboard": {"tags": ["good"], "notes": "x"}}})
    replay(root, database, force=True)
    assert database.runs.find_one({"_id": 1})["omniboard"]["tags"] == ["good"]


def test_keys_that_mongodb_misreads(root, database):
    record(root, config={"a.b": {"$set": 1}, "big": 2**70, "inf": math.inf}, info={"x.y": [{"$z": None}]})
    assert replay(root, database).failed == []
    entry = database.runs.find_one()
    assert document.decoded(entry["config"]) == {"a.b": {"$set": 1}, "big": float(2**70), "inf": math.inf}


def test_a_document_that_is_too_long_is_cut(root, database):
    run = record(root, info={"huge": "x" * 17_000_000})
    assert replay(root, database).failed == []
    entry = database.runs.find_one()
    assert "kept in the run folder only" in entry["info"]["cut"]
    assert len(entry["info"]["metrics"]) == 2
    assert entry["status"] == "COMPLETED"
    assert len(folder.read_run(run)["info"]["huge"]) == 17_000_000


@pytest.mark.parametrize("field", ["captured_out", "fail_trace", "config", "attempts"])
def test_fit_cuts_any_field(field):
    long = {"captured_out": "x" * 9000, "fail_trace": ["y" * 200_000], "config": {"k": "z" * 9000}}
    entry = {"uuid": "u", "info": {"metrics": []}, field: long.get(field, [{"config": "w" * 9000}] * 2)}
    limit = 150_000 if field == "fail_trace" else 5000
    assert len(bson.encode(document.fit(entry, limit))) <= limit
    assert document.fit(entry, 10**7) == entry


def test_a_long_metric_is_thinned(root, database, monkeypatch):
    monkeypatch.setattr(mirror, "MAX_POINTS", 10)
    spool = Spool.create(root, {})
    live = Mirror(spool.folder, database)
    for step in range(45):
        spool.log("a", step, step)
        live.push()
        found = database.metrics.find_one({"name": "a"})
        assert found["steps"] == list(range(0, step + 1, found["stride"]))
        assert len(found["steps"]) <= 10
    assert found["stride"] == 8
    spool.close()
    assert len(folder.read_metrics(spool.folder)["a"].steps) == 45


def test_a_broken_folder_does_not_keep_the_others_out(root, database):
    for _ in range(3):
        record(root)
    (root / "2" / "config.yaml").write_text("a: [")
    done = replay(root, database)
    assert done.runs == 2
    assert len(done.failed) == 1
    assert str(root / "2") in str(done)


def test_a_damaged_record_does_not_keep_the_others_out(root, database):
    for _ in range(3):
        record(root)
    (root / "2" / "run.json").write_text('{"run_id": 2, "uu')
    done = replay(root, database)
    assert done.runs == 2
    (line,) = done.failed
    assert "run.json: not JSON" in line


def test_runs_of_an_archive_that_cannot_be_written_are_replayed_as_they_are(root, database, monkeypatch):
    record(root)
    Spool.create(root, {"died": True}).close()
    record(root)

    def read_only(path):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("sacreddnn.tracking.locks.take", read_only)
    done = replay(root, database)
    assert (done.runs, done.failed) == (3, [])
    assert [one["status"] for one in database.runs.find(sort=[("_id", 1)])] == ["COMPLETED", "RUNNING", "COMPLETED"]


def test_a_lock_that_cannot_be_read_does_not_keep_the_others_out(root, database, monkeypatch):
    for _ in range(3):
        record(root)
    is_held = locks.is_held

    def of_another_user(path):
        if path.parent.name == "1":
            raise PermissionError(13, "Permission denied", str(path))
        return is_held(path)

    monkeypatch.setattr(locks, "is_held", of_another_user)
    done = replay(root, database)
    assert done.runs == 2
    (line,) = done.failed
    assert "Permission denied" in line
    assert "1/lock" in line


def improve(run):
    """Another version of the center."""
    (run / "center.pt").write_bytes(b"better")
    spool = Spool.resume(run)
    spool.artifact(run / "center.pt")
    spool.end("COMPLETED")
    spool.close()


def test_an_artifact_that_is_gone_is_not_listed(root, database):
    run = record(root)
    (run / "center.pt").unlink()
    replay(root, database)
    assert database.runs.find_one()["artifacts"] == []


def test_a_new_version_of_an_artifact_replaces_the_old(root, database):
    run = record(root)
    replay(root, database)
    improve(run)
    replay(root, database)
    assert database.fs.files.count_documents({}) == 1
    (artifact,) = database.runs.find_one()["artifacts"]
    assert gridfs.GridFS(database).get(artifact["file_id"]).read() == b"better"


def test_a_running_run_is_left_to_its_process(root, database):
    spool = Spool.create(root, {})
    assert replay(root, database).running == 1
    assert database.runs.count_documents({}) == 0
    spool.close()
    assert replay(root, database).runs == 1
    assert database.runs.find_one()["status"] == "INTERRUPTED"


def test_a_moved_folder_is_the_same_run(root, tmp_path, database):
    record(root)
    replay(root, database)
    shutil.move(root, tmp_path / "moved")
    prepare(database)
    replay(tmp_path / "moved", database, force=True)
    assert database.runs.count_documents({}) == 1


def test_a_finished_run_is_packed_and_a_resumed_one_is_not(root, database):
    record(root)
    replay(root, database)
    (packed,) = database.packed.find()
    spool = Spool.resume(root / "1", None)
    live = Mirror(spool.folder, database)
    spool.log("test/center/error", 1.0, 99)
    live.push()
    assert packed["_id"] == 1
    assert database.packed.count_documents({}) == 0
    assert load(database)[0].series["test/center/error"].steps[-1] == 99
    spool.end("COMPLETED")
    live.push()
    spool.close()
    assert database.packed.count_documents({}) == 1
    assert load(database) == load_spool(root)


def test_packed_metrics_of_another_state_do_not_count(root, database):
    """As when the replay of a finished run and its resumption race."""
    record(root)
    replay(root, database)
    old = database.packed.find_one()
    spool = Spool.resume(root / "1", None)
    live = Mirror(spool.folder, database)
    spool.log("test/center/error", 1.0, 99)
    live.push()
    database.packed.insert_one(old)
    assert load(database)[0].series["test/center/error"].steps[-1] == 99
    spool.end("COMPLETED")
    spool.close()


def test_very_long_runs_are_not_packed(root, database, monkeypatch):
    record(root)
    replay(root, database)
    assert database.packed.count_documents({}) == 1
    monkeypatch.setattr("sacreddnn.tracking.packed.MAX_POINTS", 3)
    replay(root, database, force=True)
    assert database.packed.find_one()["data"] is None
    assert load(database) == load_spool(root)
    assert replay(root, database).unchanged == 1


def test_packed_runs_of_another_format_are_packed_again(root, database):
    record(root)
    replay(root, database)
    database.packed.update_many({}, {"$set": {"format": 1, "data": b"of another format"}})
    assert load(database) == load_spool(root)
    assert replay(root, database).runs == 1
    assert database.packed.find_one()["format"] == packed.FORMAT
    assert replay(root, database).unchanged == 1


def test_runs_that_a_database_had_before_it_had_packed_ones_are_packed(root, database, monkeypatch):
    for _ in range(2):
        record(root)
    replay(root, database)
    before = list(database.packed.find(sort=[("_id", 1)]))
    database.packed.delete_one({"_id": 1})
    database.packed.update_one({"_id": 2}, {"$set": {"digest": "of another state"}})
    assert (replay(root, database).runs, replay(root, database).unchanged) == (2, 2)
    assert list(database.packed.find(sort=[("_id", 1)])) == before
    database.packed.delete_many({})
    monkeypatch.setattr("sacreddnn.tracking.packed.MAX_POINTS", 3)
    assert (replay(root, database).runs, replay(root, database).unchanged) == (2, 2)
    assert [one["data"] for one in database.packed.find()] == [None, None]  # too long to be packed


def test_the_artifacts_that_a_run_names_are_there_at_every_moment(root, database, monkeypatch):
    run = record(root)
    replay(root, database)
    improve(run)

    def broken(*arguments, **options):
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(type(database.runs), "update_one", broken)
        with pytest.raises(ConnectionError):
            Mirror(run, database).push()
    store = gridfs.GridFS(database)
    (artifact,) = database.runs.find_one()["artifacts"]
    assert len(store.get(artifact["file_id"]).read()) == 300_000
    Mirror(run, database).push()
    (artifact,) = database.runs.find_one()["artifacts"]
    assert store.get(artifact["file_id"]).read() == b"better"
    assert [one["_id"] for one in database.fs.files.find()] == [artifact["file_id"]]


def test_a_folder_knows_whether_its_last_state_is_in_a_database(root, database):
    run = record(root)
    assert not is_mirrored(run)
    replay(root, database)
    assert is_mirrored(run)
    spool = Spool.resume(run, None)
    live = Mirror(spool.folder, database)
    spool.log("test/center/error", 1.0, 99)
    live.push()
    assert not is_mirrored(run)  # it has not ended
    spool.end("COMPLETED")
    spool.close()
    assert not is_mirrored(run)
    live.push()
    assert is_mirrored(run)
    (run / "database.json").unlink()
    assert replay(root, database).unchanged == 1
    assert is_mirrored(run)


def copied(folder, to):
    """A copy of a run folder as a backup has it, in a root of its own."""
    return shutil.copytree(folder, to / folder.name)


def points(database):
    return {one["name"]: len(one["steps"]) for one in database.metrics.find()}


@pytest.mark.parametrize("force", [False, True])
def test_an_old_copy_does_not_replace_what_is_newer(root, tmp_path, database, force):
    spool = Spool.create(root, {})
    for step in range(100):
        if step == 5:
            copied(spool.folder, tmp_path / "copy")
        spool.log("a", step, step)
    spool.result({"a": 99})
    spool.end("COMPLETED")
    spool.close()
    replay(root, database)
    before = everything(database)
    done = replay(tmp_path / "copy", database, force=force)
    assert (done.runs, done.unchanged, done.older, done.failed) == (0, 0, 1, [])
    assert "1 older than what is there" in str(done)
    assert everything(database) == before
    assert is_mirrored(spool.folder)
    assert not is_mirrored(tmp_path / "copy" / "1")
    assert (replay(root, database).unchanged, load(database)) == (1, load_spool(root))


@pytest.mark.parametrize("state", ["fewer attempts", "fewer lines", "an earlier heartbeat"])
def test_what_older_means_and_the_other_way_round_all_is_written(root, tmp_path, database, state):
    spool = Spool.create(root, {})
    spool.log("a", 1.0, 1)
    copied(spool.folder, tmp_path / "copy")
    time.sleep(0.002)  # the times in a database are whole milliseconds
    if state == "fewer attempts":
        spool.close()
        spool = Spool.resume(spool.folder)
    if state == "fewer lines":
        spool.log("a", 2.0, 2)
    spool.end("COMPLETED")
    spool.close()
    assert replay(tmp_path / "copy", database).runs == 1
    assert database.runs.find_one()["status"] == "INTERRUPTED"
    assert replay(root, database).runs == 1
    assert replay(tmp_path / "copy", database).older == 1
    assert database.runs.find_one()["status"] == "COMPLETED"
    assert load(database) == load_spool(root)


def test_a_copy_replayed_while_the_run_is_pushed_is_written_over_in_full(root, tmp_path, database, monkeypatch):
    spool = Spool.create(root, {})
    live = Mirror(spool.folder, database)
    live.push()
    for name in ("a", "b"):
        spool.log(name, 0, 0)
    copied(spool.folder, tmp_path / "copy")
    write_metrics = Mirror._push_metrics

    def overtaken(one):
        """The copy has seen that it is further, and so is the run itself before the copy writes."""
        if one is not live:
            for step in range(1, 100):
                spool.log("a", step, step)
            live.push()
        return write_metrics(one)

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "_push_metrics", overtaken)
        assert replay(tmp_path / "copy", database).older == 1
    assert points(database) == {"a": 1, "b": 1}
    spool.log("b", 1, 1)
    spool.end("COMPLETED")
    spool.close()
    live.push()
    assert points(database) == {"a": 100, "b": 2}
    assert load(database) == load_spool(root)
    assert replay(root, database).unchanged == 1


def test_a_run_that_is_deleted_from_the_database_while_it_runs_comes_back_whole(root, database):
    spool = Spool.create(root, {})
    live = Mirror(spool.folder, database)
    for name in ("a", "b"):
        spool.log(name, 0, 0)
    live.push()
    for collection in (database.runs, database.metrics):
        collection.delete_many({})
    spool.log("a", 1, 1)
    live.push()
    spool.close()
    assert points(database) == {"a": 2, "b": 1}
    assert database.runs.find_one()["spool"]["digest"]
