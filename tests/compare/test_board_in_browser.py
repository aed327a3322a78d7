"""What a browser shows of `gradparity board`: the dashboards of three runs that lie on top of each other.

The screenshots go to $GRADPARITY_SCREENSHOTS, if that is set: somebody should look at them now and then.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from compare import train
from scratch.health import TrainingFailed
from scratch.rundir import RunDirectory

pytestmark = pytest.mark.slow
COURSE = {
    "optimizer": "sgd",
    "lr": 0.1,
    "steps": 60,
    "log_every": 10,
    "eval_every": 20,
    "split": (600, 200, 200),
}
RUNS = {framework: f"mlp-{framework}" for framework in train.FRAMEWORKS}
FAILED = "mlp-diverged"
METRICS = ("test/error", "validation/error", "validation/loss", "train_eval/error")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, referees):
    folder = tmp_path_factory.mktemp("runs")
    for framework, name in RUNS.items():
        train.start(train.Options(framework=framework, **COURSE), str(folder), name)
    with pytest.raises(TrainingFailed), np.errstate(all="ignore"):
        train.start(train.Options(**COURSE | {"lr": 1e30}), str(folder), FAILED)
    return folder


@pytest.fixture(scope="module")
def address(runs, tmp_path_factory):
    """Of the running board, which has read all runs."""
    said = tmp_path_factory.mktemp("board") / "stderr"
    command = [sys.executable, "-m", "compare.cli", "board", "--runs-dir", str(runs), "--port", "0"]
    with said.open("w") as stderr, subprocess.Popen(command, stdout=stderr, stderr=stderr) as board:
        try:
            for _ in range(240):
                assert board.poll() is None, said.read_text()
                time.sleep(0.25)
                if found := re.search(r"http://127\.0\.0\.1:\d+", said.read_text()):
                    with urllib.request.urlopen(f"{found[0]}/data/runs", timeout=60) as answer:
                        if {*RUNS.values(), FAILED} <= set(json.load(answer)):
                            break
            else:
                pytest.fail(f"the board does not show the runs: {said.read_text()}")
            yield found[0]
        finally:
            board.kill()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(names)} is on the PATH")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(browser, address, request, tmp_path):
    """show(tab, selector): the page, as soon as that is there; a screenshot is taken when the test ends."""
    folder = Path(os.environ.get("GRADPARITY_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(60_000)
    asked_outside = []

    def only_here(route):
        if route.request.url.startswith((address, "data:", "blob:")):
            return route.continue_()
        asked_outside.append(route.request.url)
        return route.abort()

    context.route("**/*", only_here)

    def show_(tab, selector):
        page = context.new_page()
        page.goto(f"{address}/{tab}")
        page.locator(selector).first.wait_for(state="attached")
        return page

    yield show_
    for page in context.pages:
        page.wait_for_timeout(1000)  # animations
        page.screenshot(path=folder / f"{request.node.name.removeprefix('test_')}.png")
    context.close()
    assert not asked_outside


def count(locator, number):
    from playwright.sync_api import expect

    expect(locator).to_have_count(number, timeout=60_000)


def curves(card):
    """(colour, points (N, 2) in pixels) of every curve of a chart, smoothed ones left out."""
    found = card.locator("path.line").evaluate_all(
        "lines => lines.map(e => [getComputedStyle(e).stroke, e.getAttribute('d')])"
    )
    return [(colour, np.array(re.findall(r"[-.\de]+", path), float).reshape(-1, 2)) for colour, path in found]


def test_scalars(show):
    """All three curves of the loss, a point a step, and within a pixel the same curve."""
    finished = quote(f"^({'|'.join(RUNS.values())})$", "")
    page = show(
        f"#scalars&_smoothingWeight=0&tagFilter={quote('^train/loss$', '')}&regexInput={finished}",
        "tf-scalar-card path.line",
    )
    assert page.title() == "gradparity"
    card = page.locator("tf-scalar-card").first
    assert card.get_by_text("train/loss", exact=True).first.is_visible()
    count(card.locator("path.line"), len(RUNS))
    found = curves(card)
    assert len({colour for colour, _ in found}) == len(RUNS)
    for _, points in found:
        assert points.shape == (COURSE["steps"], 2) and (np.diff(points[:, 0]) > 0).all()
        assert points[-1, 1] > points[0, 1] + 20  # downwards: pixels count from the top
        assert np.abs(points - found[0][1]).max() < 1
    for name in RUNS.values():
        assert page.get_by_text(name, exact=True).first.is_visible()


def test_time_series(show):
    """The tab that opens first; a table under each chart names the runs with their last values."""
    page = show(f"?tagFilter={quote('/loss$', '')}#timeseries", "scalar-card")
    count(page.locator("scalar-card"), 4)
    for tag in ("test/loss", "train/loss", "train_eval/loss", "validation/loss"):
        assert page.get_by_text(tag, exact=True).first.is_visible()
    table = page.locator("scalar-card", has_text="train/loss").locator("scalar-card-data-table")
    for name in (*RUNS.values(), FAILED):
        assert table.get_by_text(name, exact=True).count() == 1


def test_histograms(show):
    """A ridge a log point, for each run."""
    page = show(
        "#histograms&tagFilter=" + quote("^fc1/(W|W_gradient|net_input_gradient)$", ""),
        "tf-histogram-dashboard",
    )
    charts, number = (
        page.locator("vz-histogram-timeseries:visible"),
        3 * (len(RUNS) + 1),
    )  # of those asked for
    charts.nth(number - 1).locator("path").first.wait_for(state="attached")
    ridges = [charts.nth(i).locator("path").count() for i in range(number)]
    steps = COURSE["steps"] // COURSE["log_every"]
    assert sum(n >= steps for n in ridges) == 3 * len(RUNS), ridges  # of the run that failed there are none
    assert page.get_by_text("fc1/net_input_gradient", exact=True).first.is_visible()


def hparams(page):
    """The table as it is read: a dictionary a run, by the names of the columns."""
    cells = page.locator("vaadin-grid-cell-content:visible").evaluate_all(
        "cells => cells.map(e => [e.getBoundingClientRect(), e.innerText.trim().replace(/\\s+/g, ' ')])"
        ".map(([r, text]) => [r.x, r.y + r.height / 2, text])"
    )
    left = min(x for x, _, _ in cells)
    heights = sorted(y for x, y, _ in cells if x == left)
    rows = [{} for _ in heights]
    for x, y, text in cells:
        rows[int(np.abs(np.array(heights) - y).argmin())][x] = text
    header, *body = rows
    return [{header[x]: text for x, text in row.items()} for row in body]


def test_hparams(show, runs):
    """A row a run, with its settings, its last metrics and whether it went well."""
    page = show("#hparams", f"vaadin-grid-cell-content >> text={FAILED}")
    rows = {row["Trial ID"]: row for row in hparams(page)}
    assert rows.keys() == {*RUNS.values(), FAILED}
    for framework, name in RUNS.items():
        row, last = rows[name], RunDirectory.view(runs / name).metrics()[-1]
        assert (row["framework"], row["optimizer"], row["activation"]) == (framework, "sgd", "relu")
        assert float(row["lr"]) == pytest.approx(0.1) and row["init"] == "he_normal"
        for metric in METRICS:
            assert float(row[metric]) == pytest.approx(last[metric.replace("/", "_")], rel=1e-3), metric
        assert float(row["time/step_ms"]) > 0
    assert all(not rows[FAILED][metric] for metric in METRICS) and float(rows[FAILED]["lr"]) == 1e30
    success = page.get_by_text("Success", exact=True)
    success.scroll_into_view_if_needed()
    success.click()  # unticks it
    count(page.locator(f"vaadin-grid-cell-content:visible >> text={RUNS['numpy']}"), 0)
    assert [row["Trial ID"] for row in hparams(page)] == [FAILED]
    page.get_by_text("Failure", exact=True).click()
    success.click()
    count(page.locator(f"vaadin-grid-cell-content:visible >> text={FAILED}"), 0)
    assert {row["Trial ID"] for row in hparams(page)} == {*RUNS.values()}


def test_custom_scalars(show):
    """Training, validation and test on one chart; the minibatches on another."""
    page = show("#custom_scalars&_smoothingWeight=0", "tf-custom-scalar-multi-line-chart-card path.line")
    charts = page.locator("tf-custom-scalar-multi-line-chart-card")
    count(charts, 4)
    for place, name in enumerate(("loss", "error")):
        title = f"{name}: training, validation, test"
        assert page.get_by_text(title, exact=True).is_visible()
        assert page.get_by_text(f"{name} of the minibatches", exact=True).is_visible()
        count(charts.nth(2 * place).locator("path.line"), 3 * len(RUNS))
        count(charts.nth(2 * place + 1).locator("path.line"), len(RUNS) + 1)
        for _, points in curves(charts.nth(2 * place)):
            assert len(points) == COURSE["steps"] // COURSE["eval_every"]


def test_images(show):
    """Kernels of the first layer and misclassified digits, of every run that got so far."""
    page = show("#images", "tf-image-loader img")
    pictures = page.locator("tf-image-loader img")
    count(pictures, 2 * len(RUNS))
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        page.wait_for_function("e => e.complete && e.naturalWidth > 100", arg=picture.element_handle())
    for tag in ("fc1/W/kernels", "misclassified"):
        assert page.get_by_text(f"tag: {tag}").count() == len(RUNS)


def test_text(show):
    """The settings, as a table, of every run."""
    page = show("#text", "table")
    count(page.locator("table"), len(RUNS) + 1)
    for framework in RUNS:
        row = page.get_by_role("row", name=re.compile(rf"^framework\s+{framework}$"))
        assert row.count() == (2 if framework == "numpy" else 1)  # the failed one is NumPy's


def test_graphs(show):
    """The layers, in order from the bottom to the top."""
    page = show("#graphs", "svg >> text=loss")
    names = ("x", "fc1", "fc2", "fc3", "loss")
    nodes = [page.locator(f"svg g.node[data-name='{name}']").first for name in names]
    for _ in range(60):  # it moves while it is laid out
        heights = [(node.bounding_box() or {"y": 0})["y"] for node in nodes]
        if heights == sorted({*heights}, reverse=True):
            return
        page.wait_for_timeout(500)
    pytest.fail(f"the nodes {names} lie at {heights} pixels from the top")
