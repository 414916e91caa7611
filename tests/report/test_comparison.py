"""Comparisons of runs whose scores are drawn, so that what is true is known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from finished_runs import finished

from rnnlab import streams
from rnnlab.cli import main
from rnnlab.errors import UserError
from rnnlab.report import forest, typeset
from rnnlab.report.comparison import by_conditions, by_folder, by_key, compare
from rnnlab.report.entry import Entry
from rnnlab.report.leaderboard import leaderboard, of_runs
from rnnlab.runs.run import Run, runs

TRIALS = 400


def board_entries(scores):
    """Of {(cell, layers, seed): mse}, without files."""
    entries = []
    for (cell, layers, seed), mse in scores.items():
        best = {
            "value": mse,
            "monitor": "loss/val",
            "step": 1,
            "metrics": {"loss/val": mse, "metric/mse": mse},
        }
        results = {
            "best": best,
            "test": {"mse": 2 * mse},
            "baselines": {"val": {"mean": {"mse": 1.0 + seed}}},
        }
        record = {
            "status": "finished",
            "group": f"{cell}{layers}",
            "results": results,
            "config": [cell, layers],
        }
        entries.append(Entry(Path(f"{cell}{layers}+seed-{seed}-0"), record))
    return entries


def board_of(scores, data=lambda cell: {}):
    return leaderboard(board_entries(scores), "min", lambda e: {
        "mode": "min", "data": data(e.record["config"][0]),
        "model": {"cell": e.record["config"][0], "num_layers": e.record["config"][1], "loss": "mse"}})  # fmt: skip


def drawn(counter, ratio, seeds=5, layers=(1, 2)):
    """Seeds that share much, so that pairing pays: the first cell's errors are `ratio` of the second's."""
    noise = streams.generator(0, "sample", counter).standard_normal((seeds, 1 + 2 * len(layers)))
    scores = {}
    for seed in range(seeds):
        for i, n in enumerate(layers):
            scores["gru", n, seed] = ratio * math.exp(noise[seed, 0] + 0.1 * noise[seed, 1 + i])
            scores["elman", n, seed] = math.exp(noise[seed, 0] + 0.1 * noise[seed, 1 + len(layers) + i])
    return scores


def test_pairs_are_of_one_seed_and_the_other_settings_are_averaged():
    scores = drawn(1, 0.5)
    board = board_of(scores)
    found = compare(board, *by_key(board, "cell"))
    (d,) = found.differences
    logs = [
        np.mean([math.log(scores["gru", n, s] / scores["elman", n, s]) for n in (1, 2)]) for s in range(5)
    ]
    half = 2.776445 * np.std(logs, ddof=1) / math.sqrt(5)  # from a table
    assert (d.first, d.second, d.test.n, found.settings) == ("cell=gru", "cell=elman", 5, 2)
    assert d.effect == pytest.approx(math.exp(np.mean(logs)))
    assert d.interval == pytest.approx([math.exp(np.mean(logs) + k * half) for k in (-1, 1)], rel=1e-6)
    assert d.decided and d.wins == 5 and d.better > 0.99 and d.verdict == "cell=gru is better"
    same = compare(board, *by_conditions(board, ["model.cell=gru", "cell=elman"]))
    assert same.differences[0].effect == d.effect
    tested = compare(board, *by_key(board, "model.cell"), "test/mse")
    assert tested.metric == "test/mse" and tested.differences[0].effect == pytest.approx(d.effect)


def test_sizes_that_only_one_side_has_are_no_other_settings():
    """Those of model.equal: each cell has sizes of its own, and layers in common."""
    scores, sizes = drawn(1, 0.5), {("gru", 1): 10, ("gru", 2): 6, ("elman", 1): 19, ("elman", 2): 11}

    def config(entry):
        cell, layers = entry.record["config"]
        model = {"cell": cell, "num_layers": layers, "hidden_size": sizes[cell, layers]}
        return {"mode": "min", "data": {}, "model": model}

    sized = leaderboard(board_entries(scores), "min", config)
    board = board_of(scores)
    same, apart = (compare(one, *by_key(one, "cell")) for one in (board, sized))
    assert apart.differences == same.differences and (same.apart, apart.apart) == ([], ["model.hidden_size"])
    halves = compare(sized, *by_conditions(sized, ["cell=gru,num_layers=1", "cell=elman,num_layers=1"]))
    assert halves.apart == ["model.hidden_size"] and halves.differences[0].test.n == 5


def test_equal_scores_are_called_equal():
    board = board_of({(cell, 1, seed): 1.0 + seed for cell in ("gru", "elman") for seed in range(3)})
    (d,) = compare(board, *by_key(board, "cell")).differences
    assert d.verdict == "the same score in every pair"


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says():
    covered = []
    for trial in range(TRIALS):
        board = board_of(drawn(1000 + trial, 0.9, seeds=4))
        (d,) = compare(board, *by_key(board, "cell")).differences
        truth = 0.9 if d.first == "cell=gru" else 1 / 0.9
        low, high = d.interval
        covered.append(low <= truth <= high)
    assert abs(np.mean(covered) - 0.95) < 3.5 * math.sqrt(0.95 * 0.05 / TRIALS)


def test_many_comparisons_hold_together():
    """Of four equal cells some pair is taken to differ in at most 5% of sweeps, and in more without Holm."""
    wrong, without = [], []
    for trial in range(TRIALS):
        noise = streams.generator(0, "sample", 5000 + trial).standard_normal((4, 5))
        board = board_of({(f"c{i}", 1, s): math.exp(noise[i, s]) for i in range(4) for s in range(5)})
        found = compare(board, *by_key(board, "cell")).differences
        assert len(found) == 6
        wrong.append(any(d.decided for d in found))
        without.append(any(d.test.p <= 0.05 for d in found))
    assert np.mean(wrong) < 0.05 + 3.5 * math.sqrt(0.05 * 0.95 / TRIALS) < np.mean(without)


def test_different_targets_are_not_compared():
    scores = drawn(2, 0.5)
    board = board_of(scores)
    for entry in [e for row in board.rows for e in row.entries if "gru" in str(e.folder)]:
        entry.record["results"]["baselines"]["val"]["mean"]["mse"] += 7.0
    entries = [e for row in board.rows for e in row.entries]
    apart = leaderboard(entries, "min", lambda e: {
        "mode": "min", "data": {},
        "model": {"cell": e.record["config"][0], "num_layers": e.record["config"][1]}})  # fmt: skip
    with pytest.raises(UserError, match="different data or targets"):
        compare(apart, *by_key(apart, "cell"))


def test_a_single_seed_says_nothing_and_an_unknown_key_is_named():
    board = board_of(drawn(3, 0.5, seeds=1, layers=(1,)))
    (d,) = compare(board, *by_key(board, "cell")).differences
    assert d.verdict == "one pair says nothing" and not d.decided and math.isnan(d.better)
    with pytest.raises(UserError, match=r"do not differ in it, but in model.cell"):
        by_key(board, "model.cel")
    with pytest.raises(UserError, match=r"no run has it. Did you mean gru"):
        by_conditions(board, ["cell=grus", "cell=elman"])


def test_values_that_look_alike_in_short_are_kept_apart():
    scores = {}
    for seed in range(3):
        for file, mse in (("a/data.csv", 1.0), ("b/data.csv", 2.0), ("c/other.csv", 4.0)):
            scores[file, 1, seed] = mse + 0.01 * seed
    board = board_of(scores)
    sides, _ = by_key(board, "cell")
    names = ["cell=a/data.csv", "cell=b/data.csv", "cell=other.csv"]
    assert [(side.name, len(side.rows)) for side in sides] == [(name, 1) for name in names]
    (d,) = compare(board, *by_conditions(board, ["cell=a/data.csv", "cell=OTHER.csv"])).differences
    assert d.effect == pytest.approx(0.25, rel=0.01)
    with pytest.raises(UserError, match=r"cell=data.csv: may be a/data.csv or b/data.csv; write one of them"):
        by_conditions(board, ["cell=data.csv", "cell=c/other.csv"])
    with pytest.raises(UserError, match=r"cell=d/data.csv: no run has it"):
        by_conditions(board, ["cell=d/data.csv", "cell=c/other.csv"])


def test_a_value_may_be_named_by_the_file_of_settings_that_chose_it(tmp_path):
    """A sweep over scheduler=plateau,step has ReduceLROnPlateau and StepLR in its table."""
    for name, target, mse in (("plateau", "torch.optim.lr_scheduler.ReduceLROnPlateau", 1.0),
                              ("step", "torch.optim.lr_scheduler.StepLR", 2.0)):  # fmt: skip
        for seed in (0, 1):
            run = finished(tmp_path, name, seed, {}, {"loss/val": mse + 0.1 * seed, "metric/mse": mse})
            run.write_config(run.config | {"scheduler": {"_target_": target}}, [f"scheduler={name}"])
    board = of_runs(runs(tmp_path))
    sides, keys = by_conditions(board, ["scheduler=step", "scheduler=plateau"])
    assert keys == ["scheduler"] and [len(side.rows) for side in sides] == [1, 1]
    (d,) = compare(board, sides, keys).differences
    assert d.first == "scheduler=plateau" and d.effect == pytest.approx(0.5, rel=0.1)
    with pytest.raises(UserError, match="scheduler=plato: no run has it"):
        by_conditions(board, ["scheduler=step", "scheduler=plato"])


@pytest.mark.parametrize(
    ("given", "meant"), [("[1,2]", [1, 2]), ("1_2", [1, 2]), ("null", None), ("1e-3", 0.001), ("1e6", 1e6)]
)
def test_a_list_a_number_and_null_may_be_written_as_in_a_command(given, meant):
    board = board_of({(cell, n, seed): 1.0 + n for cell in "ab" for n in (1, 2) for seed in (0, 1)})
    for row in board.rows:
        row.parameters["model.sizes"] = meant if row.parameters["model.cell"] == "a" else [3]
    (first, second), _ = by_conditions(board, [f"sizes={given},cell=a", "sizes=[3]"])
    assert (len(first.rows), len(second.rows)) == (2, 2)


def test_the_caption_says_where_a_seed_lacks_some_of_the_settings():
    scores = drawn(1, 0.5)

    def caption():
        board = board_of(scores)
        return compare(board, *by_key(board, "cell")).caption()

    assert "each a geometric mean over 2 other settings" in caption()
    del scores["gru", 2, 3]
    assert "each a geometric mean over 1 to 2 other settings" in caption()


def test_where_the_other_side_has_no_result_the_number_of_such_runs_is_named():
    entries = board_entries(drawn(3, 0.5, seeds=2))
    for entry in entries:
        if entry.record["config"][0] == "gru":
            entry.record["status"] = "failed"
    board = leaderboard(entries, "min", lambda e: {"mode": "min", "data": {}, "model": {
        "cell": e.record["config"][0], "num_layers": e.record["config"][1], "loss": "mse"}})  # fmt: skip
    said = "all finished runs are on one side; 4 runs without a result are left out"
    with pytest.raises(UserError, match=said):
        compare(board, *by_key(board, "model.cell"))


def test_scores_without_a_pair_are_counted():
    scores = drawn(1, 0.5)
    board = board_of(scores)
    assert compare(board, *by_key(board, "cell")).left_out() == []
    (other,) = {cell for cell, _, _ in scores} - {"gru"}
    del scores["gru", 2, 3]
    scores |= {("gru", 4, seed): 1.0 for seed in range(2)}
    board = board_of(scores)
    found = compare(board, *by_key(board, "cell"))
    first, second = f"cell={other}", "cell=gru"
    assert set(found.left_out()) == {
        f"1 score of {first} has no pair in {second} (other settings or seeds), and is left out",
        f"2 scores of {second} have no pair in {first} (other settings or seeds), and are left out",
    }
    assert sum(map(sum, [d.alone for d in found.differences])) == 3


def test_a_configuration_of_two_experiments_is_on_both_sides(tmp_path):
    """The runs of a configuration that lies in both folders were all given to the side that was named first."""
    for folder, cell, values in (
        ("a", "gru", (1.0, 2.0)),
        ("b", "gru", (4.0, 8.0)),
        ("b", "lstm", (5.0, 5.0)),
    ):
        for seed, mse in enumerate(values):
            finished(tmp_path / folder, cell, seed, {}, {"loss/val": mse}, model={"cell": cell})
    folders = [tmp_path / "a", tmp_path / "b"]
    for order in (folders, folders[::-1]):
        board = of_runs([run for folder in order for run in runs(folder)], folders_apart=True)
        (d,) = compare(board, *by_folder(board, {str(f): f.name for f in folders})).differences
        assert (d.first, d.second, d.test.n, d.effect) == ("a", "b", 2, pytest.approx(0.25))


def test_where_more_is_better_scores_are_compared_as_they_are_on_any_part(tmp_path):
    scores = {"wide": (0.9, 0.8), "slim": (0.5, 0.6)}
    for name, values in scores.items():
        for seed, r2 in enumerate(values):
            config = {"model": {"kind": name}, "data": {}, "seed": seed, "mode": "max"}
            run = Run(tmp_path / f"{name}+seed-{seed}-{name}{seed}")
            run.create(f"{name}{seed}", "exp", config, [], group=name, label=name)
            best = {"value": r2, "monitor": "val/r2", "step": 2, "metrics": {"val/r2": r2}}
            run.update(
                status="finished", results={"best": best, "steps": 9, "test": {"test/r2": r2}}, seconds=1.0
            )
    board = of_runs(runs(tmp_path))
    for metric in ("", "test/test/r2"):
        found = compare(board, *by_key(board, "kind"), metric)
        (d,) = found.differences
        assert (d.first, d.wins, found.effect) == ("kind=wide", 2, "difference") and d.better > 0.5
        assert d.effect == pytest.approx(0.3) and "(higher is better)" in found.caption()
    (low, high) = board.rows[0].interval
    assert 0 < low < 0.85 < high < 1  # on the logarithm an r2 had an interval far above 1


def test_the_command_and_its_files(tmp_path, monkeypatch, capsys):
    for (cell, layers, seed), mse in drawn(4, 0.5).items():
        config = {
            "model": {"cell": cell, "num_layers": layers, "loss": "mse"},
            "data": {},
            "seed": seed,
            "mode": "min",
        }
        run = Run(tmp_path / "exp" / f"{cell}{layers}+seed-{seed}-0123456789ab")
        run.create(f"{cell}{layers}{seed}", "exp", config, [], group=f"{cell}{layers}", label=cell)
        best = {
            "value": mse,
            "monitor": "loss/val",
            "step": 2,
            "metrics": {"loss/val": mse, "metric/mse": mse},
        }
        run.update(status="finished", results={"best": best, "steps": 9, "test": {"mse": mse}}, seconds=1.0)
    files = {kind: tmp_path / f"t.{kind}" for kind in ("json", "markdown", "latex")} | {
        "figure": tmp_path / "t.svg"
    }
    asked = [word for kind, file in files.items() for word in (f"--{kind}", str(file))]
    assert main(["compare", str(tmp_path / "exp"), "model.cell", *asked]) == 0
    assert "cell=gru is better" in " ".join(capsys.readouterr().out.split())
    (d,) = json.loads(files["json"].read_text())["differences"]
    assert d["first"] == "cell=gru" and d["low"] < d["effect"] < d["high"] < 1
    assert files["markdown"].read_text().count("|") == 3 * 10
    table = files["latex"].read_text()
    assert table.count("&") == 2 * 8 and r"\textbf{cell=gru}" in table
    svg = files["figure"].read_text()
    assert "<svg" in svg and "cell=gru / cell=elman" in svg and "<image" not in svg
    assert main(["compare", str(tmp_path / "exp"), "model.cell", *asked]) == 0
    assert files["figure"].read_text() == svg  # the same runs give the same file
    assert main(["compare", str(tmp_path / "exp"), "cell", "--figure", str(tmp_path / "t.gif")]) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.cell").mkdir()  # a folder may have the name of a key
    assert main(["compare", "exp", "model.cell"]) == 0
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    assert main(["compare", "exp", "empty"]) == 2
    assert "empty: no finished run with a result there, and no KEY in which" in capsys.readouterr().err
    assert main(["compare", "exp/", "empty/"]) == 2
    assert "empty: no finished run with a result there\n" in capsys.readouterr().err
    assert main(["compare", "model.cell"]) == 2
    assert "model.cell: no finished run with a result there" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "exq"), "cell"]) == 2
    assert "Did you mean exp?" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "exp"), str(tmp_path / "exq")]) == 2  # one of two is mistyped
    assert f"{tmp_path / 'exq'}: no such folder. Did you mean exp?" in capsys.readouterr().err
    pdf = tmp_path / "r.pdf"
    assert (
        main(["report", str(tmp_path / "exp"), "--figure", str(pdf), "--latex", str(tmp_path / "r.tex")]) == 0
    )
    assert pdf.read_bytes().startswith(b"%PDF") and r"num\_layers" in (tmp_path / "r.tex").read_text()


def test_a_floor_of_zero_leaves_a_logarithmic_figure_as_it_is(tmp_path):
    line = forest.Line("gru", [0.1, 0.2], 0.14, (0.08, 0.25))
    for name, levels in (("a.svg", {"mean": 0.5}), ("b.svg", {"mean": 0.5, "floor": 0.0})):
        forest.draw([line], "val/mse", tmp_path / name, levels, log=True)
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()


def test_a_figure_says_how_many_lines_it_leaves_out(tmp_path):
    board = board_of({(f"cell{i}", 1, 0): 0.1 + i for i in range(forest.MOST + 1)})
    forest.of_board(board, tmp_path / "a.svg")
    assert f"(the first {forest.MOST} of {forest.MOST + 1})" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(("write", "lines"), [(typeset.markdown, 5), (typeset.latex, 8)])
def test_a_name_of_two_lines_stays_in_its_cell_and_its_note(write, lines):
    """A blank line ends a LaTeX row, and what follows a newline in a comment is a command."""
    table = write(["a", "b"], [["x\n\ny\udcff", "1"]], [False], "one\ntwo")
    assert len(table.splitlines()) == lines and "\ntwo" not in table and table.encode()


def test_no_character_of_a_name_ends_a_cell_of_markdown():
    table = typeset.markdown(["a", "b"], [["x\\|*y*", "<b>"]])
    assert table.splitlines()[2] == r"| x\\\|\*y\* | \<b> |"
