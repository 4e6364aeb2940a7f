"""A run folder mirrored into MongoDB, in the documents of Sacred that Omniboard reads.

The database is a function of the spool: every id is computed from the run's uuid, every write replaces or is
guarded by what must be there before. So a write may be repeated, interrupted or raced at any point, and the
same code serves the live run, its end, and the replay of everything after the database was lost. Of two folders of
one run, as a run and an earlier copy of it, the database keeps the later state.

    runs      _id, uuid, config, result, status, info.metrics, artifacts, .. ; `spool.digest` is written last
              and says which state of the folder the database has in full
    metrics   one document a run and name: steps, values, timestamps, gradient_evaluations
    packed    one document a finished run: the same in short, to be read at once (packed.py)
    fs        artifacts (GridFS)
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import gridfs
from bson import ObjectId
from pymongo import DESCENDING, ReplaceOne, UpdateOne
from pymongo.database import Database
from pymongo.errors import AutoReconnect, DuplicateKeyError

from sacreddnn.tracking import folder as files
from sacreddnn.tracking import mirrored
from sacreddnn.tracking.database import address, prepare
from sacreddnn.tracking.document import document, fit
from sacreddnn.tracking.folder import Metrics, Series
from sacreddnn.tracking.packed import FORMAT, fields, pack
from sacreddnn.tracking.spool import close_stale

MAX_POINTS = 100_000  # of one metric in the database, 6.4 MB; a longer one is thinned there, whole on disk


@dataclass
class Pushed:
    """What one push wrote: `points` of metrics and `artifacts`.

    `changed` is False when all was there; `older` is True when nothing was written, because the database has a
    later state of the run.
    """

    points: int = 0
    artifacts: int = 0
    changed: bool = False
    older: bool = False


class Mirror:
    """Keeps one run folder and one database in step.

    Args:
        folder: the run folder, which a spool may be writing at the same time.
        database: prepared, see `database.prepare`.

    Attributes:
        points: of the run's metrics that the database is known to hold.
        run_id: the number of the run in the database, 0 before the first push.
    """

    def __init__(self, folder: Path, database: Database[dict[str, Any]]):
        self.points = 0
        self.run_id = 0
        self._folder = folder
        self._database = database
        self._metrics = Metrics(folder)
        self._unsent: set[str] = set()
        self._rewritten: set[str] = set()
        self._sent: dict[str, tuple[int, int]] = {}  # name: stride and number of points in the database
        self._stored: set[ObjectId] = set()
        self._uuid = ""
        self._digest: str | None = None  # in the database when we last looked or wrote

    def push(self, *, force: bool = False) -> Pushed:
        """Write what changed since the last push; everything, at the first one and after another wrote this run.

        Args:
            force: write also when the database says that it has this state, never over a later one.

        Raises:
            pymongo.errors.PyMongoError: the database is away; push again later.
            ConnectionError: others write this run all the time; push again later.
            ValueError: a file of the folder cannot be read.
        """
        for _ in range(3):
            if (pushed := self._push(force)) is not None:
                return pushed
            # between the metrics of another, or its run document, stand ours now: let whoever is later write it all
            self._database.runs.update_one({"_id": self.run_id}, {"$set": {"spool.digest": None}})
            self._start_over()
        raise ConnectionError(f"run {self._folder.name}: others write it into this database at the same time")

    def _start_over(self) -> None:
        """Take nothing for granted of what the database has."""
        self.run_id = 0
        self._unsent = set(self._metrics.series)
        self._sent.clear()
        self._stored.clear()

    def _push(self, force: bool) -> Pushed | None:
        """One push; None when another changed the run in the database meanwhile."""
        texts = mirrored.small_files(self._folder)
        changed, rewritten = self._metrics.refresh()
        self._unsent |= changed
        self._rewritten |= rewritten
        digest = mirrored.digest(texts, self._metrics)
        entry = document(self._folder, self._metrics.num_lines)
        first = not self.run_id
        if first:
            self._uuid = entry["uuid"]
            if not self._claim(entry):
                self.run_id = 0
                return Pushed(older=True)
            if self._digest == digest and self._is_packed(entry, digest) and not force:
                self.points = sum(len(series.steps) for series in self._metrics.series.values())
                self._note_end(entry, digest)
                return Pushed()
        pushed = Pushed(points=self._push_metrics(), changed=True)
        self._push_packed(entry, digest)
        entry["artifacts"], pushed.artifacts = self._push_artifacts(entry["artifacts"])
        entry["info"]["metrics"] = [
            {"id": str(object_id(self._uuid, name)), "name": name} for name in self._metrics.series
        ]
        entry["spool"]["digest"] = digest
        # $set, because Omniboard keeps notes and tags in the same document
        ours = {"_id": self.run_id, "spool.digest": self._digest}
        if not self._database.runs.update_one(ours, {"$set": fit(entry)}).matched_count:
            return None
        self._digest = digest
        if first or pushed.artifacts:
            self._delete_earlier(entry["artifacts"])
        self._note_end(entry, digest)
        return pushed

    def _note_end(self, entry: Mapping[str, Any], digest: str) -> None:
        """Let the folder of a run that has ended know that the database has all of it."""
        if entry["status"] != "RUNNING":
            mirrored.note(self._folder, address(self._database), self.run_id, digest)

    def _claim(self, entry: dict[str, Any]) -> bool:
        """Settle the run's number in this database and see which state it has; False when that is a later one."""
        runs = self._database.runs
        number = mirrored.read(self._folder).get(address(self._database), {}).get("run_id", entry["run_id"])
        while True:
            fields = {"spool": 1, "attempts.start_time": 1, "heartbeat": 1}
            if found := runs.find_one({"uuid": self._uuid}, fields):
                self.run_id = found["_id"]
                self._digest = found.get("spool", {}).get("digest")
                mirrored.note(self._folder, address(self._database), self.run_id)
                return _progress(found) <= _progress(entry)
            try:
                runs.insert_one({"_id": number} | fit(entry))
            except DuplicateKeyError:  # another machine has a run of this number
                last = runs.find_one({"_id": {"$gte": 0}}, {"_id": 1}, sort=[("_id", DESCENDING)])
                number = int(last["_id"]) + 1 if last else 1

    def _push_metrics(self) -> int:
        appends: dict[str, UpdateOne] = {}
        replaces: dict[str, ReplaceOne[dict[str, Any]]] = {}
        sent, points = {}, 0
        for name in sorted(self._unsent):
            series = self._metrics.series[name]
            stride = _stride(len(series.steps))
            before = self._sent.get(name, (0, 0))
            total = len(range(0, len(series.steps), stride))
            sent[name] = (stride, total)
            if before[0] == stride and name not in self._rewritten:
                if total > before[1]:
                    appends[name] = self._append(name, series, stride, before[1])
                    points += total - before[1]
            else:
                replaces[name] = self._replace(name, series, stride)
                points += total
        if appends:
            result = self._database.metrics.bulk_write(list(appends.values()), ordered=False)
            if result.matched_count < len(appends):  # another writer, or a lost answer, was here: say it all
                for name in appends:
                    replaces[name] = self._replace(name, self._metrics.series[name], sent[name][0])
        if replaces:
            self._database.metrics.bulk_write(list(replaces.values()), ordered=False)
        self._sent |= sent
        self._unsent.clear()
        self._rewritten.clear()
        self.points = sum(len(series.steps) for series in self._metrics.series.values())
        return points

    def _push_packed(self, entry: Mapping[str, Any], digest: str) -> None:
        """Of a finished run what is read of it, in one document, which says of which state it is."""
        if entry["status"] == "RUNNING":
            self._database.packed.delete_one({"_id": self.run_id})
        else:
            data = pack(fields(self._folder), self._metrics.series)
            packed = {"_id": self.run_id, "digest": digest, "format": FORMAT, "data": data}
            self._database.packed.replace_one({"_id": self.run_id}, packed, upsert=True)

    def _is_packed(self, entry: Mapping[str, Any], digest: str) -> bool:
        """Whether the short document is there too: one from before there were any, or of another format, is not."""
        wanted = {"_id": self.run_id, "digest": digest, "format": FORMAT}
        return entry["status"] == "RUNNING" or self._database.packed.find_one(wanted, {"_id": 1}) is not None

    def _append(self, name: str, series: Series, stride: int, start: int) -> UpdateOne:
        # the size guards against appending twice, when the answer to the first attempt was lost
        guard = {"_id": object_id(self._uuid, name), "run_id": self.run_id, "steps": {"$size": start}}
        columns = _columns(series, start * stride, stride)
        return UpdateOne(guard, {"$push": {key: {"$each": values} for key, values in columns.items()}})

    def _replace(self, name: str, series: Series, stride: int) -> ReplaceOne[dict[str, Any]]:
        one = {"_id": object_id(self._uuid, name)}
        body = {"run_id": self.run_id, "name": name, **_columns(series, 0, stride), "stride": stride}
        return ReplaceOne(one, one | body, upsert=True)

    def _push_artifacts(self, artifacts: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
        """The artifacts with their file ids, and how many were written now.

        One whose file is gone is left out: Omniboard dies when asked for a file id that does not exist.
        """
        store = gridfs.GridFS(self._database)
        entries, written = [], 0
        for artifact in artifacts:
            path, name = self._folder / artifact["path"], artifact["name"]
            file_id = object_id(self._uuid, name, artifact["sha256"])
            filename = f"artifact://runs/{self.run_id}/{name}"
            if file_id not in self._stored and not store.exists(file_id):
                if not path.is_file():
                    continue
                store.delete(file_id)  # chunks of an upload that broke off
                with path.open("rb") as file:
                    store.put(file, _id=file_id, filename=filename, content_type=artifact["content_type"])
                written += 1
            self._stored.add(file_id)
            entries.append({"name": name, "file_id": file_id})
        return entries, written

    def _delete_earlier(self, artifacts: list[dict[str, Any]]) -> None:
        """Delete earlier versions of these artifacts, once the run names the new ones and nobody asks for the old."""
        if not artifacts:
            return
        names = [f"artifact://runs/{self.run_id}/{one['name']}" for one in artifacts]
        earlier = {"filename": {"$in": names}, "_id": {"$nin": [one["file_id"] for one in artifacts]}}
        store = gridfs.GridFS(self._database)
        for old in list(self._database.fs.files.find(earlier, {"_id": 1})):
            store.delete(old["_id"])


@dataclass
class Replayed:
    """Counts of a replay.

    `running` were left to their processes; of those `older` the database has a later state, which it keeps; `failed`
    has a line for each bad folder.
    """

    runs: int = 0
    unchanged: int = 0
    running: int = 0
    older: int = 0
    points: int = 0
    artifacts: int = 0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.runs} runs replayed ({self.points} metric points, {self.artifacts} artifacts)"
        text += f", {self.unchanged} were there, {self.running} still running"
        text += f", {self.older} older than what is there" if self.older else ""
        return text + "".join(f"\nnot replayed: {line}" for line in self.failed)


