"""A stack that torch exports, traces or sees with fake tensors gives the numbers of the stack itself, at any length."""

import pytest
import torch
from torch import nn, sigmoid, tanh

from rnnlab.cells import Cell
from rnnlab.recurrence.stack import Stack
from rnnlab.tasks import Forecaster

BATCH, TIME = torch.export.Dim("batch"), torch.export.Dim("time")


class Own(Cell):
    gates, states = 2, 1

    def step(self, u, state):
        (h,) = state
        c, g = (u + self.recur(h)).chunk(2, dim=-1)
        g = sigmoid(g)
        h = g * h + (1 - g) * tanh(c)
        return h, (h,)


class Outputs(nn.Module):
    def __init__(self, stack):
        super().__init__()
        self.stack = stack

    def forward(self, x):
        return self.stack(x)[0]


def outputs(cell, **options):
    return Outputs(Stack(cell, 3, 8, 2, **options)).eval()


LONGER = torch.linspace(-1, 1, 4 * 9 * 3).reshape(4, 9, 3)


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman", Own])
def test_an_exported_stack_serves_other_batches_and_lengths(cell):
    model = outputs(cell)
    program = torch.export.export(model, (torch.ones(2, 5, 3),), dynamic_shapes=({0: BATCH, 1: TIME},))
    torch.testing.assert_close(program.module()(LONGER), model(LONGER), rtol=0, atol=1e-6)


def test_an_exported_stack_reads_both_ways_and_begins_where_it_learned_to():
    model = outputs("gru", bidirectional=True, initial_state="learned")
    with torch.no_grad():
        for cell in model.stack.layers:
            cell.initial.uniform_(-1, 1)
    program = torch.export.export(model, (torch.ones(2, 5, 3),), dynamic_shapes=({0: BATCH, 1: TIME},))
    torch.testing.assert_close(program.module()(LONGER), model(LONGER), rtol=0, atol=1e-6)


def test_a_traced_stack_of_torchs_layers_serves_other_lengths():
    model = outputs("lstm")
    traced = torch.jit.trace(model, (torch.ones(2, 5, 3),))
    torch.testing.assert_close(traced(LONGER), model(LONGER), rtol=0, atol=1e-6)


def test_a_traced_stack_of_an_own_cell_gives_its_numbers():
    model = outputs(Own)
    traced = torch.jit.trace(model, (torch.ones(4, 9, 3),))
    torch.testing.assert_close(traced(LONGER), model(LONGER), rtol=0, atol=1e-6)


def test_a_task_is_traced_as_it_is():
    spec = {"kind": "series", "inputs": 3, "targets": 1, "horizon": 1, "target_index": [0]}
    task = Forecaster(
        spec | {"target_scale": [1.0], "target_shift": [0.0]}, 0, hidden_size=4, cell="gru"
    ).eval()
    traced = torch.jit.trace(task, (torch.ones(2, 5, 3),))
    torch.testing.assert_close(traced(LONGER), task(LONGER), rtol=0, atol=1e-6)
