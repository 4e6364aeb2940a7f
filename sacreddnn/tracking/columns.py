"""The columns that a reader of these runs wants in Omniboard's list.

They are Omniboard's custom columns: a name and the path of a value in the run document. Its metric columns are left
out, because they join the whole metrics of every run; the `result` of a run holds the last values as plain numbers.
"""

from __future__ import annotations

from typing import Any

from pymongo.database import Database

from sacreddnn.tracking.mirror import object_id

COLUMNS = {
    "dataset": "config.dataset.name",
    "network": "config.model.name",
    "algorithm": "config.algorithm.name",
    "replicas": "config.algorithm.replicas",
    "test_error": "result.test/center/error",  # percent, of the center
    "train_error": "result.train/center/error",
    "local_energy": "result.local_energy",  # percentage points
    "at_sigma": "config.evaluation.flatness.headline",
    "gradient_evaluations": "result.gradient_evaluations",
    "epochs": "config.training.epochs",
    "learning_rate": "config.training.lr",
    "seed": "config.seed",
    "run_tags": "config.tracking.tags",
}
COLLECTION = "omniboard.custom.columns"
SETTINGS = "omniboard.settings"
ROW_HEIGHT = 48  # pixels; Omniboard's own 70 show fewer runs
SEEDED = "sacreddnn.dashboard"  # remembers what was seeded: a column that somebody deleted stays deleted


def seed(database: Database[dict[str, Any]]) -> int:
    """Add the columns that this database was never given; how many.

    Columns of the users' own are left as they are, also where one has the name or the path of ours. Doing it twice,
    or twice at once, changes nothing more.

    Raises:
        pymongo.errors.PyMongoError: the database is away, or does not let us write.
    """
    known = set((database[SEEDED].find_one({"_id": "columns"}) or {}).get("names", []))
    new = {name: path for name, path in COLUMNS.items() if name not in known}
    if not new:
        return 0
    theirs = list(database[COLLECTION].find({}, {"name": 1, "config_path": 1}))
    taken = {column.get(key) for column in theirs for key in ("name", "config_path")}
    wanted = {name: path for name, path in new.items() if name not in taken and path not in taken}
    for name, path in wanted.items():
        one = {"_id": object_id("column", name)}  # the same for everybody who seeds at this moment
        database[COLLECTION].update_one(one, {"$set": {"name": name, "config_path": path}}, upsert=True)
    if database[SETTINGS].find_one({"name": "row_height"}) is None:
        height = {"_id": object_id("setting", "row_height")}
        database[SETTINGS].update_one(height, {"$set": {"name": "row_height", "value": ROW_HEIGHT}}, upsert=True)
    database[SEEDED].update_one({"_id": "columns"}, {"$addToSet": {"names": {"$each": list(new)}}}, upsert=True)
    return len(wanted)


def read(database: Database[dict[str, Any]]) -> list[tuple[str, str]]:
    """Name and path of all custom columns: those of `COLUMNS` in their order, then the users' own."""
    order = {name: place for place, name in enumerate(COLUMNS)}
    found = [
        (one["name"], one["config_path"])
        for one in database[COLLECTION].find({})
        if isinstance(one.get("name"), str) and isinstance(one.get("config_path"), str)
    ]
    return sorted(found, key=lambda column: order.get(column[0], len(order)))
