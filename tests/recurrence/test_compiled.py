"""The compiled engine: the reference's numbers, every cell, its own run's id, exact resume, and what it refuses."""

import shutil
from functools import cache

import pytest
import torch

from rnnlab.cells.description import CATALOGUE
from rnnlab.errors import UserError
from rnnlab.recurrence import Stack, compiled, engines, reference

CPU = torch.device("cpu")


@pytest.fixture
def traced_only(monkeypatch):
    """All of torch.compile but the C++: seconds instead of minutes."""

    @cache
    def made():
        return torch.compile(reference.loop, fullgraph=True, dynamic=False, backend="aot_eager")

    monkeypatch.setattr(compiled, "_compiled", made)


def beside_reference(cell, reset=None):
    """The greatest differences of outputs and of gradients."""
    x = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    found = []
    for engine in ("reference", "compiled"):
        stack = Stack(cell, 3, 4, engine=engine)
        y, _ = stack(x, reset=reset)
        y.square().sum().backward()
        found.append([y.detach(), *(p.grad for p in stack.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) > 1
    return max((a - b).abs().max().item() for a, b in zip(*found, strict=True))


@pytest.mark.skipif(compiled.obstacle(None, CPU, "32-true") is not None, reason="no C++ compiler")
def test_the_compiled_loop_has_the_references_numbers():
    reset = torch.tensor([[False, True, False], [False, False, True]])
    assert beside_reference("gru", reset) < 1e-6


@pytest.mark.parametrize("cell", ["elman", "exprnn", "s5", "slstm"])
def test_torch_follows_cells_of_every_kind(traced_only, cell):
    assert cell in CATALOGUE and beside_reference(cell) < 1e-5


def test_a_run_has_an_id_of_its_own_and_goes_on_exactly(traced_only, small, tmp_path):
    asked = ("model.engine=compiled", "data.window=5", "data.batch_size=17")
    run = small(*asked)
    assert run.record["engine"]["name"] == "compiled"
    other = small("model.engine=reference", *asked[1:])
    assert run.id != other.id
    assert run.metrics["loss/train"][1] == pytest.approx(other.metrics["loss/train"][1], rel=1e-5)
    stops = f"+callbacks.b={{_target_: befalling.Befalls, what: SIGTERM, rank: 0, step: 10, marker: {tmp_path / 'm'}}}"
    assert small(*asked, stops, outputs=tmp_path / "b").status == "stopped"
    torch.compiler.reset()  # as in another process: other shapes come first
    again = small(*asked, stops, outputs=tmp_path / "b")
    assert again.status == "finished"
    whole = small(*asked, stops, outputs=tmp_path / "c")
    assert again.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


def test_auto_never_takes_it_and_what_cannot_be_is_a_line(monkeypatch):
    gru = Stack("gru", 3, 4).cells[0]
    with pytest.raises(
        UserError, match=r"model.engine=compiled: torch.compile serves cpu and gpu, not mps; use "
    ):
        engines.choose("compiled", [gru], torch.device("mps"), "32-true")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CXX", "c+++")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler; there is no c\+\+\+; use auto or "):
        engines.choose("compiled", [gru], CPU, "32-true")
    assert engines.choose("auto", [gru], torch.device("mps"), "32-true").engine == "torch"


class Counting(Stack("gru", 1, 1).kind):
    """Its step depends on a number, which torch.compile cannot follow."""

    def step(self, u, state):
        return super().step(-u if u.sum() > 1e9 else u, state)


def test_a_cell_that_torch_cannot_compile(traced_only):
    stack = Stack(Counting, 3, 4, engine="compiled")
    with pytest.raises(
        UserError, match=r"^model.engine=compiled: torch.compile cannot serve Counting: .*use ref"
    ):
        stack(torch.zeros(2, 3, 3))
