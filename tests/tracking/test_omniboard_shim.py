"""The shim between Omniboard and the world, in a real Node around a stand-in for Omniboard."""

import base64
import http.client
import json
import shutil
import socket
import sys
import threading

import pytest

from sacreddnn.tracking import omniboard

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js: apt-get install nodejs")

# answers everything with what it was asked, after its own start on all addresses, as Omniboard does
START = """
const http = require('http');
const mongoose = require('mongoose');
mongoose.createConnection(process.env.MONGO_URI, {reconnectTries: 10});
http.createServer((request, response) => {
  response.end(JSON.stringify([request.method, request.url, request.headers['x-http-method-override'] || null,
    mongoose.given, process.env.SACREDDNN_DASHBOARD_PASSWORD || null, request._body ? request.body : null]));
}).listen(process.env.PORT, () => console.log('Omniboard is listening on port ' + process.env.PORT));
"""
# knows run 7, a file of one chunk, and an empty file
MONGOOSE = """
const known = {runs: [7], 'fs.files': ['a'.repeat(24), 'e'.repeat(24)], 'fs.chunks': ['a'.repeat(24)]};
const ask = async (name, query) => {
  if (exports.given[0].includes('away')) throw new Error('no server');
  const value = query._id === undefined ? query.files_id : query._id;
  return known[name].includes(value.text || value) ? {} : null;
};
exports.set = () => {};
exports.Types = {ObjectId: class { constructor(text) {
  if (text.length !== 24) throw new TypeError('no id');
  this.text = text;
} }};
exports.createConnection = (url, options) => {
  exports.given = [url, options];
  return {db: {collection: name => ({findOne: query => ask(name, query)})}};
};
"""
API = "/sacred/api/v1"
NOTES = '{"omniboard": {"notes": "a note"}}'
# another address of this machine, where something that listens on all addresses answers
ELSEWHERE = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"


@pytest.fixture
def start(tmp_path):
    program = tmp_path / "node_modules" / "omniboard"
    for path, text in {
        program / "dist/start.js": START,
        program / "web/build/index.html": "<html><body><main></main></body></html>",
        tmp_path / "node_modules/mongoose/index.js": MONGOOSE,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    running = []

    def start(url="mongodb://lab/runs", port=None, **options):
        if port is None:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        one = omniboard.Omniboard(program / "dist/start.js", url, port=port, **options)
        one.port = port
        running.append(one)
        return one

    yield start
    for one in running:
        one.stop()
        assert one.poll() is not None


@pytest.fixture
def board(start):
    one = start()
    assert one.ready.wait(60), one.lines
    return one


def ask(board, path, method="GET", at="127.0.0.1", body=None, **headers):
    """Status, headers and JSON body (else text) of a request."""
    connection = http.client.HTTPConnection(at, board.port, timeout=30)
    try:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    try:
        return answer.status, dict(answer.getheaders()), json.loads(text)
    except ValueError:
        return answer.status, dict(answer.getheaders()), text


def status(*words, **headers):
    return ask(*words, **headers)[0]


@pytest.mark.skipif(ELSEWHERE == "127.0.0.1", reason="needs a second address of loopback, as Linux has")
def test_it_listens_on_loopback_only(board):
    assert status(board, "/x") == 200
    with socket.socket() as probe:
        assert probe.connect_ex((ELSEWHERE, board.port)) != 0


def test_it_takes_no_other_port(start):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        one = start(port=other.getsockname()[1])
        assert one._process.wait(60) == omniboard.PORT_TAKEN
    assert "EADDRINUSE" in one.reason()
    assert not one.ready.is_set()


def test_it_waits_for_a_database_that_is_away(board):
    url, options = ask(board, "/x")[2][3]
    assert url == "mongodb://lab/runs"
    assert options["useUnifiedTopology"] is True
    assert options["serverSelectionTimeoutMS"] == 5000
    assert "reconnectTries" not in options


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # a name that its owner points at 127.0.0.1
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "same-site"},  # another port of this machine
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_other_web_sites_are_refused(board, headers, method):
    assert status(board, f"{API}/Runs/7", method, **headers) == 403


