"""Downloads from a server on this machine: resumed, verified, from the first mirror that delivers."""

import hashlib
import http.server
import threading

import pytest

from sacreddnn.data.dataset import DataError
from sacreddnn.data.download import fetch

CONTENT = bytes(range(256)) * 1000
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """/file is the content, with ranges; /plain without; /cut breaks off half-way; /other is something else."""

    requests: list = []  # noqa: RUF012 - shared by all handlers on purpose

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.requests.append((self.path, wanted))
        body, status = {"/other": b"something else"}.get(self.path, CONTENT), 200
        if self.path == "/missing":
            return self.send_error(404)
        if wanted and self.path != "/plain":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return self.send_error(416)
            body, status = body[start:], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    Server.requests = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_verified(server, tmp_path):
    target = tmp_path / "new" / "file"
    for _ in range(2):
        assert fetch([f"{server}/file"], target, md5=MD5, sha256=SHA256).read_bytes() == CONTENT
    assert Server.requests == [("/file", None)]
    assert not (tmp_path / "new" / "file.part").exists()


@pytest.mark.parametrize("path", ["/file", "/plain"])
def test_a_broken_download_is_resumed(server, tmp_path, path):
    target = tmp_path / "file"
    with pytest.raises(DataError, match="not fetched"):
        fetch([f"{server}/cut"], target, md5=MD5)
    half = (tmp_path / "file.part").stat().st_size
    assert half == len(CONTENT) // 2
    fetch([f"{server}{path}"], target, md5=MD5)
    assert target.read_bytes() == CONTENT
    assert Server.requests[-1] == (path, f"bytes={half}-")


def test_a_download_that_stopped_after_the_last_byte_is_finished(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert fetch([f"{server}/file"], tmp_path / "file", md5=MD5).read_bytes() == CONTENT


def test_the_next_mirror_is_tried(server, tmp_path):
    urls = [f"{server}/missing", f"{server}/other", f"{server}/file"]
    assert fetch(urls, tmp_path / "file", sha256=SHA256).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_kept(server, tmp_path):
    with pytest.raises(DataError, match="wrong checksum") as caught:
        fetch([f"{server}/other"], tmp_path / "file", md5=MD5)
    assert not list(tmp_path.glob("file")) + list(tmp_path.glob("*.part"))
    assert "\n" not in str(caught.value)


def test_without_a_network_the_message_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    target = tmp_path / "file"
    with pytest.raises(DataError, match=f"get http://127.0.0.1:9/file elsewhere and put it at {target}"):
        fetch(["http://127.0.0.1:9/file"], target, md5=MD5)
