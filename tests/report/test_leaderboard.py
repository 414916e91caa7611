"""The leaderboard's numbers by hand, and its page in a parser."""

import csv
import json
import math
import re
import shutil
from html.parser import HTMLParser

import pytest
from finished_runs import finished

import rnnlab
from rnnlab.cli import main
from rnnlab.cli.report import as_json
from rnnlab.errors import UserError
from rnnlab.report import experiment_page
from rnnlab.report.leaderboard import of_experiment
from rnnlab.runs.config_diff import config_diffs
from rnnlab.runs.run import Run, runs

VALUES = {(16, 0): 0.5, (16, 1): 0.7, (16, 2): 0.9, (32, 0): 0.2, (32, 1): 0.6, (64, 0): 0.1}


@pytest.fixture
def experiment(tmp_path):
    """Six finished runs and a failed one, written as a training would."""
    for (hidden, seed), value in VALUES.items():
        config = {"model": {"hidden_size": hidden}, "seed": seed, "data": {"seed": seed}, "mode": "min"}
        run = Run(tmp_path / "exp" / f"hidden_size-{hidden}+seed-{seed}-0123456789ab")
        run.create(f"{hidden}{seed}", "exp", config, [], group=str(hidden), label=f"hidden_size-{hidden}")
        best = {"value": value, "monitor": "loss/val", "step": 2, "metrics": {"metric/mse": 2 * value}}
        results = {"best": best, "steps": 10, "baselines": {"val": {"persistence": {"mse": 3.0}}},
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
    # computed by hand, on the logarithm
    assert low == pytest.approx(0.32704, abs=1e-5) and high == pytest.approx(1.41561, abs=1e-5)
    assert math.isnan(board.rows[0].std)
    assert last.scores() == pytest.approx({"val/mse": 1.4, "test/mse": 2.1})
    assert board.references == [("persistence", {"val/mse": pytest.approx(3.0)}),
                                ("floor", {"val/mse": pytest.approx(0.05)})]  # fmt: skip
    assert [e.record["status"] for e in board.others] == ["failed"]


def test_a_copy_of_a_run_is_no_other_seed_and_a_renamed_folder_keeps_its_seed(experiment):
    before = of_experiment(experiment)
    for run in runs(experiment):  # ids as a training gives them, which end the folders' names
        run.update(id=f"{run.id:0>12}")
        run.folder.rename(run.folder.with_name(run.folder.name.replace("0123456789ab", run.id)))
    of_16 = {
        run.config["seed"]: run.folder
        for run in runs(experiment)
        if run.folder.name.startswith("hidden_size-16")
    }
    shutil.copytree(of_16[0], experiment / "a-copy")
    of_16[1].rename(experiment / "my-seed-7-of-16")
    after = of_experiment(experiment)
    for row, same in zip(after.rows, before.rows, strict=True):
        ours, theirs = ([one.mean, one.std, *one.interval, len(one.entries)] for one in (row, same))
        assert ours == pytest.approx(theirs, nan_ok=True)
    assert sorted(entry.seed for entry in after.rows[-1].entries) == ["0", "1", "2"]
    assert f"a-copy: the same run as {of_16[0].name}, which counts once." in after.notes
    assert {entry.folder.name for row in after.rows for entry in row.entries} >= {
        of_16[0].name,
        "my-seed-7-of-16",
    }


def test_the_best_run_is_one_with_a_score_by_the_runs_own_mode(tmp_path):
    for mode, wanted in (("min", 0), ("max", 1)):
        for seed, value in enumerate((0.5, 0.7, math.inf)):
            finished(tmp_path / mode, "a", seed, {}, {"loss/val": value, "metric/mse": 1.0}, mode=mode)
        failed = Run(tmp_path / mode / "a+seed-9-0123456789ab")
        failed.create("a9", "exp", {"model": {}, "mode": mode}, [], group="a")
        # the first, whose objective is NaN
        failed.update(status="failed", created="2000-01-01T00:00:00+0000")
        found = rnnlab.runs(tmp_path / mode)
        assert math.isnan(found[0].objective) and found.best.config["seed"] == wanted
    finished(
        tmp_path / "max",
        "b",
        0,
        {"n_points": 9},
        {"loss/val": 1.0},
        baselines={"x": {"mse": 1.0}},
        mode="max",
    )
    with pytest.raises(UserError, match="do not compare"):
        _ = rnnlab.runs(tmp_path / "max").best
    with pytest.raises(UserError, match="none of these runs has a score"):
        _ = rnnlab.runs(tmp_path).best


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


@pytest.mark.parametrize("rows", ["0", "-1"])
def test_a_number_of_rows_below_1_is_refused(experiment, capsys, rows):
    assert main(["report", str(experiment), "--rows", rows]) == 2
    assert capsys.readouterr().err == f"--rows {rows}: must be at least 1\n"


def test_a_folder_without_runs_is_refused_by_its_nearest_name(experiment, capsys):
    assert main(["report", str(experiment.parent / "exq")]) == 2
    assert "Did you mean exp?" in capsys.readouterr().err


def test_a_board_without_a_floor_names_none(tmp_path):
    for text in ("a", "b"):
        finished(tmp_path, text, 0, {"path": text}, {"loss/val": 1.0, "metric/nats": 1.0},
                 baselines={"5-gram": {"nats": 1.0 + (text == "a")}})  # fmt: skip
    assert of_experiment(tmp_path).notes[-1] == "The best baseline is of val/nats, each row's own."


def test_rows_of_different_data_are_ranked_apart_beside_their_own_baselines(tmp_path):
    for noise, floor in ((0.1, 0.01), (0.5, 0.25)):
        for hidden, excess in ((8, 0.5), (16, 0.1)):
            for seed in (0, 1):
                mse = floor * (1 + excess) + seed / 1000
                finished(tmp_path, f"h{hidden}n{noise}", seed, {"noise_std": noise},
                         {"loss/val": mse, "metric/mse": mse}, model={"hidden_size": hidden},
                         baselines={"persistence": {"mse": 4 * floor + seed / 100}, "mean": {"mse": 9.0}},
                         floor={"mse": floor})  # fmt: skip
    board = of_experiment(tmp_path)
    written = as_json(board)
    assert written["references"] == [] and len(written["rows"]) == 4
    assert [(r.parameters["data.noise_std"], r.parameters["model.hidden_size"], r.rank) for r in board.rows] == [
        (0.1, 16, 1), (0.1, 8, 2), (0.5, 16, 1), (0.5, 8, 2)]  # fmt: skip
    assert board.groups == 2 and board.references == [] and "2 different data sets" in board.notes[0]
    assert board.notes[-1] == "Floor and best baseline are of val/mse, each row's own."
    beside = board.beside()
    assert [v for _, v in beside["floor"]] == pytest.approx([0.01, 0.01, 0.25, 0.25])
    assert [v for _, v in beside["over floor"]] == pytest.approx([0.0015, 0.0055, 0.0255, 0.1255])
    assert beside["best baseline"][0] == ("persistence", pytest.approx(0.045))
    assert [v for _, v in beside["ratio"]] == pytest.approx(
        [0.0115 / 0.045, 0.0155 / 0.045, 0.2755 / 1.005, 0.3755 / 1.005]
    )
    page = experiment_page.page("exp", board)
    heads = re.findall("<th[^>]*>([^<]*)</th>", page)
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall("<td[^>]*>(.*?)</td>", page)]
    first = dict(zip(heads, cells, strict=False))
    assert (first["floor"], first["best baseline"], first["val/mse"]) == (
        "0.01",
        "persistence 0.045",
        "0.0115",
    )
    assert (
        board.records()[0]["floor val/mse"] == pytest.approx(0.01) and board.records()[2]["data_group"] == 2
    )


