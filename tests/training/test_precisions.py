"""Precisions beside 32-true: the finished run can be drawn and looked at in its own."""

import numpy as np
import pytest
import torch

import rnnlab
from rnnlab.runs.data import load_data
from rnnlab.tasks.rollout import by_window, free_run


@pytest.mark.parametrize(
    ("precision", "dtype", "tolerance"),
    [("64-true", torch.float64, 1e-5), ("bf16-true", torch.bfloat16, 0.05)],
)
def test_forecasts_in_the_models_own_precision(tmp_path, precision, dtype, tolerance):
    run = rnnlab.train("experiment=sine", f"trainer.precision={precision}", "trainer.max_epochs=2", "seed=1",
                       "model.hidden_size=4", "logger=none", "~callbacks.progress",
                       f"paths.outputs={tmp_path}")  # fmt: skip
    assert (run.figures / "forecast.png").is_file()
    model = run.model
    data = load_data(run, model.spec, [])
    single = [by_window(model, data, 900, 50), free_run(model, data, 900, 5).forecast]
    model.to(dtype)
    own = [by_window(model, data, 900, 50), free_run(model, data, 900, 5).forecast]
    for a, b in zip(own, single, strict=True):
        assert np.abs(a - b).max() < tolerance
        assert not np.array_equal(a, b)
