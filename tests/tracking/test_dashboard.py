"""The dashboard's command, installation and supervision, on stand-ins for npm, Node and Omniboard."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from sacreddnn.run_config import TrackingConfig
from sacreddnn.tracking import columns, dashboard, omniboard, server

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "dashboard.py"
# says that it listens, notes how it was called, and ends with its standard input
NODE = """#!/bin/sh
echo $$ >> "$NOTES/pids"
echo "$@" >> "$NOTES/arguments"
echo "$MONGO_URI" >> "$NOTES/uris"
env > "$NOTES/environment"
echo "Omniboard is listening on port $PORT!"
cat > /dev/null
"""
NPM = """#!/bin/sh
echo "$@" >> "$NOTES/npm"
sleep 0.3
mkdir -p node_modules/omniboard/dist node_modules/omniboard/web/node_modules/x node_modules/omniboard/docs
touch node_modules/omniboard/dist/start.js
"""


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder of programs before all others, with a node and an npm; what they are told is written beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def tool(name, text):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    tool("node", NODE)
    tool("npm", NPM)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path))
    monkeypatch.setenv("SACREDDNN_OMNIBOARD", str(tmp_path / "omniboard"))
    for name in ("PASSWORD", "PASSWORD_FILE"):
        monkeypatch.delenv(f"SACREDDNN_DASHBOARD_{name}", raising=False)
        monkeypatch.delenv(f"SACREDDNN_MONGO_{name}", raising=False)
    return tool


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):  # a zombie, when nobody has collected it
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return True


# the columns


def test_columns_are_seeded_once(database):
    assert columns.seed(database) == len(columns.COLUMNS)
    assert columns.seed(database) == 0
    assert columns.read(database) == list(columns.COLUMNS.items())
    assert [one["value"] for one in database[columns.SETTINGS].find({"name": "row_height"})] == [columns.ROW_HEIGHT]


def test_columns_and_settings_of_the_users_stay(database):
    theirs = [{"name": "network", "config_path": "config.mine"}, {"name": "data", "config_path": "config.dataset.name"}]
    database[columns.COLLECTION].insert_many(theirs)
    database[columns.SETTINGS].insert_one({"name": "row_height", "value": 70})
    assert columns.seed(database) == len(columns.COLUMNS) - 2
    found = dict(columns.read(database))
    assert found["network"] == "config.mine"
    assert "dataset" not in found
    assert list(found)[-1] == "data"  # ours first
    assert [one["value"] for one in database[columns.SETTINGS].find({"name": "row_height"})] == [70]


def test_a_deleted_column_stays_deleted_and_a_new_one_comes(database, monkeypatch):
    columns.seed(database)
    database[columns.COLLECTION].delete_one({"name": "seed"})
    monkeypatch.setitem(columns.COLUMNS, "device", "config.training.device")
    assert columns.seed(database) == 1
    assert "seed" not in dict(columns.read(database))
    assert dict(columns.read(database))["device"] == "config.training.device"


def test_two_who_seed_at_once_give_one_set(connect):
    databases = [connect() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(columns.seed, databases))
    assert columns.read(databases[0]) == list(columns.COLUMNS.items())
    for one in databases:
        one.client.close()


# what is refused, in a line


def refused(capsys, *words, status=2):
    assert dashboard.main(list(words)) == status
    line = capsys.readouterr().err
    assert line.startswith("dashboard: ")
    assert line.count("\n") == 1
    return line


@pytest.mark.parametrize("password", [None, "short"])
def test_public_needs_a_password(tools, capsys, monkeypatch, tmp_path, password):
    if password:
        monkeypatch.setenv("SACREDDNN_DASHBOARD_PASSWORD", password)
    assert "SACREDDNN_DASHBOARD_PASSWORD" in refused(capsys, "--public")
    assert not (tmp_path / "pids").exists()


def test_the_password_may_be_in_a_file(tmp_path, monkeypatch, tools):
    assert dashboard.dashboard_password() is None
    monkeypatch.setenv("SACREDDNN_DASHBOARD_PASSWORD_FILE", str(tmp_path / "secret"))
    with pytest.raises(ValueError, match="cannot be read"):
        dashboard.dashboard_password()
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        dashboard.dashboard_password()
    (tmp_path / "secret").write_text("swordfish\n")
    assert dashboard.dashboard_password() == "swordfish"


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("mongodb://me:hunter22@lab/runs", "SACREDDNN_MONGO_PASSWORD"),
        ("mongodb+srv://me:@lab", "SACREDDNN_MONGO_PASSWORD"),
        ("mongodb://me@lab/?tls=true&tlsCertificateKeyFilePassword=hunter22", "a key file without a password"),
    ],
)
def test_a_password_on_the_command_line(tools, capsys, url, instead):
    line = refused(capsys, "--mongo-url", url)
    assert instead in line
    assert "hunter22" not in line
    with pytest.raises(ValidationError, match=instead):
        TrackingConfig(mongo_url=url)


def test_a_url_with_the_words_of_the_password(tools, capsys, monkeypatch, port):
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", "runs")
    monkeypatch.setattr("sacreddnn.tracking.database.TIMEOUTS", {"serverSelectionTimeoutMS": 200})
    url = "mongodb://me@127.0.0.1:1/runs"
    assert TrackingConfig(mongo_url=url).mongo_url == url
    assert "does not answer" in refused(capsys, "--mongo-url", url, "--port", str(port), status=1)


def test_the_source_of_the_password_is_said(capsys):
    with pytest.raises(SystemExit):
        dashboard.main(["--help"])
    assert "SACREDDNN_DASHBOARD_PASSWORD_FILE" in "".join(capsys.readouterr().out.split())


def test_without_node(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install nodejs npm" in refused(capsys, status=1)


def test_a_port_that_is_taken(tools, capsys, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refused(capsys, "--port", str(port), status=1)
    assert f"port {port} is taken" in line
    assert "--port" in line
    assert not (tmp_path / "npm").exists()  # said before anything else is done
    assert "1 to 65535" in refused(capsys, "--port", "70000")


def test_a_database_that_is_away(tools, capsys, monkeypatch, port, tmp_path):
    monkeypatch.setattr("sacreddnn.tracking.database.TIMEOUTS", {"serverSelectionTimeoutMS": 200})
    line = refused(capsys, "--mongo-url", "mongodb://127.0.0.1:1/runs", "--port", str(port), status=1)
    assert "does not answer" in line
    assert not (tmp_path / "npm").exists()


# the installation


def test_two_installers_at_once_install_once(tools, tmp_path):
    folder = tmp_path / "omniboard"
    said = []
    with ThreadPoolExecutor(4) as pool:
        starts = list(pool.map(lambda _: omniboard.install(folder, said.append), range(4)))
    assert set(starts) == {folder / "node_modules/omniboard/dist/start.js"}
    assert starts[0].is_file()
    assert len((tmp_path / "npm").read_text().splitlines()) == len(said) == 1
    assert omniboard.VERSION in (folder / "package.json").read_text()
    assert not (folder / "node_modules/omniboard/web/node_modules").exists()
    assert not (folder / "node_modules/omniboard/docs").exists()


def test_an_installation_that_fails_leaves_nothing(tools, tmp_path):
    tools("npm", "#!/bin/sh\nmkdir node_modules\necho 'npm error ENOTFOUND registry' >&2\nexit 1\n")
    with pytest.raises(omniboard.OmniboardError, match="ENOTFOUND registry"):
        omniboard.install(tmp_path / "omniboard", print)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"bin", ".omniboard.lock"}


def test_a_folder_of_something_else_is_not_touched(tools, tmp_path):
    (tmp_path / "omniboard").mkdir()
    with pytest.raises(omniboard.OmniboardError, match="holds no Omniboard; remove it"):
        omniboard.install(tmp_path / "omniboard", print)


def test_another_installer_that_ends_at_this_moment(tools, tmp_path, monkeypatch):
    folder = tmp_path / "omniboard"
    start = folder / "node_modules/omniboard/dist/start.js"
    is_file = Path.is_file

    def look(path):
        found = is_file(path)
        if path == start and not found:
            start.parent.mkdir(parents=True)
            start.touch()
        return found

    monkeypatch.setattr(Path, "is_file", look)
    assert omniboard.install(folder, print) == start
    assert not (tmp_path / "npm").exists()


def test_the_place_of_the_installation(monkeypatch, tmp_path):
    monkeypatch.delenv("SACREDDNN_OMNIBOARD", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert omniboard.place() == tmp_path / "sacreddnn" / f"omniboard-{omniboard.VERSION}"
    monkeypatch.setenv("SACREDDNN_OMNIBOARD", str(tmp_path / "x"))
    assert omniboard.place() == tmp_path / "x"


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("mongodb://127.0.0.1:27017/?w=1&journal=true", "mongodb://127.0.0.1:27017/sacreddnn?w=1&journal=true"),
        ("lab:27017:runs", "mongodb://lab:27017/runs"),
        ("mongodb://lab", "mongodb://lab/sacreddnn"),
        ("mongodb://me@a,b:27018/runs?x=1", "mongodb://me:p%40ss%2Fwo%20rd@a,b:27018/runs?x=1"),
        # pymongo looks for users in admin where no database is named
        ("mongodb://me@lab/?tls=true", "mongodb://me:p%40ss%2Fwo%20rd@lab/sacreddnn?tls=true&authSource=admin"),
        ("mongodb+srv://me@lab/?authSource=x", "mongodb+srv://me:p%40ss%2Fwo%20rd@lab/sacreddnn?authSource=x"),
    ],
)
def test_the_url_for_omniboard(url, full, monkeypatch):
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", "p@ss/wo rd")
    assert omniboard.address(url) == full


# what runs


@pytest.fixture
def launch(tools, tmp_path, port):
    def launch(**options):
        return omniboard.Omniboard(tmp_path / "start.js", "mongodb://me:hunter22@lab/runs", port=port, **options)

    return launch


def pids(tmp_path):
    path = tmp_path / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_a_killed_omniboard_is_started_again(launch, tmp_path):
    stop, said, ready = threading.Event(), [], []
    options = {"say": said.append, "on_ready": lambda board: ready.append(board.pid), "seconds": 0.05}
    thread = threading.Thread(target=omniboard.supervise, args=[launch, stop], kwargs=options)
    thread.start()
    try:
        first = wait_until(lambda: ready)[0]
        os.kill(first, signal.SIGKILL)
        second = wait_until(lambda: ready[1:])[0]
        wait_until(lambda: not lives(first))
        assert "started again" in said[0]
        assert lives(second)
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    assert not lives(second)
    assert len(pids(tmp_path)) == 2


def test_another_is_launched_when_the_database_has_moved(launch, tmp_path):
    stop = threading.Event()
    moved = iter([True, False])

    def look():
        return next(moved, None) is not False

    def ready(board):
        if len(pids(tmp_path)) == 2:
            stop.set()

    omniboard.supervise(launch, stop, on_ready=ready, look=look, seconds=0.05)
    assert len(pids(tmp_path)) == 2
    assert not any(map(lives, pids(tmp_path)))


@pytest.mark.parametrize("lines", ["echo 'Error: no such thing'; exit 1", "exit 98"])
def test_one_that_never_starts_is_an_error(launch, tools, lines):
    tools("node", f"#!/bin/sh\n{lines}\n")
    with pytest.raises(omniboard.OmniboardError, match="does not start: (Error: no such thing|exit status 98)"):
        omniboard.supervise(launch, threading.Event(), seconds=0.05)


def test_a_port_lost_to_another_program_ends_the_work(launch, tools, tmp_path):
    tools("node", NODE.replace("cat > /dev/null", "[ $(wc -l < $NOTES/pids) = 1 ] && sleep 0.3 && exit 1\nexit 98"))
    with pytest.raises(omniboard.OmniboardError, match="does not start"):
        omniboard.supervise(launch, threading.Event(), say=lambda line: None, seconds=0.05)
    assert len(pids(tmp_path)) == 2


def test_no_password_where_others_see_it(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", "hunter22")
    monkeypatch.setenv("SACREDDNN_DASHBOARD_PASSWORD_FILE", "/secret")
    monkeypatch.setenv("OMNIBOARD_CONFIG", "/somebody/elses.json")
    one = launch(password="swordfish")
    assert one.ready.wait(60)
    one.stop()
    arguments, environment = (tmp_path / "arguments").read_text(), (tmp_path / "environment").read_text()
    assert "start.js" in arguments
    assert not any(secret in arguments for secret in ("hunter22", "swordfish", "mongodb"))
    assert "MONGO_URI=mongodb://me:hunter22@lab/runs\n" in environment
    assert "SACREDDNN_MONGO_PASSWORD" not in environment
    assert "/secret" not in environment
    assert "OMNIBOARD_CONFIG" not in environment
    one.lines.append("MongoError: cannot log in to mongodb://me:hunter22@lab/runs")
    assert "MongoError: cannot log in" in one.reason()
    assert "hunter22" not in one.reason()


@pytest.fixture
def command(tools, tmp_path, port):
    """The command as a user starts it, on an embedded database."""
    pytest.importorskip("secantus", reason="needs the extra 'embedded'")
    words = [sys.executable, SCRIPT, "--folder", tmp_path / "database", "--port", str(port)]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            words, stdout=file, stderr=file, env=os.environ | {"PYTHONPATH": str(SCRIPT.parent.parent)}
        )
    try:
        wait_until(lambda: f"http://127.0.0.1:{port}/" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()
        if pid := server.status(tmp_path / "database")["pid"]:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_command_ends_omniboard(command, tmp_path, number):
    (child,) = pids(tmp_path)
    assert lives(child)
    command.send_signal(number)
    status = command.wait(60)
    assert status == (-number if number == signal.SIGKILL else 0)
    wait_until(lambda: not lives(child))
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert log.splitlines()[-1].startswith("http://127.0.0.1:")
    assert server.status(tmp_path / "database")["running"]  # runs may be using it


def test_the_embedded_database_is_brought_back_after_a_crash_only(command, tmp_path):
    folder = tmp_path / "database"
    first = server.status(folder)["pid"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: server.status(folder)["pid"] not in (None, first))
    assert server.stop(folder)
    time.sleep(2)
    assert not server.status(folder)["running"]
    assert server.revive(folder) is None
    uri = server.start(folder)
    assert server.revive(folder) == uri
    assert len(pids(tmp_path)) == 1


SECRETS = {
    "SACREDDNN_MONGO_PASSWORD": "hunter22",
    "SACREDDNN_MONGO_PASSWORD_FILE": "/hunter22",
    "SACREDDNN_DASHBOARD_PASSWORD": "hunter22",
    "SACREDDNN_DASHBOARD_PASSWORD_FILE": "/hunter22",
}


def test_npm_is_told_no_passwords(tools, tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    tools("npm", NPM + 'env > "$NOTES/environment"\n')
    omniboard.install(tmp_path / "omniboard", print)
    environment = (tmp_path / "environment").read_text()
    assert "NOTES=" in environment
    assert "hunter22" not in environment


@pytest.fixture
def prepared(tools, monkeypatch, port):
    """The command in this process, on a database that is only said to be there; what is found of it, one by one."""
    monkeypatch.setattr(dashboard, "prepare_columns", lambda url, folder: [])

    def prepared(*found):
        answers = iter(found)

        def revive(folder):
            answer = next(answers, None)
            if isinstance(answer, OSError):
                raise answer
            return answer

        monkeypatch.setattr(server, "revive", revive)
        return ["--port", str(port)]

    return prepared


def test_a_database_that_is_stopped_during_the_installation(prepared, capsys):
    assert "was stopped meanwhile" in refused(capsys, *prepared(None), status=1)
    assert "was stopped meanwhile" in refused(capsys, *prepared(server.ServerError("no")), status=1)


def test_omniboard_and_the_database_die_together(prepared, tools, tmp_path, capsys, monkeypatch):
    """The dashboard goes on, and looks for the database where it was."""
    tools("node", NODE.replace("cat >", "[ $(wc -l < $NOTES/pids) = 1 ] && exit 1\nkill -INT $PPID\ncat >"))
    (tmp_path / "secret").write_text("swordfish")
    monkeypatch.setenv("SACREDDNN_DASHBOARD_PASSWORD_FILE", str(tmp_path / "secret"))
    before = signal.getsignal(signal.SIGINT)
    assert dashboard.main(prepared("mongodb://127.0.0.1:1/", *[server.ServerError("it is away")] * 99)) == 0
    said = capsys.readouterr()
    assert "started again" in said.err
    assert "the password of SACREDDNN_DASHBOARD_PASSWORD_FILE" in said.out
    assert (tmp_path / "uris").read_text().splitlines() == ["mongodb://127.0.0.1:1/sacreddnn"] * 2
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_during_the_installation(prepared, tools, tmp_path, capsys, number):
    """Status 0, and nothing is left of it."""
    tools("npm", f"#!/bin/sh\nmkdir node_modules\nkill -{int(number)} $PPID\nexec sleep 600\n")
    assert dashboard.main(prepared()) == 0
    assert capsys.readouterr().err == ""
    assert {path.name for path in tmp_path.iterdir()} == {"bin", ".omniboard.lock"}


def test_the_shim_is_part_of_the_package():
    listed = (SCRIPT.parent.parent / "setup.cfg").read_text()
    assert f"tracking/{omniboard.SHIM.name}" in shlex.split(listed.split("[options.package_data]")[1].split("[")[0])
    assert omniboard.SHIM.is_file()