def test_of_baselines_with_a_score_where_more_is_better_the_greatest_is_the_best(tmp_path):
    finished(tmp_path, "a", 0, {}, {"loss/val": 0.5, "metric/f1": 0.8},
             baselines={"majority": {"f1": 0.2}, "naive Bayes": {"f1": 0.6}})  # fmt: skip
    (row,) = of_experiment(tmp_path).rows
    assert row.beside("val/f1")["best baseline"] == ("naive Bayes", 0.6)


def test_rows_of_unequal_seeds_have_baselines_of_their_own(tmp_path):
    """The noise is drawn by the seed: a mean over all runs would hold for none of the rows."""
    for hidden, seeds in ((8, (0, 1)), (16, (0,))):
        for seed in seeds:
            finished(tmp_path, f"h{hidden}", seed, {"seed": seed}, {"loss/val": 0.5, "metric/mse": 0.5},
                     model={"hidden_size": hidden}, baselines={"persistence": {"mse": 1.0 + seed}})  # fmt: skip
    board = of_experiment(tmp_path)
    assert board.groups == 1 and board.references == []
    assert any(note.startswith("Not all rows have the same seeds") for note in board.notes)
    assert {row.label: row.beside("val/mse")["ratio"][1] for row in board.rows} == pytest.approx(
        {"hidden_size=8": 0.5 / 1.5, "hidden_size=16": 0.5}
    )


