"""What a board ranks by, and which rows it ranks together, on runs whose scores were chosen for it."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from finished_runs import finished

import rnnlab
from rnnlab.errors import UserError
from rnnlab.report import experiment_page
from rnnlab.report.comparability import same_targets
from rnnlab.report.comparison import by_key, compare
from rnnlab.report.entry import Entry
from rnnlab.report.leaderboard import of_experiment, of_runs
from rnnlab.report.ranking import groups, ranked
from rnnlab.report.row import Row, tell_apart
from rnnlab.runs.run import Run
from rnnlab.terminal.run import facts


def test_inputs_may_differ_where_the_targets_are_the_same(tmp_path):
    """A window that reaches further back has another floor and linear baseline, and the same persistence."""
    for window, floor in ((10, 0.02), (20, 0.01)):
        finished(tmp_path, f"w{window}", 0, {"window": window}, {"loss/val": floor * 2, "metric/mse": floor * 2},
                 baselines={"persistence": {"mse": 0.1}}, floor={"mse": floor})  # fmt: skip
    board = of_experiment(tmp_path)
    assert board.groups == 1 and [r.rank for r in board.rows] == [1, 2]
    assert [v for _, v in board.beside()["floor"]] == [0.01, 0.02] and board.references == []


def test_a_loss_whose_unit_differs_does_not_rank(tmp_path):
    """Huber's half and a scale of 10 would turn the order round."""
    for loss, factor, mse in (("mse", 1.0, 0.5), ("huber", 0.5, 0.6)):
        finished(tmp_path, loss, 0, {}, {"loss/val": factor * mse, "metric/mse": mse}, model={"loss": loss})
    board = of_experiment(tmp_path)
    assert [r.parameters["model.loss"] for r in board.rows] == [
        "mse",
        "huber",
    ] and board.metric == "metric/mse"
    assert [r.mean for r in board.rows] == [0.5, 0.6] and "ranked by val/mse" in board.notes[0]
    for scaling, scale, mse in (("none", 1.0, 0.5), ("standard", 10.0, 5.0)):
        finished(
            tmp_path / "s", scaling, 0, {"scaling": scaling}, {"loss/val": mse / scale**2, "metric/mse": mse}
        )
    board = of_experiment(tmp_path / "s")
    assert [r.parameters["data.scaling"] for r in board.rows] == ["none", "standard"] and board.groups == 1


def test_what_has_no_common_metric_is_not_ranked(tmp_path):
    finished(tmp_path, "a", 0, {}, {"loss/val": 1.0}, model={"loss": "mse"})
    finished(tmp_path, "b", 0, {}, {"loss/val": 0.5}, model={"loss": "huber"})
    board = of_experiment(tmp_path)
    assert [r.rank for r in board.rows] == [None, None] and "not ranked" in board.notes[0]
    with pytest.raises(UserError, match="These rows do not compare"):
        compare(board, *by_key(board, "loss"))
    page = experiment_page.page("exp", board)
    assert "in no order" in page and "<h2>Parameters" not in page and "The best" not in page
    assert re.findall(r"<tr><td>(\d*)</td>", page.partition("id=runs>")[2]) == ["", ""]


def test_what_each_monitored_is_not_called_by_the_name_of_one(tmp_path):
    for name, monitor in (("a", "loss/val"), ("b", "metric/f1")):
        finished(tmp_path, name, 0, {}, {"loss/val": 1.0 + (name == "b")}, model={"cell": name})
        run = Run(tmp_path / f"{name}+seed-0-0123456789ab")
        best = run.results["best"] | {"monitor": monitor, "value": 0.25}
        run.update(results=run.results | {"best": best})
    board = of_experiment(tmp_path)
    assert board.head == "best monitored score" and board.head in experiment_page.page("e", board)
    assert [board.value(row.entries[0]) for row in board.rows] == [0.25, 0.25]
    assert [record["monitored score"] for record in board.records()] == [0.25, 0.25]


def test_one_loss_in_one_unit_ranks_as_it_is(tmp_path):
    for hidden in (8, 16):
        finished(
            tmp_path,
            f"h{hidden}",
            0,
            {},
            {"loss/val": 1 / hidden, "metric/mse": hidden},
            model={"hidden_size": hidden},
        )
    board = of_experiment(tmp_path)
    assert (
        board.metric == "loss/val"
        and board.rows[0].parameters == {"model.hidden_size": 16}
        and not board.notes
    )


def test_ties_share_a_rank_and_nothing_is_written_as_a_command_writes_it(tmp_path):
    for season, mse in ((None, 0.5), (12, 0.5), (24, 0.7)):
        finished(tmp_path, f"s{season}", 0, {"season": season}, {"loss/val": mse, "metric/mse": mse},
                 baselines={"persistence": {"mse": 1.0}})  # fmt: skip
    board = of_experiment(tmp_path)
    assert [row.rank for row in board.rows] == [1, 1, 3]
    assert {row.label for row in board.rows[:2]} == {"season=null", "season=12"}