def mirror(folder: str | Path, database: Database[dict[str, Any]], *, force: bool = False) -> Pushed:
    """Write one run folder into a prepared database; what was written."""
    return Mirror(Path(folder), database).push(force=force)


def replay(
    root: str | Path,
    database: Database[dict[str, Any]],
    *,
    runs: Iterable[Path] | None = None,
    force: bool = False,
) -> Replayed:
    """Bring the database in step with all run folders; what was done.

    Runs that died while RUNNING become INTERRUPTED first, where their folders can be written. Doing it twice changes
    nothing. A folder that is an older copy of a run leaves the later state there, also with `force`.

    Args:
        root: the folder that holds all runs.
        database: of `database.connect`.
        runs: only these folders.
        force: rewrite also what the database says it has, as after parts of it were lost.

    Raises:
        pymongo.errors.AutoReconnect: the database went away; replay again later.
    """
    prepare(database)
    close_stale(root)
    done = Replayed()
    for folder in files.folders(root) if runs is None else runs:
        try:
            if files.is_running(folder):
                done.running += 1
                continue
            pushed = mirror(folder, database, force=force)
        except AutoReconnect:
            raise
        except Exception as error:  # one broken folder must not keep the others out
            done.failed.append(f"{folder}: {' '.join(str(error).split())[:300]}")
            continue
        done.runs += pushed.changed
        done.older += pushed.older
        done.unchanged += not (pushed.changed or pushed.older)
        done.points += pushed.points
        done.artifacts += pushed.artifacts
    return done


def object_id(*parts: str) -> ObjectId:
    """The id that these parts always have, in every database."""
    return ObjectId(hashlib.sha256("\0".join(parts).encode()).digest()[:12])


def _progress(entry: Mapping[str, Any]) -> tuple[int, int, datetime]:
    """How far a run is: attempts, lines of metrics and last sign of life, none of which ever gets less in a folder."""
    lines, alive = entry.get("spool", {}).get("lines", 0), entry.get("heartbeat") or datetime.min
    # the database keeps whole milliseconds
    return len(entry.get("attempts") or []), lines, alive.replace(microsecond=alive.microsecond // 1000 * 1000)


def _stride(num_points: int) -> int:
    """Every how many-th point is kept: a power of two, so that a growing metric is rewritten rarely."""
    stride = 1
    while num_points > MAX_POINTS * stride:
        stride *= 2
    return stride


def _columns(series: Series, start: int, stride: int) -> dict[str, list[Any]]:
    part = slice(start, None, stride)
    return {
        "steps": series.steps[part],
        "values": series.values[part],
        "timestamps": series.times[part],
        "gradient_evaluations": series.gradient_evaluations[part],
    }
