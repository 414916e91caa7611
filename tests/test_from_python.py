"""rnnlab in a notebook or a script."""

import pytest

import rnnlab

SMALL = (
    "experiment=sine",
    "model.hidden_size=8",
    "data.n_points=200",
    "trainer.max_epochs=3",
    "trainer.threads=1",
    "model.engine=torch",
    "trainer.accelerator=cpu",
    "~callbacks.progress",
    "~callbacks.pictures",
)


def test_a_quiet_training_prints_nothing(tmp_path, capfd):
    run = rnnlab.train(*SMALL, f"paths.outputs={tmp_path}", quiet=True)
    assert run.status == "finished" and capfd.readouterr().out == ""


def test_dir_shows_what_is_imported_when_it_is_used():
    assert {"train", "load", "runs", "Cell", "Task"} <= set(dir(rnnlab))


def test_a_mistyped_key_costs_one_line_in_a_notebook(capsys):
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell.instance()
    shell.run_cell("import rnnlab; rnnlab.train('model.hiden_size=3')")
    said = capsys.readouterr()
    lines = (said.out + said.err).strip().splitlines()
    assert len(lines) == 1 and "Did you mean model.hidden_size?" in lines[0]
