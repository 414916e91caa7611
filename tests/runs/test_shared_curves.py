"""Curves of several seeds over the steps that all of them have."""

import numpy as np

from rnnlab.runs.metrics import shared


def test_shared_is_what_a_table_by_step_gives():
    draw = np.random.default_rng(3)
    for n in (1, 2, 5):
        # some steps come twice
        curves = [(np.sort(draw.integers(0, 30, 40)), draw.normal(size=40)) for _ in range(n)]
        tables = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in curves]
        steps, values = shared(curves)
        assert steps.tolist() == sorted(set.intersection(*map(set, tables)))
        assert values.tolist() == [[table[step] for step in steps.tolist()] for table in tables]


def test_curves_without_a_step_in_common_share_nothing():
    steps, values = shared([(np.array([1, 3]), np.ones(2)), (np.array([2, 4]), np.ones(2))])
    assert steps.shape == (0,) and values.shape == (2, 0)