def test_data_without_a_common_baseline_is_not_the_same(tmp_path):
    for kind, name in (("Sine", "persistence"), ("Chars", "unigram")):
        finished(tmp_path, kind, 0, {"_target_": kind}, {"loss/val": 0.5, "metric/mse": 0.5},
                 baselines={name: {"mse": 1.0}})  # fmt: skip
    assert of_experiment(tmp_path).groups == 2


def test_a_row_of_a_backtest_is_the_mean_over_its_origins(tmp_path):
    """Two cells at three origins, the second with two seeds: origins weigh alike, and ranks are by the data's units."""
    for cell, better in (("gru", 0.9), ("lstm", 1.0)):
        for origin, level in ((0, 1.0), (1, 2.0), (2, 6.0)):
            for seed in (0, 1) if origin == 1 else (0,):
                mse = level * better + 0.2 * seed
                finished(tmp_path, f"{cell}{origin}", seed, {"origin": origin},
                         {"loss/val": mse / (1 + origin), "metric/mse": mse}, model={"cell": cell},
                         baselines={"persistence": {"mse": 2 * level}})  # fmt: skip
    board = of_experiment(tmp_path)
    assert [(row.label, row.rank, row.count) for row in board.rows] == [
        ("cell=gru", 1, "4, 3 origins"), ("cell=lstm", 2, "4, 3 origins")]  # fmt: skip
    assert board.metric == "metric/mse" and "differs from origin to origin" in board.notes[0]
    assert board.rows[1].values == pytest.approx([1.0, 2.1, 6.0]) and board.rows[0].mean == pytest.approx(
        8.2 / 3
    )
    assert board.groups == 1 and "Each row is the mean over its origins" in board.notes[-1]
    assert board.rows[1].scores()["val/mse"] == board.rows[1].mean  # origins weigh alike there, too
    assert board.rows[1].references["persistence"]["val/mse"] == pytest.approx(2 * 9 / 3)
    assert dict(board.references)["persistence"]["val/mse"] == pytest.approx(2 * 9 / 3)
    found = compare(board, *by_key(board, "cell")).differences[0]
    assert found.first == "cell=gru" and found.test.n == 2  # seeds 0 and 1, each paired origin by origin
    runs = experiment_page.page("exp", board).partition("id=runs>")[2]
    assert "cell=gru origin=2" in runs and not re.search(r"<tr><td>\d", runs)


def test_no_run_of_a_backtest_is_the_best(tmp_path):
    """An origin's targets may be easier than another's."""
    for origin, mse in ((0, 1.0), (1, 0.2)):
        finished(tmp_path, f"o{origin}", 0, {"origin": origin}, {"loss/val": mse, "metric/mse": mse})
    with pytest.raises(UserError, match="scores do not compare"):
        _ = rnnlab.runs(tmp_path).best


def test_rows_of_unequal_origins_are_not_ranked_together(tmp_path):
    for cell, origins in (("gru", (0, 1)), ("lstm", (0,))):
        for origin in origins:
            finished(tmp_path, f"{cell}{origin}", 0, {"origin": origin}, {"loss/val": 1.0, "metric/mse": 1.0},
                     model={"cell": cell}, baselines={"persistence": {"mse": 2.0 + origin}})  # fmt: skip
    assert of_experiment(tmp_path).groups == 2


def test_groups_are_those_that_every_pair_would_give():
    """Random baselines, some a part in a million apart, with shared and other seeds, against a loop over all."""
    draw, names = np.random.default_rng(0), ["mean", "linear", "seasonal"]
    rows = []
    for i in range(120):
        data = {"n_points": int(draw.integers(4)), "window": int(draw.integers(3))}
        entries = []
        for seed in draw.choice(4, draw.integers(1, 4), replace=False):
            lines = {name: {"mse": float(draw.integers(4) * (1 + draw.choice([0, 4e-7, 3e-6]))), "mae": 1.0}
                     for name in draw.choice(names, draw.integers(0, 4), replace=False)}  # fmt: skip
            entries.append(Entry(Path(f"r{i}+seed-{seed}-0"), {"results": {"baselines": {"val": lines}}}))
        rows.append(Row(entries, config={"data": data}))
    firsts, expected = [], []
    for row in rows:
        data = row.config["data"]
        group = next((i for i, one in enumerate(firsts)
                      if same_targets(one.by_seed, row.by_seed, one.config["data"], data)), len(firsts))  # fmt: skip
        firsts += [row] if group == len(firsts) else []
        expected.append(group)
    assert groups(rows) == expected and 10 < len(firsts) < 110


