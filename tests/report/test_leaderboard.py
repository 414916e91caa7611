"""The leaderboard's numbers by hand, and its page in a parser."""

import csv
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest

from rnnlab.cli import main
from rnnlab.report.leaderboard import bootstrap, of_experiment
from rnnlab.runs.config_diff import config_diffs
from rnnlab.runs.run import Run

VALUES = {(16, 0): 0.5, (16, 1): 0.7, (16, 2): 0.9, (32, 0): 0.2, (32, 1): 0.6, (64, 0): 0.1}


@pytest.fixture
def experiment(tmp_path):
    """Six finished runs and a failed one, written as a training would."""
    for (hidden, seed), value in VALUES.items():
        config = {"model": {"hidden_size": hidden}, "seed": seed, "data": {"seed": seed}, "mode": "min"}
        run = Run(tmp_path / "exp" / f"hidden_size-{hidden}+seed-{seed}-0123456789ab")
        run.create(f"{hidden}{seed}", "exp", config, [], group=str(hidden), label=f"hidden_size-{hidden}")
        best = {"value": value, "monitor": "loss/val", "step": 2, "metrics": {"metric/mse": 2 * value}}
        results = {"best": best, "steps": 10, "baselines": {"val": {"persistence": {"mse": 3.0 + seed}}},
                   "floor": {"val": {"mse": 0.05}}, "test": {"loss": 1, "mse": 3 * value}}  # fmt: skip
        run.update(status="finished", results=results, seconds=2.0)
        run.metrics_file.write_text(f"step,metric,value\n1,loss/val,{value + 1}\n2,loss/val,{value}\n")
    run = Run(tmp_path / "exp" / "hidden_size-8+seed-0-0123456789ab")
    run.create("80", "exp", {"model": {"hidden_size": 8}, "mode": "min"}, [], group="8")
    run.update(status="failed", why="Diverged: <the loss is nan>")
    return tmp_path / "exp"


def test_seeds_are_collapsed_and_rows_sorted(experiment):
    board = of_experiment(experiment)
    assert [row.label for row in board.rows] == ["hidden_size=64", "hidden_size=32", "hidden_size=16"]
    last = board.rows[-1]
    assert last.mean == pytest.approx(0.7) and last.std == pytest.approx(0.2) and len(last.entries) == 3
    low, high = last.interval
    assert 0.5 <= low < 0.7 < high <= 0.9
    assert math.isnan(board.rows[0].std)
    assert last.scores() == pytest.approx({"val/mse": 1.4, "test/mse": 2.1})
    assert board.references == [("persistence", {"val/mse": pytest.approx(3 + 4 / 6)}),
                                ("floor", {"val/mse": pytest.approx(0.05)})]  # fmt: skip
    assert [e.record["status"] for e in board.others] == ["failed"]


def test_the_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (400, 40))
    covered = [low <= 3.0 <= high for low, high in map(bootstrap, draws)]
    assert 0.90 <= np.mean(covered) <= 0.97  # percentile intervals of 40 values fall a little short of 95%
    assert bootstrap(draws[0]) == bootstrap(draws[0])


def test_what_differs_is_named_shortly():
    adam = {
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.1, "betas": [0.9, 0.999]},
        "seed": 1,
        "tags": ["a"],
    }
    sgd = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.2, "momentum": 0.9}, "seed": 2, "tags": []}
    assert config_diffs([adam, sgd]) == [
        {"optimizer": "Adam", "optimizer.lr": 0.1},
        {"optimizer": "SGD", "optimizer.lr": 0.2},
    ]
    assert config_diffs([adam]) == [{}]
    longer = adam | {"resume": "outputs/sine/a-run"}  # how it was trained, and not what it is
    assert config_diffs([adam | {"resume": None}, longer]) == [{}, {}]


class Page(HTMLParser):
    VOID = ("meta", "line", "circle", "polyline", "polygon")

    def __init__(self):
        super().__init__()
        self.seen, self.text, self.links = [], "", []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_files(experiment, tmp_path, capsys):
    files = [tmp_path / name for name in ("t.csv", "t.json", "t.html")]
    assert (
        main(
            [
                "report",
                str(experiment),
                "--csv",
                str(files[0]),
                "--json",
                str(files[1]),
                "--html",
                str(files[2]),
            ]
        )
        == 0
    )
    assert "hidden_size=64" in capsys.readouterr().out
    rows = list(csv.DictReader(files[0].open()))
    assert [r["what"] for r in rows] == [
        "hidden_size=64",
        "hidden_size=32",
        "hidden_size=16",
        "persistence",
        "floor",
    ]
    assert float(rows[1]["loss/val"]) == pytest.approx(0.4) and rows[0]["std"] == ""
    found = json.loads(files[1].read_text(), parse_constant=pytest.fail)
    assert found["rows"][2]["runs"]["hidden_size-16+seed-1-0123456789ab"] == 0.7
    assert found["rows"][0]["parameters"] == {"model.hidden_size": 64}
    page = Page()
    page.feed(files[2].read_text())
    assert page.seen.count("svg") == 4  # learning curves for two widths, a panel, parallel coordinates
    assert page.seen.count("polygon") == 2 * 2  # two rows have several seeds
    assert page.seen.count("circle") == 6 + 3
    for word in ("hidden_size=64", "persistence", "Diverged: <the loss is nan>", "optimizer step"):
        assert word in page.text


def test_a_folder_without_runs_is_refused_by_its_nearest_name(experiment, capsys):
    assert main(["report", str(experiment.parent / "exq")]) == 2
    assert "Did you mean exp?" in capsys.readouterr().err
