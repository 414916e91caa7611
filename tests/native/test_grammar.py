"""Random cells, each with what it uses and in an order that nobody thought of."""

import pytest
import torch
from grammar import random_cell
from programs import relative_error
from test_own_cells import CASES, CLOSE, outcome


@pytest.mark.parametrize("seed", range(200, 210))
def test_a_random_cell(seed):
    kind, case = random_cell(seed), list(CASES.values())[seed % len(CASES)]
    truth = outcome("reference", torch.float64, kind, **case)
    usual = relative_error(outcome("reference", torch.float32, kind, **case), truth)
    assert relative_error(outcome("native", torch.float32, kind, **case), truth) <= 10 * usual + CLOSE