def test_two_texts_with_the_same_baselines_are_not_the_same_and_two_copies_are(tmp_path):
    """Texts that differ by the names of their letters have the same n-grams."""
    for name, content in (("one", "a"), ("other", "b"), ("copy", "a")):
        finished(tmp_path, name, 0, {"path": f"{name}.txt"}, {"loss/val": 1.0, "metric/nats": 1.0},
                 baselines={"5-gram": {"nats": 1.5}})  # fmt: skip
        Run(tmp_path / f"{name}+seed-0-0123456789ab").write_manifest({"data_hash": content})
    found = {row.label: row.group for row in of_experiment(tmp_path).rows}
    assert found["path=one.txt"] == found["path=copy.txt"] != found["path=other.txt"]


@pytest.mark.parametrize(
    "key, ends",
    [
        ("loss/val", [(8, 1), (16, 2), (32, None), (64, None)]),
        ("metric/mse", [(16, 1), (32, 2), (8, None), (64, None)]),
    ],
)
def test_what_is_not_finite_comes_last_and_has_no_rank(tmp_path, key, ends):
    """Infinite as a loss, no number as an error in the data's units: neither is a second or third place."""
    inf, nan = math.inf, math.nan
    scores = {8: (1.0, inf), 16: (2.0, 0.1), 32: (inf, 0.2), 64: (nan, nan)}
    rows = [Row([Entry(Path(f"h{h}+seed-0-0"), {"results": {"best": {
                "value": value, "monitor": "loss/val", "metrics": {"loss/val": value, "metric/mse": mse}}}})],
                {"h": h}, {"model": {"loss": "mse" if key == "loss/val" else str(h)}})
            for h, (value, mse) in scores.items()]  # fmt: skip
    metric, mode, _ = ranked(rows, "min")
    assert (metric, mode) == (key, "min")
    assert (
        sorted(((row.parameters["h"], row.rank) for row in rows), key=lambda one: (one[1] or 9, one[0]))
        == ends
    )
    assert [row.rank for row in rows] == [1, 2, None, None]


def test_a_metric_that_one_seed_lacks_does_not_rank(tmp_path):
    finished(tmp_path, "a", 0, {}, {"loss/val": 1.0, "metric/mse": 0.3}, model={"loss": "mse"})
    for seed, found in ((0, {"metric/mse": 0.2, "metric/mae": 0.2}), (1, {"metric/mae": 0.2})):
        finished(tmp_path, "b", seed, {}, {"loss/val": 0.5} | found, model={"loss": "huber"})
    board = of_experiment(tmp_path)
    assert [r.rank for r in board.rows] == [None, None] and "no metric in common" in board.notes[0]


def test_scores_of_other_shares_of_a_part_are_not_ranked_together(shared):
    """Two batches of a text may be easier than all of it, beside baselines that are of all of it."""
    text = ("data=chars", "data.limit=4000", "data.segment=20", "data.batch_size=8", "model.hidden_size=8",
            "trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=none", "trainer.threads=1")  # fmt: skip
    asked = (
        (),
        ("trainer.limit_val_batches=1.0",),
        ("trainer.limit_val_batches=1",),
        ("trainer.limit_test_batches=1",),
        ("trainer.fast_dev_run=true",),
    )
    runs = [shared(*text, *more, base=()) for more in asked]
    assert (
        runs[0].results["best"]["value"]
        == runs[1].results["best"]["value"]
        != runs[2].results["best"]["value"]
    )
    board = of_runs(runs)
    of = {entry.folder: row.group for row in board.rows for entry in row.entries}
    assert len(set(of.values())) == 4 and of[runs[0].folder] == of[runs[1].folder]
    assert sum("baselines and floor are on whole parts" in note for note in board.notes) == 1
    said = [[line for line in facts(run) if "on whole parts" in line] for run in runs]
    assert [len(lines) for lines in said] == [0, 0, 1, 1, 0] and said[2][0].startswith(
        "trainer.limit_val_batches=1: "
    )


def test_fixed_draws_of_the_data_are_apart_however_the_runs_are_seeded(tmp_path):
    """What no draw changes, such as a floor of 0 or the uniform guess, made other draws look the same; so did seeds of
    the runs that two rows do not share."""
    for seed, data_seed, mean in ((0, 0, 2.0), (1, 1, 3.0), (0, 1, 3.0), (1, 0, 2.0), (0, 5, 4.0)):
        lines = {"mean": {"mse": mean}, "uniform": {"mse": 9.0}}
        name = "follows" if seed == data_seed else f"fixed-{data_seed}"
        run = finished(
            tmp_path,
            name,
            seed,
            {},
            {"loss/val": 1.0, "metric/mse": 1.0},
            baselines=lines,
            floor={"mse": 0.0},
        )
        run.write_config(run.config | {"data": {"seed": data_seed}}, [])
    rows = of_experiment(tmp_path).rows
    assert len(rows) == len({row.group for row in rows}) == 4
    assert sorted(row.label for row in rows if "data.seed=" in row.label) == [
        "data.seed=0",
        "data.seed=1",
        "data.seed=5",
    ]


