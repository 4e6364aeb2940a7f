"""Recorded runs looked at in a real browser: Chromium on Omniboard, started by the command.

Screenshots go to the folder SACREDDNN_SCREENSHOTS, else to pytest's own. The first run on a machine installs Omniboard
into the shared folder (about a minute).
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from sacreddnn import experiment
from sacreddnn.report import run_figures
from sacreddnn.tracking import server
from sacreddnn.tracking.runs import load_spool

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra 'dev'")
pytest.importorskip("ray", reason="needs the extra 'sweep'")
pytest.importorskip("secantus", reason="needs the extra 'embedded'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # npm may have to install first
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium: apt-get install chromium"),
    pytest.mark.skipif(None in map(shutil.which, ("node", "npm")), reason="needs Node.js: apt-get install nodejs npm"),
]

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "dashboard.py"
SETTINGS = {
    "training.precision": "float32", "training.epochs": 3, "training.batch_size": 32, "training.num_threads": 1,
    "training.device": "cpu", "evaluation.flatness.num_samples": 2, "tracking.tags": ["sweep"],
}  # fmt: skip
SWEPT = ("sgd", "esgd", "rsgd")
NUM_RUNS = len(SWEPT) + 1  # the last one diverges
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
PATIENCE = 90  # seconds; a machine may be busy with ten other things


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)
    return found


class Board:
    """The command, the runs it shows, and what it printed."""

    def __init__(self, folder):
        self.folder, self.database = folder, folder / "database"
        settings = SETTINGS | {"tracking.root": str(folder / "runs"), "tracking.folder": str(self.database)}
        sweep = {"base": ["digits", "mlp"], "fixed": settings, "cases": {name: {"base": [name]} for name in SWEPT}}
        file = folder / "sweep.yaml"
        file.write_text(yaml.safe_dump(sweep))
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, ROOT / "scripts" / "sweep.py", file]
        subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=600)
        words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        diverging = ["train.py", "with", "digits", "mlp", "sgd", *words, "training.lr=1e30"]
        assert experiment.main(diverging, run_figures.draw_run) == 1
        completed = [one for one in load_spool(folder / "runs") if one.status == "COMPLETED"]
        self.results = {one.run_id: one.result for one in completed}
        self.numbers = {one.config["algorithm"]["name"]: one.run_id for one in completed}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        command = [sys.executable, SCRIPT, "--folder", self.database, "--port", str(self.port)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        deadline = time.monotonic() + 900  # npm may have to install first
        while self.url not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def get(self, path, **headers):
        """The status of a GET; 0 for no answer."""
        try:
            request = urllib.request.Request(self.url + path, headers=headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def close(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            if pid := server.status(self.database)["pid"]:
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    one = Board(tmp_path_factory.mktemp("board"))
    yield one
    one.close()
    assert one.process.returncode == 0, one.log.read_text()
    assert one.get("/") == 0  # its Omniboard has ended with it


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield one
        one.close()


@pytest.fixture
def page(board, browser):
    playwright.expect.set_options(timeout=PATIENCE * 1000)
    context = browser.new_context(viewport={"width": 1700, "height": 850}, timezone_id="UTC")
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(board.url)
    playwright.expect(rows(page)).to_have_count(NUM_RUNS)
    yield page
    context.close()


@pytest.fixture
def shoot(page, tmp_path):
    folder = Path(os.environ.get("SACREDDNN_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def shoot(name, height=850):
        clip = {"x": 0, "y": 0, "width": 1700, "height": height}
        page.screenshot(path=folder / f"dashboard_{name}.png", clip=clip)

    return shoot


def rows(page):
    """The lines of the list without its header."""
    return page.get_by_role("row").filter(has=page.get_by_role("gridcell"))


def table(page):
    """The list as it is seen at one moment: a dict a run, by header."""
    heads, lines = page.evaluate(
        """() => {
            const texts = (parent, role) => [...parent.querySelectorAll(`[role=${role}]`)].map(one => one.innerText);
            const rows = [...document.querySelectorAll('[role=row]')];
            const lines = rows.filter(row => row.querySelector('[role=gridcell]'));
            lines.sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top);
            return [texts(document, 'columnheader'), lines.map(row => texts(row, 'gridcell'))];
        }"""
    )
    heads = [" ".join(re.sub("[↑↓]", "", head).split()) for head in heads]
    return [dict(zip(heads, map(str.strip, line), strict=True)) for line in lines]


def open_tab(page, name):
    page.locator("#sidebar").get_by_role("button", name=name).click()


def test_what_a_reader_does(board, page, shoot):
    def ids():
        return [row["Id"] for row in table(page)]

    # the list: our columns, with the numbers that were recorded
    shown = {row["Id"]: row for row in table(page)}
    for algorithm in SWEPT:
        run = board.numbers[algorithm]
        row, result = shown[str(run)], board.results[run]
        assert (row["Dataset"], row["Network"], row["Algorithm"]) == ("digits", "mlp", algorithm)
        assert row["Replicas"] == ("3" if algorithm == "rsgd" else "")
        assert float(row["Test Error"]) == result["test/center/error"]
        assert float(row["Train Error"]) == result["train/center/error"]
        assert float(row["Local Energy"]) == result["local_energy"]
        assert row["At Sigma"] == "0.3"
        assert int(row["Gradient Evaluations"]) == result["gradient_evaluations"]
        assert row["Status"] == "COMPLETED"
        assert row["Duration"] != ""
    assert shown["4"]["Status"] == "FAILED"
    assert shown["4"]["Test Error"] == ""
    shoot("list", 450)

    # sorted by the test error, one way and the other
    order = sorted(board.results, key=lambda run: board.results[run]["test/center/error"])
    ascending = ["4", *map(str, order)]  # what has no result comes first
    for expected in (ascending[::-1], ascending):
        page.locator("[test-attr=header-sort-test_error]").click()
        wait_until(lambda expected=expected: ids() == expected, "sorted")

    # only one algorithm
    for field, choice in ((".filter-name", "Algorithm"), (".filter-value", "rsgd")):
        page.locator(f"{field} input").click(force=True)  # below its placeholder
        # the values come late: a click waits for them, the Enter key would not
        page.locator("[id^=react-select][id*=-option-]").get_by_text(choice, exact=True).click()
    page.locator("#add_filter").click()
    wait_until(lambda: ids() == [str(board.numbers["rsgd"])], "filtered")

    # one run: its curves, its config, a figure
    page.locator("[test-attr=cell-row_expander-0]").click()
    legend = page.locator(".drilldown-view .legendtext")
    playwright.expect(legend.get_by_text("test/center/error", exact=True)).to_be_visible()
    assert page.locator(".drilldown-view .scatterlayer .trace").count() > 5
    shoot("run", 800)
    open_tab(page, "Config")
    playwright.expect(page.locator("#config")).to_contain_text("algorithm")
    open_tab(page, "Artifacts")
    page.locator("#artifacts").get_by_role("heading", name="learning_curve.png").click()
    figure = page.locator("#artifacts img[src$='learning_curve.png']")
    playwright.expect(figure).to_be_visible()
    wait_until(lambda: figure.evaluate("image => image.complete && image.naturalWidth") > 300, "the figure")
    shoot("figure")
    page.locator("[test-attr=cell-row_expander-0]").click()
    page.locator(".tag.is-delete").click()
    playwright.expect(rows(page)).to_have_count(NUM_RUNS)

    # two runs beside each other
    for run in ("2", "3"):
        place = ids().index(run)
        page.locator(f"[test-attr=cell-row_selection-{place}]").click()
    page.locator("#compare_runs").click()
    modal = page.locator(".compare-runs-modal")
    for run in (2, 3):
        playwright.expect(
            modal.locator(".legendtext").get_by_text(re.compile(f"^{run}.*test/center/error")).first
        ).to_be_visible()
    shoot("compare")
    modal.locator(".close").click()
    playwright.expect(modal).to_have_count(0)

    # why a run failed
    page.locator(f"[test-attr=cell-row_expander-{ids().index('4')}]").click()
    open_tab(page, "Fail Trace")
    playwright.expect(page.locator("#fail_trace")).to_contain_text("loss is not finite")
    shoot("failed")

    # what is refused is said
    page.locator("#delete_runs").click()
    page.locator("[test-attr=delete-btn]").click()
    playwright.expect(page.locator(".Toastify").get_by_text("report.py delete").first).to_be_visible()
    page.reload()
    playwright.expect(rows(page)).to_have_count(NUM_RUNS)


def test_what_goes_wrong(board, page):
    api = "/sacred/api/v1"
    nobody = "0123456789abcdef01234567"
    for path in (
        f"files/{nobody}", f"files/preview/{nobody}", f"files/download/{nobody}/a.png", "files/preview/x",
        "files/downloadAll/77/artifacts", "files/artifacts/x",
    ):  # fmt: skip
        assert board.get(f"{api}/{path}") == 404, path
    assert board.get(f"{api}/Runs/count") == 200
    assert "started again" not in board.log.read_text()

    # the database is killed: the dashboard brings it back
    pid = server.status(board.database)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.status(board.database)["pid"] not in (None, pid), "the database is back")
    wait_until(lambda: board.get(f"{api}/Runs?limit=1") == 200, "the board has found it")
    # it is stopped on purpose: it stays away, and when it is back all goes on
    server.stop(board.database)
    assert board.get(f"{api}/files/{nobody}") == 503
    time.sleep(2)
    assert not server.status(board.database)["running"]
    server.start(board.database)
    wait_until(lambda: board.get(f"{api}/Runs?limit=1") == 200, "the board has found it again")
    assert "started again" not in board.log.read_text()
    page.reload()
    playwright.expect(rows(page)).to_have_count(NUM_RUNS)

    # Omniboard itself is killed
    children = Path(f"/proc/{board.process.pid}/task/{board.process.pid}/children")
    if not children.exists():
        pytest.skip("needs /proc to find the child")
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    wait_until(lambda: "started again" in board.log.read_text(), "it is said")
    wait_until(lambda: board.get(f"{api}/Runs?limit=1") == 200, "another one answers")
    page.reload()
    playwright.expect(rows(page)).to_have_count(NUM_RUNS)
