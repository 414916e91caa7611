"""Cells of a sweep, compiled while it is planned."""

import pytest

from rnnlab import native
from rnnlab.config import check, compose
from rnnlab.sweeps.compiling import compile_cells, stacks

LAYER = {"options": {}, "nonlinearity": "tanh", "bias": "both", "initial_state": "zero", "hidden_size": 5}


def test_each_kind_of_cell_once():
    words = (
        ("model.cell=gru",),
        ("model.cell=gru", "model.hidden_size=7", "seed=3", "model.num_layers=2"),
        ("model.cell=gru", "model.bias=one"),
        ("model.cell=gru", "trainer.precision=bf16-mixed"),
        ("model.cell=lstm", "model.engine=native"),
        ("model.cell=elman", "model.engine=reference"),
    )
    found = stacks(check(compose(["trainer.accelerator=cpu", *more])) for more in words)
    assert [(layer["cell"], layer["bias"], precision) for layer, precision in found] == [
        ("gru", "both", "32-true"),
        ("gru", "one", "32-true"),
        ("gru", "both", "bf16-mixed"),
        ("lstm", "both", "32-true"),
    ]


@pytest.mark.skipif(native.obstacle() is not None, reason="no native engine here")
def test_one_that_cannot_be_built_stops_no_other(tmp_path, monkeypatch):
    native.status()  # the library of all cells is there
    monkeypatch.setenv("RNNLAB_CACHE", str(tmp_path))
    monkeypatch.setattr("rnnlab.native.bindings._loaded.cells", {})
    cells = ("ugrnn", "nowhere.Cell", "indrnn")
    compile_cells([({"cell": cell, **LAYER}, "32-true") for cell in cells])
    assert len(list(tmp_path.glob("cell-*.so"))) == len(list(tmp_path.glob("cell-*.checked"))) == 2
    assert not list(tmp_path.glob("*.lock"))


def test_a_model_of_ones_own_without_a_size_is_left_to_itself():
    config = {
        "trainer": {"accelerator": "cpu", "precision": "32-true"},
        "model": {"cell": "gru", "engine": "auto"},
    }
    assert stacks([config]) == []
