"""The database of a run: the embedded server by default, any MongoDB by its URL; one code path for both.

>>> redact("mongodb://me:secret@lab.example/runs")
'mongodb://me:***@lab.example/runs'
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import AutoReconnect, ConfigurationError, InvalidURI, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from sacreddnn.tracking import server
from sacreddnn.tracking.folder import read_json
from sacreddnn.tracking.plain import mongo_password, redact
from sacreddnn.tracking.server import ServerError, status, stop

__all__ = [
    "DatabaseAwayError",
    "ServerError",
    "close",
    "connect",
    "opened",
    "prepare",
    "redact",
    "status",
    "stop",
]

DEFAULT_NAME = "sacreddnn"
TIMEOUTS = {"serverSelectionTimeoutMS": 3000, "connectTimeoutMS": 3000, "socketTimeoutMS": 20000}


class DatabaseAwayError(ConnectionError):
    """The database does not answer, or does not let us in."""


def connect(url: str | None = None, *, folder: str | Path = "results/database") -> Database[dict[str, Any]]:
    """An answering database; `close` it.

    Args:
        url: None or empty for the embedded server of `folder`, started when it does not run. Otherwise
            ``mongodb://[user[:password]@]host[:port]/[name]`` with any option of MongoDB, or Sacred's
            ``[host:port:]name``. Without a name it is "sacreddnn". A password left out comes from
            SACREDDNN_MONGO_PASSWORD or the file that SACREDDNN_MONGO_PASSWORD_FILE names.
        folder: of the embedded server; unused with a URL.

    Raises:
        ValueError: the URL cannot be read.
        DatabaseAwayError: nobody answers within three seconds, or the user is refused.
        ServerError: the embedded server is not installed or does not start.
    """
    where = f"embedded in {folder}" if not url else redact(url)
    full = full_url(url) if url else server.start(folder)
    options: dict[str, Any] = dict(TIMEOUTS)
    if not url:  # on this machine a second is long, and the sooner it is started again
        options["serverSelectionTimeoutMS"] = 1000
    if re.match(r"mongodb(\+srv)?://[^/@:]+@", full) and (password := mongo_password()):
        options["password"] = password
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(full, appname="sacreddnn", **options)
    except (InvalidURI, ConfigurationError, ValueError, TypeError) as error:
        hint = "write mongodb://user@host:port/name, the password in SACREDDNN_MONGO_PASSWORD"
        raise ValueError(f"tracking.mongo_url {where}: {redact(str(error))}; {hint}") from None
    try:
        client.admin.command("ping")
        return client.get_default_database(DEFAULT_NAME)
    except OperationFailure as error:
        client.close()
        raise DatabaseAwayError(f"database {where} refuses: {reason(error)}; check user and password") from None
    except PyMongoError as error:
        client.close()
        raise DatabaseAwayError(f"database {where} does not answer: {reason(error)}") from None


@contextmanager
def opened(url: str | None = None, *, folder: str | Path = "results/database") -> Iterator[Database[dict[str, Any]]]:
    """The database of `connect`, closed at the end; what it refuses in between is said in one line, too.

    Raises:
        DatabaseAwayError: it went away after it had answered, or refuses what is asked of it.
    """
    database = connect(url, folder=folder)
    try:
        yield database
    except AutoReconnect as error:
        raise DatabaseAwayError(f"the database went away: {reason(error)}; say the same again later") from None
    except PyMongoError as error:
        raise DatabaseAwayError(f"the database refuses: {reason(error)}") from None
    finally:
        close(database)


def full_url(url: str) -> str:
    """The URL itself, or what Sacred's short forms ``name``, ``host:port``, ``host:port:name`` stand for."""
    if "://" in url:
        return url
    if not re.fullmatch(r"([\w.-]+:\d+(:[\w-]+)?)|[\w-]+", url):
        raise ValueError(
            f"tracking.mongo_url {redact(url)!r}: must be mongodb://host:port/name, host:port:name, or a name"
        )
    host, _, rest = url.partition(":")
    if not rest:
        return f"mongodb://localhost:27017/{url}"
    port, _, name = rest.partition(":")
    return f"mongodb://{host}:{port}/{name}"


def prepare(database: Database[dict[str, Any]]) -> None:
    """Make the indexes; without the first, one update of a metric in a large database takes 50 times as long.

    Raises:
        pymongo.errors.PyMongoError: the database is away, or holds two metrics of one run and name.
    """
    database.metrics.create_index([("run_id", pymongo.ASCENDING), ("name", pymongo.ASCENDING)], unique=True)
    # sparse: documents that Sacred itself wrote have no uuid
    database.runs.create_index("uuid", unique=True, sparse=True)
    for key in ("config_hash", "status", "start_time"):
        database.runs.create_index(key)


def close(database: Database[dict[str, Any]]) -> None:
    """Close the connection; of a server that is gone it takes no leave, which would last a whole timeout."""
    with pymongo.timeout(0.2):
        database.client.close()


def address(database: Database[dict[str, Any]]) -> str:
    """``host:port/name`` of an answering database, without the user: what a run folder knows it by."""
    hosts = ",".join(sorted(f"{host}:{port}" for host, port in database.client.nodes))
    return f"{hosts}/{database.name}"


def is_address_of(noted: str, url: str | None = None, *, folder: str | Path = "results/database") -> bool:
    """Whether an `address` is that of the database which `connect` would open; asks no server.

    A replica set names its members itself, maybe otherwise than the URL does: there the name of the database decides.

    Args:
        noted: the address.
        url: as for `connect`.
        folder: as for `connect`.
    """
    hosts, _, name = noted.rpartition("/")
    try:
        if not url:
            port = read_json(Path(folder) / "server.json").get("port")
            return noted == f"{server.HOST}:{port}/{DEFAULT_NAME}"
        full = full_url(url)
        known = not full.startswith("mongodb+srv:")  # else by the name service, which is not asked
        parsed = parse_uri(full if known else full.replace("+srv", "", 1), validate=False)
    except (ConfigurationError, InvalidURI, ValueError):
        return False
    if name != (parsed["database"] or DEFAULT_NAME):
        return False
    if known and not {f"{host}:{port}" for host, port in parsed["nodelist"]}.isdisjoint(hosts.split(",")):
        return True
    is_set = not known or any(option.lower() == "replicaset" for option in parsed["options"])
    # on loopback it is the embedded server, or was one of the hosts above
    return is_set and not hosts.startswith(f"{server.HOST}:")


def reason(error: PyMongoError) -> str:
    """The first clause of what pymongo says; the rest repeats it and lists the topology."""
    text = redact(str(error)) or type(error).__name__
    return text.splitlines()[0].split(" (configured", 1)[0].split(", Timeout:", 1)[0][:200]
