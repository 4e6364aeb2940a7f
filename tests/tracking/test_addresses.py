"""Whether what a run folder knows a database by is the database that a config names, without asking a server."""

import json

import pytest

from sacreddnn.tracking import database as databases
from sacreddnn.tracking.database import address, is_address_of


@pytest.mark.parametrize(
    ("noted", "url", "same"),
    [
        ("lab:27017/runs", "mongodb://me@LAB/runs?tls=true&tlsCAFile=/not/here.pem", True),
        ("lab:27017/runs", "lab:27017:runs", True),
        ("localhost:27017/runs", "runs", True),
        ("lab:27017/sacreddnn", "mongodb://lab", True),
        ("lab:27017/sacreddnn", "lab:27017", True),
        ("lab:27017/others", "mongodb://lab/runs", False),
        ("lab:27018/runs", "mongodb://lab/runs", False),
        ("127.0.0.1:4711/sacreddnn", "mongodb://lab", False),
        # a replica set, by one of its members, under other names of theirs, by the name service
        ("a:1,b:1,c:1/runs", "mongodb://b:1/runs?replicaSet=rs", True),
        ("a.in:1,b.in:1/runs", "mongodb://a.out:1/runs?replicaset=rs", True),
        ("a:1,b:1/runs", "mongodb+srv://me@lab.example/runs?w=majority", True),
        ("a:1,b:1/others", "mongodb+srv://me@lab.example/runs", False),
        ("127.0.0.1:4711/sacreddnn", "mongodb+srv://lab.example.org/?tls=true", False),
        ("127.0.0.1:4711/sacreddnn", "mongodb://a.out:1/?replicaSet=rs", False),
        ("127.0.0.1:1,127.0.0.1:2/runs", "mongodb://127.0.0.1:2/runs?replicaSet=rs", True),
        ("lab:27017/runs", "mongodb://lab:port/runs", False),  # what cannot be read is no database
        ("lab:27017/runs", "lab/runs", False),
    ],
)
def test_a_mongodb(noted, url, same):
    assert is_address_of(noted, url) == same


def test_the_embedded_server_is_known_by_its_last_port(tmp_path):
    assert not is_address_of("127.0.0.1:4711/sacreddnn", folder=tmp_path)
    (tmp_path / "server.json").write_text(json.dumps({"port": 4711}))
    assert is_address_of("127.0.0.1:4711/sacreddnn", folder=tmp_path)
    assert not is_address_of("127.0.0.1:4712/sacreddnn", folder=tmp_path)
    assert not is_address_of("127.0.0.1:4711/runs", folder=tmp_path)
    (tmp_path / "server.json").write_text("{")
    assert not is_address_of("127.0.0.1:4711/sacreddnn", folder=tmp_path)


def test_it_is_what_a_server_is_noted_by(database, db_server):
    assert is_address_of(address(database), db_server.url(database.name))
    assert not is_address_of(address(database), db_server.url("other"))


def test_it_is_what_the_embedded_server_is_noted_by(embedded):
    with databases.opened(folder=embedded.folder) as one:
        assert is_address_of(address(one), folder=embedded.folder)
