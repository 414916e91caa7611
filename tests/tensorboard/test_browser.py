"""What a person sees: TensorBoard over a real sweep, and our own pages, read from a headless Chromium.

The pictures that are taken on the way are kept in $RNNLAB_SCREENSHOTS, else with the test's own files.
"""

import re
import signal
import subprocess
import sys

import pytest

from browser import ask, missing, until
from rnnlab.cli import main
from rnnlab.runs.run import Run, runs

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

RUN = ("experiment=sine", "data.n_points=200", "trainer.threads=1", "trainer.accelerator=cpu", "name=board")
SIZES, SEEDS = (4, 6, 8), range(14)  # 42 runs, and one that fails


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A folder with 43 runs, one of them failed: more than TensorBoard ticks by itself."""
    outputs = tmp_path_factory.mktemp("outputs")
    where = f"paths.outputs={outputs}"
    seeds, sizes = ",".join(map(str, SEEDS)), ",".join(map(str, SIZES))
    # a process of its own: workers of a sweep are forked
    words = [
        "train",
        "-m",
        *RUN,
        where,
        f"model.hidden_size={sizes}",
        f"seed={seeds}",
        "trainer.max_epochs=2",
    ]
    subprocess.run([sys.executable, "-m", "rnnlab", *words], check=True, capture_output=True)
    bad = [
        *RUN,
        where,
        "model.hidden_size=4",
        "trainer.max_epochs=2",
        "optimizer.lr=1e6",
        "~callbacks.pictures",
    ]
    assert main(["train", *bad]) == 1
    return outputs / "board"


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    """A run with instruments."""
    outputs = tmp_path_factory.mktemp("inspected")
    words = ["experiment=sine", "callbacks=inspect", "trainer.max_epochs=3", f"paths.outputs={outputs}"]
    assert main(["train", *words, "trainer.threads=1", "trainer.accelerator=cpu"]) == 0
    return outputs / "sine"


@pytest.fixture
def board():
    """Starts `rnnlab board`; gives its address when it has read so many runs."""
    started = []

    def start(folder, count, *options):
        words = [sys.executable, "-m", "rnnlab", "board", str(folder), *options]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        address = re.search(r"http://127\.0\.0\.1:\d+/", started[-1].stdout.readline())[0]
        until(lambda: len(ask(address + "data/runs")) == count)
        return address

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def sessions(address):
    """The HParams tab's own question, of every status."""
    metrics = ask(address + "data/plugin/hparams/experiment", {"experimentName": ""})
    asked = {
        "experimentName": "", "startIndex": 0, "sliceSize": 1000, "aggregationType": "AGGREGATION_AVG",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": m["name"], "includeInResult": True} for m in metrics["metricInfos"]],
    }  # fmt: skip
    return metrics, ask(address + "data/plugin/hparams/session_groups", asked)["sessionGroups"]