def test_the_own_page_and_links_to_it_are_not(board):
    own = f"http://127.0.0.1:{board.port}"
    assert status(board, f"{API}/Runs/7", "PUT", body=NOTES, Origin=own, Sec_Fetch_Site="same-origin") == 200
    assert status(board, "/x", Host="localhost:8000") == 200  # through a tunnel
    assert status(board, "/x", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") == 200
    assert status(board, f"{API}/Runs/7", "PUT", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") == 403


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("PUT", "Runs/7", 200),  # notes and tags
        ("DELETE", "Runs/7", 403),
        ("DELETE", "Runs", 403),
        ("POST", "Runs", 403),
        ("DELETE", "Metrics/", 403),
        ("DELETE", "Fs.files/", 403),
        ("PATCH", "Fs.chunks/aaaaaaaaaaaaaaaaaaaaaaaa", 403),
        ("DELETE", "Omniboard.Custom.Columns/aaaaaaaaaaaaaaaaaaaaaaaa", 200),
        ("POST", "Omniboard.Settings", 200),
        ("POST", "Omniboard.Metric.Columns?a=b", 200),
        ("DELETE", "x/../Runs/7", 403),
    ],
)
def test_runs_are_not_changed(board, method, path, expected):
    code, _, body = ask(board, f"{API}/{path}", method, body=NOTES)
    assert code == expected
    assert expected == 200 or "report.py delete" in body["message"]


def test_notes_and_tags_are_handed_on(board):
    for given in (
        {"tags": ["a", "b"]},
        {"tags": []},
        {"notes": "größer"},
        {"notes": ""},
        {"notes": "x", "tags": ["y"]},
    ):
        code, _, answer = ask(board, f"{API}/Runs/7?x=1", "PUT", body=json.dumps({"omniboard": given}))
        assert (code, answer[5]) == (200, {"omniboard": given})


# more than notes and tags, or other than these
BODIES = (
    None,
    "",
    "{",
    "null",
    "7",
    "[]",
    "{}",
    '["omniboard"]',
    '{"result": {"test/center/error": 0}}',
    '{"status": "COMPLETED"}',
    '{"uuid": "x"}',
    '{"artifacts": ["aaaaaaaaaaaaaaaaaaaaaaaa"]}',
    '{"$set": {"status": "COMPLETED"}}',
    '{"omniboard": {"notes": "x"}, "status": "COMPLETED"}',
    '{"omniboard.notes": "x"}',
    '{"omniboard": null}',
    '{"omniboard": "x"}',
    '{"omniboard": ["tags"]}',
    '{"omniboard": {}}',
    '{"omniboard": {"columns": []}}',
    '{"omniboard": {"notes": "x", "__proto__": {"tags": ["x"]}}}',
    '{"omniboard": {"notes": 7}}',
    '{"omniboard": {"notes": null}}',
    '{"omniboard": {"tags": "x"}}',
    '{"omniboard": {"tags": ["x", {"a": 1}]}}',
    json.dumps({"omniboard": {"notes": "x" * 100_000}}),
    json.dumps({"omniboard": {"notes": "x" * 9_000_000}}),
)


def test_nothing_else_of_a_run_is_written(board):
    for body in BODIES:
        code, _, answer = ask(board, f"{API}/Runs/7", "PUT", body=body, Content_Type="application/json")
        assert code == 403, str(body)[:60]
        assert "notes and tags" in answer["message"]
    assert status(board, "/x") == 200


def test_a_body_that_breaks_off(board):
    with socket.create_connection(("127.0.0.1", board.port)) as one:
        head = f"PUT {API}/Runs/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"
        one.sendall(head.encode() + b'{"omniboard": ')
    assert status(board, "/x") == 200
    assert board.poll() is None