def test_losses_of_other_seeds_are_in_one_unit_where_all_of_them_are(tmp_path):
    """Scaled by its own draw, the first seed happens to have the unit of the other row, the second has not."""
    for name, seed, unit in (("none", 2, 1.0), ("standard", 0, 1.0), ("standard", 1, 100.0)):
        finished(tmp_path, name, seed, {"scaling": name}, {"loss/val": 0.5, "metric/mse": 0.5 * unit})
    assert of_experiment(tmp_path).metric == "metric/mse"
    (tmp_path / "standard+seed-1-0123456789ab" / "run.json").unlink()
    assert of_experiment(tmp_path).metric == "loss/val"


@pytest.mark.parametrize(
    "model, data, key",
    [({"loss": "quantile"}, {}, "quantiles"), ({}, {"scaling": "window_standard"}, "window")],
)
def test_levels_and_windows_that_a_loss_is_measured_by_change_its_unit(tmp_path, model, data, key):
    for value, loss, mse in ((24, 0.6, 0.1), (12, 0.5, 0.4)):
        of_data, of_model = ({}, {key: value}) if "loss" in model else ({key: value}, {})
        finished(tmp_path, f"v{value}", 0, data | of_data, {"loss/val": loss, "metric/mse": mse},
                 model=model | of_model, baselines={"persistence": {"mse": 1.0}})  # fmt: skip
    board = of_experiment(tmp_path)
    assert board.metric == "metric/mse" and board.groups == 1


def test_two_copies_of_a_file_are_one_at_every_origin_and_seed(tmp_path):
    """The hash of a run is that of its origin: one origin's is not compared with another's."""
    for copy in ("a.csv", "b.csv"):
        for seed, origin in ((0, 0), (0, 1)) if copy == "a.csv" else ((0, 1), (0, 0)):
            name = f"{copy}{origin}"
            finished(tmp_path, name, seed, {"path": copy, "origin": origin}, {"loss/val": 1.0, "metric/mse": 1.0},
                     baselines={"persistence": {"mse": 2.0 + origin}})  # fmt: skip
            Run(tmp_path / f"{name}+seed-{seed}-0123456789ab").write_manifest({"data_hash": str(origin)})
    board = of_experiment(tmp_path)
    assert board.groups == 1 and len(board.rows) == 2
    Run(tmp_path / "b.csv1+seed-0-0123456789ab").write_manifest({"data_hash": "changed since"})
    assert of_experiment(tmp_path).groups == 2


def test_least_and_greatest_of_one_metric_are_not_ranked_together(tmp_path):
    for cell, mode, value in (("gru", "min", 0.1), ("lstm", "max", 0.9)):
        finished(
            tmp_path, cell, 0, {}, {"loss/val": value, "metric/mse": value}, model={"cell": cell}, mode=mode
        )
    board = of_experiment(tmp_path)
    assert board.metric == "metric/mse" and "in different modes" in board.notes[0]


def test_a_share_of_the_batches_is_not_written_as_a_number_of_them():
    parameters = {"trainer.limit_train_batches": 1.0, "trainer.limit_val_batches": 1, "optimizer.lr": 1.0}
    row = Row([Entry(Path("a"), {})], parameters)
    assert row.label == "limit_train_batches=1.0 limit_val_batches=1 lr=1"


def test_runs_of_one_row_that_have_read_other_contents_are_named(tmp_path):
    for name, contents in (("changed", "ab"), ("same", "aa")):
        for seed, content in enumerate(contents):
            run = finished(tmp_path / name, "a", seed, {"path": "x.csv"}, {"loss/val": 0.5, "metric/mse": 0.5},
                           baselines={"persistence": {"mse": 1.0 + seed}})  # fmt: skip
            run.write_manifest({"files": {"data.path": content * 64}})
    assert of_experiment(tmp_path / "same").notes == []
    (note,) = of_experiment(tmp_path / "changed").notes
    assert "its runs have read different contents of data.path" in note


def test_numbers_are_written_as_in_a_command_and_in_full_where_their_short_forms_are_equal():
    rows = [Row([Entry(Path("a"), {})], {"optimizer.lr": lr, "x": 1e20}) for lr in (0.1000001, 0.1000002)]
    tell_apart(rows)
    assert [row.label for row in rows] == [
        f"lr=0.1 x=1e+20 (optimizer.lr={lr})" for lr in (0.1000001, 0.1000002)
    ]
