"""Cells of the literature in whole runs: trained, resumed, sampled from, unrolled, reported, compared at equal size."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import rnnlab
import warm
from rnnlab.cells import CATALOGUE
from rnnlab.cli import main
from rnnlab.config import check, compose, deciding
from rnnlab.config.equal import count, nearest_hidden
from rnnlab.errors import UserError
from rnnlab.report.leaderboard import of_experiment
from rnnlab.runs.identity import digest, pieces
from rnnlab.unroll.run import unroll_run

ROOT = Path(__file__).parents[2]
SMALL = ("experiment=shakespeare", "model.hidden_size=5", "data.segment=7",
         "data.batch_size=3", "trainer.accelerator=cpu", "trainer.threads=1",
         "trainer.val_check_interval=6")  # fmt: skip
CELLS = {
    "slstm": (),
    "lru": ("model.initial_state=learned",),
    "exprnn": (),
    "s4d": ("model.options.pairs=2", "model.num_layers=2"),
    "peepholelstm": ("model.options.variant=fgr",),
    "lstm": ("model.zoneout=0.1", "model.recurrent_dropout=0.2", "model.input_dropout=0.1"),
}


def run_id(decisive):
    return digest(pieces(decisive))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "t.txt"
    file.write_text("the cat sat on the mat, and so did the dog\n" * 40)
    return f"data.path={file}"


@pytest.mark.parametrize("cell", CELLS)
def test_shakespeare_is_trained_resumed_sampled_from_unrolled_and_reported(cell, text, tmp_path, capsys):
    asked = (*SMALL, text, f"model.cell={cell}", *CELLS[cell], f"paths.outputs={tmp_path}")
    run = rnnlab.train(*asked, "trainer.max_steps=12", "callbacks=inspect")
    assert run.status == "finished" and np.isfinite(run.objective)
    # without the pictures, which take most of the time and change no number
    half = rnnlab.train(*asked, "name=half", "trainer.max_steps=6", "callbacks=none")
    longer = rnnlab.train(f"resume={half.folder}", "trainer.max_steps=12", f"paths.outputs={tmp_path}")
    for (name, ours), theirs in zip(
        longer.model.state_dict().items(), run.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert main(["generate", str(run.folder), "--length", "9", "--prompt", "the"]) == 0
    assert len(capsys.readouterr().out) > 9
    shown = unroll_run(run, "the cat")
    with torch.no_grad():
        logits, _ = run.model(run.model.parse("the cat")[0][None])
    np.testing.assert_allclose([step[-1].by_hand for step in shown.steps], logits[0].numpy(), atol=1e-4)
    assert shown.largest_difference < 1e-4
    html = tmp_path / "unrolled.html"
    assert main(["unroll", str(run.folder), "--input", "the", "--html", str(html)]) == 0
    assert CATALOGUE[cell].class_name in html.read_text() and main(["report", str(run.folder)]) == 0


def command(*words):
    done = warm.rnnlab(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sweep_over_cells_of_equal_size_and_their_options(tmp_path):
    common = (
        "experiment=sine",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=1",
        f"paths.outputs={tmp_path}",
    )
    cells = "model.cell=glob([s*,*gru],exclude=lay*)"
    command("train", "-m", *common, cells, "model.equal=parameters:600", "name=equal")
    board = of_experiment(tmp_path / "equal")
    names = {row.parameters["model.cell"] for row in board.rows}
    assert names == {"gru", "mingru", "s4d", "s5", "slstm", "sru"}
    command("report", str(tmp_path / "equal"), "--csv", str(tmp_path / "board.csv"))
    with (tmp_path / "board.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["rank"]]
    for row in rows:  # the head, with a weight a unit, is counted here
        assert 550 < float(row["parameters"]) < 850 and float(row["multiplications"]) > 0
    options = ("model.cell=peepholelstm", "model.options.variant=vanilla,cifg,np")
    command("train", "-m", *common, *options, "name=variants")
    board = of_experiment(tmp_path / "variants")
    assert sorted(row.label for row in board.rows) == ["variant=cifg", "variant=np", "variant=vanilla"]
    assert "parameters" not in board.columns()  # of one cell they are not asked for


@pytest.mark.parametrize(
    ("asked", "one", "other"),
    [
        ("parameters:20000", {"cell": "gru"}, {"cell": "lru", "num_layers": 3}),
        ("flops:1e5", {"cell": "s4d"}, {"cell": "peepholelstm", "bidirectional": True, "num_layers": 2}),
        (
            "parameters:300",
            {"cell": "elman", "nonlinearity": "relu", "initial_state": "learned"},
            {"cell": "rhn"},
        ),
    ],
)
def test_the_nearest_hidden_size(asked, one, other):
    for changes in (one, other):
        values = {"nonlinearity": "tanh", "bias": "both", "initial_state": "zero", "num_layers": 1,
                  "bidirectional": False, "embedding_size": None, **changes}  # fmt: skip
        order = (
            "cell",
            "nonlinearity",
            "bias",
            "initial_state",
            "num_layers",
            "bidirectional",
            "embedding_size",
        )
        found = nearest_hidden(asked, tuple(values[k] for k in order), ())
        what, _, wanted = asked.partition(":")
        counts = {h: count(what, values | {"options": {}}, h) for h in range(max(1, found - 2), found + 3)}
        assert min(counts, key=lambda h: abs(counts[h] - float(wanted))) == found
        stack = rnnlab.Stack(
            input_size=1, hidden_size=found, **{k: v for k, v in values.items() if k != "embedding_size"}
        )
        if what == "parameters":
            assert sum(p.numel() for p in stack.parameters()) == counts[found]


def test_a_run_of_equal_size_is_the_run_of_that_hidden_size():
    asked = compose(["experiment=sine", "model.cell=gru", "model.equal=parameters:3360"])
    plain = compose(["experiment=sine", "model.cell=gru", "model.hidden_size=32"])
    assert check(asked)["model"]["hidden_size"] == 32 and check(asked)["model"]["equal"] is None
    assert run_id(deciding(asked)) == run_id(deciding(plain))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["model.cell=elman", "model.equal=parameters:1"],
         "model.equal=parameters:1: one hidden unit has 4 parameters already"),
        (["model.equal=parameter:5"], "model.equal=parameter:5: must be parameters:NUMBER or flops:NUMBER, such as"),
        (["model.equal=parameters:1e400"], "model.equal=parameters:1e400: the number must be at most 1e+12"),
        (["model.cell=indrnn", "model.equal=flops:1e13"], "model.equal=flops:1e13: the number must be at most 1e+12"),
        (["model.cell=fractions.Cell", "model.equal=flops:50"], "model.equal=flops:50: can count rnnlab's own cells"),
        (["model.cell=gru", "model.options.variant=np"], "model.options.variant=np: gru has no such option. "
         "model.cell=peepholelstm has it."),
        (["model.cell=lru", "model.options.rmin=0.5"], "model.options.rmin=0.5: lru has no such option. "
         "Did you mean r_min?"),
        (["model.cell=lru", "model.options.r_min=low"], "model.options.r_min=low: must be a number"),
        (["model.cell=lru", "model.options.eigenvalues=reel"], "model.options.eigenvalues=reel: must be one of "
         "complex, real. Did you mean real?"),
        (["model.cell=rhn", "model.options.depth=1.5"], "model.options.depth=1.5: must be a whole number"),
        (["model.cell=elman", "model.options.depth=2"],
         "model.options.depth=2: elman has no such option. model.cell=rhn has it."),
        (["model.cell=elman", "model.options.leak=2"], "model.options.leak=2: elman has no such option. It has none."),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(overrides, line):
    with pytest.raises(UserError) as caught:
        check(compose(["experiment=sine", *overrides]))
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_options_belong_to_the_identity_where_they_are_not_the_cells_own():
    def ident(*overrides):
        return run_id(deciding(compose(["experiment=sine", *overrides])))

    assert ident("model.cell=janet", "model.options.beta=1") == ident("model.cell=janet")
    assert ident("model.cell=janet", "model.options.beta=2") == ident(
        "model.cell=janet", "model.options.beta=2.0"
    )
    assert ident("model.cell=janet", "model.options.beta=2") != ident("model.cell=janet")
    assert ident("model.cell=janet", "model.options.beta=null") == ident("model.cell=janet")


def test_ids_of_runs_that_were_there_before_stay():
    """As they were before cells had options, also of a user's own task, which has no schema."""

    def without(config):
        return {k: v if k != "model" else {n: w for n, w in v.items() if n not in ("options", "equal")}
                for k, v in config.items()}  # fmt: skip

    config = check(compose(["experiment=sine"]))
    assert run_id(deciding(config)) == run_id(deciding(without(config)))
    config["model"]["_target_"] = "mytasks.Quantile"
    assert run_id(deciding(config)) == run_id(deciding(without(config)))


def test_the_table_of_the_docs_is_true():
    """Run scripts/cells.py where it is not."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "cells.py", "--check"])
    assert done.returncode == 0