def test_a_page_puts_nothing_of_several_targets_into_one_order(tmp_path):
    """Two horizons, one of which has far smaller errors: places, curves and pictures hold for each by itself."""
    for horizon, level in ((1, 0.1), (4, 10.0)):
        for hidden in range(1, 9):
            mse = level * hidden
            finished(tmp_path, f"h{hidden}n{horizon}", 0, {"horizon": horizon}, {"loss/val": mse, "metric/mse": mse},
                     model={"hidden_size": hidden}, baselines={"persistence": {"mse": 20 * level}})  # fmt: skip
    for run in tmp_path.glob("**/run.json"):
        (run.parent / "metrics.csv").write_text(
            "step,metric,value\n1,loss/val,1\n2,loss/val,1\n3,loss/val,1\n"
        )
    board = of_experiment(tmp_path)
    page = experiment_page.page("exp", board)
    runs = page.partition("id=runs>")[2]
    assert re.findall(r"<tr><td>(\d*)</td>", runs) == [str(i) for i in [*range(1, 9)] * 2]
    drawn = re.findall(r"<li><i class=[^>]*></i>([^<]*)</li>", page)
    assert sorted(drawn) == sorted(f"hidden_size={h} horizon={n}" for h in (1, 2, 3) for n in (1, 4))
    assert "6 of 16 configurations. They are the best of each" in page and "The best 6" not in page
    pictures = page.partition("<h2>Parameters")[2].partition("<h2>Runs")[0]
    assert "data.horizon" in pictures and "model.hidden_size" not in pictures


def test_a_setting_in_which_only_a_run_without_a_result_differs_is_named(experiment):
    """Else nobody sees what the only value that worked is."""
    for run in list(runs(experiment)):
        if run.record["status"] == "finished" and run.config["model"]["hidden_size"] != 64:
            shutil.rmtree(run.folder)
    assert [row.label for row in of_experiment(experiment).rows] == ["hidden_size=64"]


@pytest.mark.parametrize(
    ("hashes", "line"),
    [
        (["a", "b"], "x: its runs were trained before and after mine changed, so their mean is of both; "),
        (["a", "a"], None),
        (
            ["a", "b", "c"],
            "x: its runs were trained before and after mine changed, so their mean is of both; ",
        ),
    ],
)
def test_a_mean_over_runs_of_two_versions_of_a_users_code_is_named(tmp_path, hashes, line):
    for seed, digest in enumerate(hashes):
        run = finished(tmp_path, "x", seed, {}, {"loss/val": 1.0})
        run.write_manifest({"sources": {"rnnlab": f"r{seed}", "torch": "2", "mine": f"bytes {seed}"},
                            "syntax": {"mine": digest}})  # fmt: skip
    other = finished(tmp_path, "y", 0, {}, {"loss/val": 2.0}, model={"width": 2})  # a row of one version
    other.write_manifest({"syntax": {"mine": "d" if "c" in hashes else hashes[-1]}})
    said = [note for note in of_experiment(tmp_path).notes if "mine" in note]
    assert [note.partition("sweep.stale")[0] for note in said] == ([line] if line else [])


def test_rows_of_two_versions_of_a_users_code_are_named(tmp_path):
    for name, digest in (("x", "a"), ("y", "b")):
        run = finished(
            tmp_path, name, 0, {}, {"loss/val": 1.0}, model={"width": len(name + digest) + ord(name)}
        )
        run.write_manifest({"sources": {"mine": digest}})
    (said,) = [note for note in of_experiment(tmp_path).notes if "mine" in note]
    assert said.startswith(
        "These runs were trained before and after mine changed, so their scores may differ for"
    )


def test_a_board_is_printed_as_a_table(experiment):
    said = repr(rnnlab.runs(experiment).leaderboard)
    assert "hidden_size=64" in said and "persistence" in said and "\x1b" not in said
