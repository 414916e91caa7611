"""What a person sees: TensorBoard over a real sweep, and our own pages, read from a headless Chromium.

The pictures that are taken on the way are kept in $RNNLAB_SCREENSHOTS, else with the test's own files.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from browser import Browser, ask, free_port, missing, until

from rnnlab.cli import main

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

RUN = ("experiment=sine", "data.n_points=200", "trainer.threads=1", "trainer.accelerator=cpu", "name=board")
SIZES, SEEDS = (4, 6, 8), range(13)  # 39 runs, and one that fails


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A folder with 40 runs, one of them failed, one with instruments."""
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


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return Path(os.environ.get("RNNLAB_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


@pytest.fixture
def board():
    """Starts `rnnlab board`; gives its address when it has read so many runs."""
    started = []

    def start(folder, runs, *options):
        words = [sys.executable, "-m", "rnnlab", "board", str(folder), "--port", str(free_port()), *options]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        address = re.search(r"http://127\.0\.0\.1:\d+/", started[-1].stdout.readline())[0]
        until(lambda: len(ask(address + "data/runs")) == runs)
        return address

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


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
    address = board(sweep, 40)
    experiment, groups = until(lambda: complete(sessions(address)))
    columns = {c["name"]: c["type"] for c in experiment["hparamInfos"]}
    assert columns.keys() >= {"model.hidden_size", "optimizer.lr", "trainer.max_epochs"}
    assert "seed" not in columns and columns["model.hidden_size"] == "DATA_TYPE_FLOAT64"
    statuses = [s["status"] for g in groups for s in g["sessions"]]
    assert sorted(statuses) == ["STATUS_FAILURE"] + ["STATUS_SUCCESS"] * 39
    assert sorted(len(g["sessions"]) for g in groups) == [1, 13, 13, 13]  # configurations, seeds collapsed
    # the mean over a group's sessions is the mean over seeds
    from rnnlab.sweeps.leaderboard import of_experiment

    rows = {row.entries[0].record["group"]: row.mean for row in of_experiment(sweep).rows}
    for group in groups:
        values = {m["name"]["tag"]: m["value"] for m in group["metricValues"]}
        if len(group["sessions"]) == 13:
            assert values["best/loss"] == pytest.approx(rows[group["name"]], rel=1e-5)

    browser.size(1600, 1000)
    browser.open(f"{address}?a#hparams")
    read = until(lambda: (text := browser.text()) and "best/mse" in text and text)
    for word in (
        "model.hidden_size",
        "optimizer.lr",
        "best/loss",
        "excess/mse",
        "run/parameters",
        "run/seconds",
    ):
        assert word in read
    shown = until(lambda: browser.run(CELLS))
    best = min(rows.values())
    assert any(abs(number - best) < 1e-4 * best for number in shown), (best, shown)
    browser.picture(pictures / "hparams.png")

    browser.open(f"{address}?b#custom_scalars")
    read = until(
        lambda: (text := browser.text()) and "Matches" in text and "Matches (0)" not in text and text
    )
    assert "loss: training and validation" in read and "mse, beside baselines and floor" in read
    browser.picture(pictures / "custom_scalars.png")
    browser.open(f"{address}?c#timeseries")
    read = until(lambda: (text := browser.text()) and "excess" in text and text)
    assert "best" in read
    browser.picture(pictures / "timeseries.png")
    assert browser.errors() == []


# the numbers in the cells of the HParams table
CELLS = """return all(document).filter(seen).flatMap(e => [...e.childNodes]).filter(n => n.nodeType === 3)
.map(n => Number(n.data.trim() || NaN)).filter(x => !Number.isNaN(x))"""


def complete(answer):
    """What TensorBoard has read when it has read every end."""
    ended = sum(s["status"] != "STATUS_UNKNOWN" for g in answer[1] for s in g["sessions"])
    return answer if ended == 40 else None


def test_groups_are_one_run_a_configuration(sweep, board, browser, pictures):
    address = board(sweep, 3, "--groups")
    runs = ask(address + "data/runs")
    assert all(run.endswith("(13 seeds)") for run in runs)
    browser.size(1600, 1000)
    browser.open(f"{address}#custom_scalars")
    read = until(lambda: (text := browser.text()) and "band over seeds" in text and text)
    assert all(run in read for run in runs)
    browser.picture(pictures / "groups.png")
    assert browser.errors() == []


def test_the_images_of_instruments_are_in_tensorboard(inspected, board, browser, pictures):
    address = board(inspected, 1)
    browser.size(1600, 1200)
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        browser.open(f"{address}?{scheme}&darkMode={'true' if scheme == 'dark' else 'false'}#images")
        until(lambda: browser.run(WIDE) >= 1)
        until(lambda: "inspect/states" in browser.text())
        browser.picture(pictures / f"images-{scheme}.png")
    assert browser.errors() == []


WIDE = "return all(document).filter(e => e.tagName === 'IMG' && e.naturalWidth > 900).length"


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