def test_an_address_that_express_would_read_otherwise(board):
    """It would go past the looks above: at what exists, and at what is shown in a sandbox."""
    for address in (
        rf"/sacred\api\v1\files\{'b' * 24}#",
        rf"/sacred/api/v1\files/{'b' * 24}",
        f"/sacred/api/v1/files/{'b' * 24}#",
        rf"http://h/sacred\api\v1\files\{'b' * 24}",
        f"http://localhost/sacred/api/v1/Runs/{'b' * 24}",
    ):
        with socket.create_connection(("127.0.0.1", board.port), timeout=60) as one, one.makefile("rb") as answer:
            request = f"GET {address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            one.sendall(request.encode("latin-1"))
            text = answer.read()
        assert text.startswith(b"HTTP/1.1 400 "), address
        assert b"printable ASCII" in text, address  # not Node's own refusal


def test_a_post_stays_a_post(board):
    body = ask(board, f"{API}/Omniboard.Settings", "POST", X_HTTP_Method_Override="DELETE")[2]
    assert body[:3] == ["POST", f"{API}/Omniboard.Settings", None]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a" * 24, 200),
        ("b" * 24, 404),
        ("not-an-id", 404),
        ("e" * 24, 404),  # without a chunk Omniboard dies of it
        (f"preview/{'a' * 24}", 200),
        (f"preview/{'e' * 24}/empty.txt", 200),
        (f"preview/{'b' * 24}/x.png", 404),
        (f"PREVIEW/{'b' * 24}", 404),  # Express takes both
        (f"download/{'b' * 24}/x.png", 404),
        ("downloadAll/7/artifacts", 200),
        ("downloadAll/8/artifacts", 404),
        ("source/x", 404),
        ("artifacts/7", 200),
    ],
)
def test_what_does_not_exist_is_answered(board, path, expected):
    code, headers, _ = ask(board, f"{API}/files/{path}")
    assert code == expected
    assert headers["Content-Security-Policy"] == "sandbox allow-scripts"
    assert board.poll() is None


def test_a_file_while_the_database_is_away(start):
    one = start("mongodb://away/runs")
    assert one.ready.wait(60)
    code, _, body = ask(one, f"{API}/files/{'a' * 24}")
    assert (code, body) == (503, {"message": "the database does not answer: no server"})


def basic(text):
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def test_the_password(start):
    one = start(password="swordfish:ünd", host="0.0.0.0")
    assert one.ready.wait(60)
    code, headers, _ = ask(one, "/x")
    assert code == 401
    assert headers["WWW-Authenticate"].startswith("Basic ")
    for wrong in ("", "me", "me:", "me:swordfish", "me:swordfish:ünd2", ":x"):
        assert status(one, "/x", Authorization=basic(wrong)) == 401, wrong
    assert status(one, "/x", Authorization="Basic") == 401
    assert status(one, f"{API}/Runs/7", "PUT", Authorization=basic("me:x")) == 401
    right = basic("anybody:swordfish:ünd")
    code, _, body = ask(one, "/x", Authorization=right, Host="lab.example", at=ELSEWHERE)
    assert code == 200
    assert body[4] is None  # Omniboard itself does not see it
    assert status(one, f"{API}/Runs/7", "PUT", Authorization=right, Origin="http://evil.example") == 403
    assert status(one, f"{API}/Runs/7", "DELETE", Authorization=right) == 403


def test_the_page_brings_the_columns(start):
    one = start(columns=[("test_error", "result.test/center/error"), ("</script><b>", "config.x")])
    assert one.ready.wait(60)
    code, headers, page = ask(one, "/sacred")
    assert code == 200
    assert headers["Content-Type"].startswith("text/html")
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert page.count("</script>") == 1
    text = page.split("localStorage.setItem(k,")[1].split(")</script>")[0]
    state = json.loads(json.loads(text))
    assert state["columnOrder"][-2:] == ["test_error", "</script><b>"]
    assert state["columnNameMap"]["test_error"] == "result.test/center/error"
    assert {"name": "test_error", "value": "result.test/center/error"} in state["metricAndCustomColumns"]
    chosen = {option["value"]: option["selected"] for option in state["dropdownOptions"]}
    assert chosen["test_error"]
    assert not chosen["notes"]


def test_it_ends_with_who_started_it(board):
    ended = threading.Event()
    threading.Thread(target=lambda: (board._process.wait(), ended.set())).start()
    board._process.stdin.close()  # what the kernel does for a process that is killed
    assert ended.wait(60)
