"""Settings of a step that a callback changes on the Trainer."""

from types import SimpleNamespace

import pytest
import torch

from rnnlab.errors import UserError
from rnnlab.tasks.optimization import Optimization


def set_on_a_trainer(**asked) -> Optimization:
    trainer = SimpleNamespace(
        **{"gradient_clip_val": None, "gradient_clip_algorithm": None, "accumulate_grad_batches": 1} | asked,
        fit_loop=SimpleNamespace(hooks=None),
    )
    how = Optimization(torch.optim.Adam, clip_val=1.0)
    how.take_settings(trainer)
    return how


def test_below_zero_nothing_is_clipped():
    """Clipped to a norm below 0, the gradient would point the other way."""
    assert set_on_a_trainer(gradient_clip_val=0.5).clip_val == 0.5
    assert set_on_a_trainer(gradient_clip_val=-0.5).clip_val is None
    assert set_on_a_trainer(gradient_clip_val=0).clip_val is None


def test_an_algorithm_that_does_not_exist_is_not_taken_for_the_other_one():
    assert set_on_a_trainer(gradient_clip_algorithm="value").clip_algorithm == "value"
    with pytest.raises(UserError, match=r"trainer.gradient_clip_algorithm=Norm: not one of norm, value"):
        set_on_a_trainer(gradient_clip_algorithm="Norm")
