"""scripts/accelerators.py, as far as a CPU allows: it finds what is wrong, and says so."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

import accelerators
import distributed


def test_curves_of_other_lengths_or_none_are_infinitely_apart():
    assert accelerators.apart([2.0, 1.0], [2.0, 1.5]) == 0.25
    assert accelerators.apart([2.0], [2.0, 1.0]) == math.inf
    assert accelerators.apart([], []) == math.inf


def test_a_nan_of_two_processes_alone_is_no_agreement():
    def run(*losses):
        return SimpleNamespace(metrics={"loss": ([1, 2], losses)}, results={"test": {"mse": losses[-1]}})

    assert distributed.apart(run(2.0, 1.0), run(2.0, 1.5)) == 0.5
    assert distributed.apart(run(2.0, 1.0), run(2.0, math.nan)) == math.inf
    assert distributed.apart(run(2.0, math.nan), run(2.0, math.nan)) == 0


def test_a_check_runs_and_its_table_is_written(tmp_path, capsys):
    assert accelerators.main(["device=cpu", "checks=machine,precision", f"out={tmp_path / 'table.md'}"]) == 0
    table = (tmp_path / "table.md").read_text()
    assert "| precision | bf16-mixed beside 32-true |" in table
    assert "0 not as they should be" in capsys.readouterr().out


def test_each_extra_of_ours_is_looked_for():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    text = project.partition("[project.optional-dependencies]")[2]
    extras = {line.partition(" =")[0] for line in text.partition("\n\n")[0].splitlines() if " = [" in line}
    assert accelerators.EXTRAS.keys() == extras - {"dev"}


def test_a_loss_that_is_wrong_on_one_device_is_found(monkeypatch, capsys):
    right, calls = accelerators.losses, []

    def wrong(folder):
        calls.append(folder)
        return [value * (1.01 if len(calls) == 2 else 1) for value in right(folder)]

    monkeypatch.setattr(accelerators, "losses", wrong)
    monkeypatch.setattr(accelerators, "TASKS", {"sine": accelerators.TASKS["sine"]})
    monkeypatch.setattr(accelerators, "CELLS", ("gru",))
    monkeypatch.setattr(accelerators, "WIDE", {})
    assert accelerators.main(["device=cpu", "checks=agree"]) == 1
    assert "! agree" in capsys.readouterr().out


def test_an_unknown_check_is_named():
    with pytest.raises(SystemExit, match="checks=speeed: there are machine, agree"):
        accelerators.main(["checks=speeed"])
