"""`rnnlab doctor`: what it says of this machine."""

import re

import pytest

from rnnlab import native
from rnnlab.cli import doctor, main


@pytest.mark.skipif(not native.status()["available"], reason="no kernels can be built here")
def test_the_kernels_are_compared_with_torch_and_not_the_other_way_round(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(doctor, "speeds", lambda *sizes: asked.append(sizes) or (3000.0, 1250.0))
    assert main(["doctor"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "torch loop" in line]
    assert [line.split()[0] for line in lines] == [cell for cell, *_ in asked] == ["elman", "gru", "lstm"]
    for line, (_, hidden, rows, steps) in zip(lines, asked, strict=True):
        assert f"{hidden}  batch {rows}, {steps} time steps: " in line
        assert re.search(r": +3,000 optimizer steps/s, 2\.4 times a torch loop", line)