def test_tensorboard_over_a_sweep(sweep, board, browser, pictures):
    address = board(sweep, 39)  # 13 of each configuration
    experiment, groups = until(lambda: complete(sessions(address)))
    columns = {c["name"]: c["type"] for c in experiment["hparamInfos"]}
    # what differs; not what was asked of all alike, nor the seed
    assert columns.keys() == {"model.hidden_size", "optimizer.lr", "runs finished", "runs failed"}
    assert set(columns.values()) == {"DATA_TYPE_FLOAT64"}  # no axis of words among the parallel coordinates
    statuses = [s["status"] for g in groups for s in g["sessions"]]
    assert sorted(statuses) == ["STATUS_FAILURE"] + ["STATUS_SUCCESS"] * 42
    assert sorted(len(g["sessions"]) for g in groups) == [1, 14, 14, 14]  # configurations, seeds collapsed
    # the mean over a group's sessions is the mean over seeds
    from rnnlab.report.leaderboard import of_experiment

    rows = [row.mean for row in of_experiment(sweep).rows]
    shown = [{m["name"]["tag"]: m["value"] for m in group["metricValues"]} for group in groups]
    assert [values["best/loss"] for values in shown[:3]] == pytest.approx(rows, rel=1e-5)  # best first
    assert [group["name"] for group in groups] == ["001", "002", "003", "no result 1"]
    assert shown[3] == {}

    browser.size(1600, 1000)
    browser.open(f"{address}?a#hparams")
    read = until(lambda: (text := browser.text()) and "no result 1" in text and text)
    for word in ("model.hidden_size", "optimizer.lr", "best/loss", "last/loss", "excess/mse", "run/parameters",
                 "run/seconds", "runs failed"):  # fmt: skip
        assert word in read
    numbers = until(lambda: browser.run(CELLS))
    assert any(abs(number - rows[0]) < 1e-4 * rows[0] for number in numbers), (rows[0], numbers)
    browser.picture(pictures / "hparams.png")
    # rates differ by a factor of a hundred million, sizes by two
    scales = "return all(document).filter(e => e.tagName === 'PAPER-RADIO-GROUP').map(e => e.selected)"
    until(lambda: browser.run(scales)[:2] == ["LINEAR", "LOG"])

    browser.open(f"{address}?b#custom_scalars")
    read = until(
        lambda: (text := browser.text()) and "Matches" in text and "Matches (0)" not in text and text
    )
    assert "loss: training and validation" in read and "mse, beside baselines and floor" in read
    # of the runs that are shown all have a curve of the metric; three baselines and the floor are drawn once
    until(lambda: "Matches (43)" in browser.text())
    browser.picture(pictures / "custom_scalars.png")
    browser.open(f"{address}?e#scalars")
    until(lambda: browser.run(DRAWN) >= 2 and browser.run(TICKED) >= 39)
    browser.picture(pictures / "scalars.png")
    browser.open(f"{address}?c#timeseries")
    groups = until(lambda: {"loss", "metric"} <= (found := set(browser.text().split("\n"))) and found)
    assert groups.isdisjoint({"best", "last", "excess", "reference"})
    browser.picture(pictures / "timeseries.png")
    browser.open(f"{address}?d#graphs")
    read = until(lambda: (text := browser.text()) and "weight_hh" in text and text)
    assert {"input", "head", "target", "loss", "recur", "new_h"} <= set(read.split("\n"))
    browser.picture(pictures / "graph.png")
    assert browser.errors() == []


def test_the_text_of_a_failed_run_says_what_it_was_and_why_it_failed(sweep, board, browser, pictures):
    (failed,) = (run for run in runs(sweep) if run.status == "failed")
    address = board(failed.folder, 1)
    browser.size(1600, 2400)
    browser.open(f"{address}#text")
    words = ("hidden_size: 4", "optimizer.lr=1e6", "the loss has grown", "native (auto: the fastest)")
    until(lambda: (text := browser.text()) and all(word in text for word in words))
    browser.picture(pictures / "text.png")
    assert browser.errors() == []


def test_a_run_under_way_is_running_until_it_is_killed(tmp_path, board, browser, pictures):
    words = [
        sys.executable,
        "-m",
        "rnnlab",
        "train",
        *RUN,
        f"paths.outputs={tmp_path}",
        "trainer.max_epochs=1000000",
        "trainer.check_val_every_n_epoch=1000",  # lest TensorBoard never comes to the end of what is written
        "trainer.log_every_n_steps=10000",
    ]
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        until(lambda: any(tmp_path.glob("board/*/events*")))
        address = board(tmp_path / "board", 1)

        def status():
            return [s["status"] for group in sessions(address)[1] for s in group["sessions"]]

        until(lambda: status() == ["STATUS_RUNNING"])
        browser.size(1600, 700)
        browser.open(f"{address}#hparams")
        until(lambda: "runs running" in browser.text())
        browser.picture(pictures / "running.png")
    finally:
        run.kill()
        run.wait()
    until(lambda: status() == ["STATUS_UNKNOWN"])
    (folder,) = (path.parent for path in tmp_path.glob("board/*/run.json"))
    Run(folder).update(status="finished")
    until(lambda: status() == ["STATUS_SUCCESS"])


# the numbers in the cells of the HParams table
CELLS = """return all(document).filter(seen).flatMap(e => [...e.childNodes]).filter(n => n.nodeType === 3)
.map(n => Number(n.data.trim() || NaN)).filter(x => !Number.isNaN(x))"""


