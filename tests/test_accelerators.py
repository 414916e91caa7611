"""scripts/accelerators.py, as far as a CPU allows: it finds what is wrong, and says so."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def accelerators(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("accelerators", SCRIPTS / "accelerators.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "accelerators", module)
    spec.loader.exec_module(module)
    return module


def test_curves_of_other_lengths_or_none_are_infinitely_apart(accelerators):
    assert accelerators.apart([2.0, 1.0], [2.0, 1.5]) == 0.25
    assert accelerators.apart([2.0], [2.0, 1.0]) == math.inf
    assert accelerators.apart([], []) == math.inf


def test_a_check_runs_and_its_table_is_written(accelerators, tmp_path, capsys):
    assert accelerators.main(["device=cpu", "checks=machine,precision", f"out={tmp_path / 'table.md'}"]) == 0
    table = (tmp_path / "table.md").read_text()
    assert "| precision | bf16-mixed beside 32-true |" in table
    assert "0 not as they should be" in capsys.readouterr().out


def test_each_extra_of_ours_is_looked_for(accelerators):
    text = (SCRIPTS.parent / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    extras = {line.partition(" =")[0] for line in text.partition("\n\n")[0].splitlines() if " = [" in line}
    assert accelerators.EXTRAS.keys() == extras - {"dev"}


def test_a_loss_that_is_wrong_on_one_device_is_found(accelerators, monkeypatch, capsys):
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


def test_an_unknown_check_is_named(accelerators):
    with pytest.raises(SystemExit, match="checks=speeed: there are machine, agree"):
        accelerators.main(["checks=speeed"])
