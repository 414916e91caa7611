"""`rnnlab doctor`: what it measures, and which way round its ratio is."""

import pytest

from rnnlab import native
from rnnlab.cli import doctor
from rnnlab.errors import UserError

needs_kernels = pytest.mark.skipif(native.obstacle() is not None, reason="no native engine here")


@needs_kernels
def test_the_ratio_is_ours_over_a_torch_loops(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "speeds", lambda *sizes: (3000.0, 500.0))
    assert doctor.main([]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "optimizer steps/s" in line]
    assert len(lines) == 3 and all(
        "3,000 optimizer steps/s, 6.0 times as many as a loop in torch" in line for line in lines
    )


@needs_kernels
def test_speeds_are_the_kernels_and_then_torchs(monkeypatch):
    asked = []
    monkeypatch.setattr(doctor, "rate", lambda call, steps: asked.append((call, steps)) or float(len(asked)))
    assert doctor.speeds("gru", 4, 8, 5) == (1.0, 2.0)
    (kernels, many), (loop, one) = asked
    assert (many, one) == (100, 1) and kernels().done == many
    assert loop() is None


def test_a_rate_counts_the_steps_of_each_call_but_the_first(monkeypatch):
    clock = iter([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(clock))
    calls = []
    assert doctor.rate(lambda: calls.append(1), 100, seconds=0.35) == pytest.approx(300 / 0.4)
    assert len(calls) == 4


def test_without_kernels_it_says_why_and_which_engines_serve(monkeypatch, capsys):
    monkeypatch.setattr(native, "status", lambda: {"available": False, "reason": "there is no compiler"})
    assert doctor.main([]) == 1
    said = capsys.readouterr().out
    assert "cannot be used: there is no compiler" in said and "torch and reference" in said


@needs_kernels
def test_a_cell_is_read_back(capsys):
    assert doctor.main(["--cell", "gru"]) == 0
    said = capsys.readouterr().out
    assert "GRU: engine native" in said and "products of (H x H) a step: 3" in said
    assert "a3 = weight_hh[2] h + bias_hh[2]" in said
    assert "t0 = tanh((sigmoid(a1) * a3) + a0)" in said


@needs_kernels
def test_a_cell_that_cannot_be_compiled_is_explained(capsys, monkeypatch, tmp_path):
    (tmp_path / "sorting.py").write_text(
        "from rnnlab import Cell\n\n\nclass Sorts(Cell):\n    gates = 1\n\n    def step(self, u, state):\n"
        "        h = (u + state[0]).sort(-1).values\n        return h, (h,)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.main(["--cell", "sorting.Sorts"]) == 1
    assert "sorting.py, line 8, step: a tensor's sort cannot be compiled" in capsys.readouterr().out


def test_a_cell_that_cannot_be_made_costs_a_line(monkeypatch, tmp_path):
    (tmp_path / "needing.py").write_text(
        "from rnnlab import Cell\nclass Needs(Cell):\n    gates, states = 1, 1\n"
        "    def __init__(self, *args, must, **more):\n        super().__init__(*args, **more)\n"
        "    def step(self, u, state):\n        return u, (u,)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"^doctor --cell needing.Needs: cannot be made: TypeError: .*must"):
        doctor.main(["--cell", "needing.Needs"])