def complete(answer):
    """What TensorBoard has read when it has the metrics of all runs but the one that failed."""
    read = sum(bool(s.get("metricValues")) for g in answer[1] for s in g["sessions"])
    return answer if read == 42 else None


def test_groups_are_one_run_a_configuration(sweep, board, browser, pictures):
    address = board(sweep, 7, "--groups")
    shown = ask(address + "data/runs")
    assert [run.partition(" (")[2] for run in shown] == ["14 seeds)"] * 3 + [""] * 4
    assert set(shown[3:]) == {"baseline linear", "baseline mean", "baseline persistence", "floor"}
    browser.size(1600, 1000)
    browser.open(f"{address}#custom_scalars")
    read = until(lambda: (text := browser.text()) and "Matches (7)" in text and text)
    assert all(run in read for run in shown) and "metric/mse, band over seeds" in read
    until(lambda: browser.run(DRAWN) >= 2)
    browser.picture(pictures / "groups.png")
    assert browser.errors() == []


# the boxes that are ticked
TICKED = "return all(document).filter(e => e.tagName === 'PAPER-CHECKBOX' && e.checked && seen(e)).length"
# the charts that have been drawn
DRAWN = "return all(document).filter(e => e.tagName.startsWith('VZ-LINE-CHART') && seen(e)).length"


def test_the_images_of_instruments_are_in_tensorboard(inspected, board, browser, pictures):
    address = board(inspected, 1)
    browser.size(1600, 1200)
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        browser.open(f"{address}?{scheme}&darkMode={'true' if scheme == 'dark' else 'false'}#images")
        until(lambda: browser.run(READABLE))
        until(lambda: "recurrence/states of the hidden units" in browser.text())
        browser.picture(pictures / f"images-{scheme}.png")
    browser.open(f"{address}?losses#timeseries")
    until(lambda: "recurrence" in browser.text().split("\n"))
    groups = [
        line for line in browser.text().split("\n") if line in ("loss", "metric", "recurrence", "inspect")
    ]
    assert groups[0] == "loss" and "inspect" not in groups
    assert "recurrence/dead_units" not in browser.text()  # it is folded
    assert browser.errors() == []


# their smallest text is 8.5 of 72 points of an inch high, of which 120 pixels are drawn
READABLE = """const drawn = all(document).filter(e => e.tagName === 'IMG' && e.naturalWidth > 400 && seen(e));
const shown = e => 8.5 / 72 * 120 * e.getBoundingClientRect().width / e.naturalWidth;
return drawn.length >= 1 && drawn.every(e => shown(e) >= 8.9)"""


def test_our_pages_fit_the_screen(inspected, browser, pictures, tmp_path):
    (run,) = (path.parent for path in inspected.glob("*/run.json"))
    files = {"report": tmp_path / "report.html", "unroll": tmp_path / "unroll.html"}
    assert main(["report", str(run), "--html", str(files["report"])]) == 0
    assert main(["unroll", str(run), "--input", "0.1 0.2 0.3 0.2", "--html", str(files["unroll"])]) == 0
    for name, file in files.items():
        for width, scheme in ((1280, "light"), (390, "dark")):
            browser.size(width, 900)
            browser.scheme(scheme)
            browser.open(file.as_uri())
            wide, light = browser.run(
                "const c = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);"
                "return [document.documentElement.scrollWidth, c[0]]"
            )
            assert wide <= width, f"{name} is {wide} wide on a screen of {width}"
            assert (light > 128) == (scheme == "light")
            broken = "return all(document).filter(e => e.tagName === 'IMG' && !e.naturalWidth).length"
            assert browser.run(broken) == 0
            browser.picture(pictures / f"{name}-{width}-{scheme}.png")
    assert "step 1 of 4" in browser.text()
    browser.run("document.getElementById('on').click(); document.getElementById('on').click()")
    assert "step 3 of 4: the input is 0.3" in browser.text()
    assert browser.run("return document.querySelectorAll('g.step.now').length") == 1
    assert browser.errors() == []
