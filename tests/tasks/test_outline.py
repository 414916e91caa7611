"""What a task says of itself to those who don't know it: true of the task, and not inherited where it may be wrong."""

import pytest
import torch

from rnnlab import native
from rnnlab.data import Sine, Tokens
from rnnlab.errors import UserError
from rnnlab.tasks import CharLM, Classifier, Forecaster, Probe
from rnnlab.tasks.optimization import Optimization
from rnnlab.training.native_obstacles import steps_obstacle

SERIES = {"kind": "series", "window": 20, "horizon": 2, "inputs": 3, "targets": 1, "target_index": [1],
          "target_scale": [4.0], "target_shift": [0.0], "input_names": list("abc"), "target_names": ["b"]}  # fmt: skip
TEXT = {"kind": "text", "vocabulary_size": 11}
LABELLED = {"kind": "labelled", "classes": 3, "vocab_size": 9}
SIZES = {"cell": "gru", "hidden_size": 5}
TASKS = {
    "series": lambda: Forecaster(SERIES, subtract_last=True, **SIZES),
    "text": lambda: CharLM(TEXT, **SIZES),
    "embedded": lambda: CharLM(TEXT, embedding_size=4, **SIZES),
    "labelled": lambda: Classifier(LABELLED, bidirectional=True, **SIZES),
}


@pytest.mark.parametrize("name", TASKS)
def test_an_outline_holds_every_parameter_by_its_name(name):
    task = TASKS[name]()
    named = dict(task.outline().named_parameters())
    assert named.keys() == dict(task.named_parameters()).keys()
    assert all(named[key] is parameter for key, parameter in task.named_parameters())


@pytest.mark.parametrize(
    ("loss", "units"), [("mse", ("mse", 16.0)), ("mae", ("mae", 4.0)), ("huber", (None, 1.0))]
)
def test_a_forecasters_loss_is_its_metric_in_scaled_units(loss, units):
    task = Forecaster(SERIES, loss=loss, **SIZES)
    assert task.loss_units() == units
    with torch.no_grad():
        task.validation_step((torch.randn(6, 20, 3), torch.randn(6, 2, 1)), 0)
    value, metrics = task.evaluation_metrics()
    if units[0]:
        assert value * units[1] == pytest.approx(metrics[units[0]], rel=1e-5)
    assert task.panels()[-1].factor == (units[1] if units[0] else None)


class Percent(Forecaster):
    """Has a loss of its own, and a name for it."""

    def criterion(self, forecast, y):
        return ((forecast - y) / y).abs().mean()


def test_options_that_do_not_exist_are_refused():
    with pytest.raises(UserError, match=r"model.loss=msa: not one of mse, .*. Did you mean mse?"):
        Forecaster(SERIES, loss="msa", **SIZES)
    with pytest.raises(UserError, match=r"model.output=sigmod: .* Did you mean sigmoid?"):
        Classifier(LABELLED | {"classes": 2}, output="sigmod", **SIZES)
    assert Percent(SERIES, loss="mape", **SIZES).loss_name == "mape"


def test_targets_of_two_scales_have_no_one_factor():
    spec = SERIES | {
        "targets": 2,
        "target_index": [0, 1],
        "target_scale": [1.0, 2.0],
        "target_shift": [0.0, 0.0],
    }
    task = Forecaster(spec, loss="mae", **SIZES)
    assert task.loss_units() == (None, 1.0) and task.panels() == (("mae", None, True),)


def test_a_character_models_curve_is_its_loss_in_nats():
    task = TASKS["text"]()
    assert task.loss_units() == ("nats", 1.0) and task.panels() == (("nats", 1.0, False),)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_classifiers_loss_at_the_end_is_its_own(bidirectional):
    task = Classifier(LABELLED, bidirectional=bidirectional, num_layers=2, **SIZES)
    x, y = torch.randint(1, 9, (7, 6)), torch.randint(0, 3, (7,))
    seen, subtracted = task.stack_input(x)
    h, _ = task.stack(seen)
    assert subtracted is None
    own = task.criterion(task(x, torch.full((7,), 6)), y)
    torch.testing.assert_close(task.end_loss(h, Probe(seen, y)), own)


class Doubled(Forecaster):
    def criterion(self, forecast, y):
        return 2 * super().criterion(forecast, y)


def ready(task):
    task.optimization = Optimization(torch.optim.Adam)
    return task


@pytest.mark.skipif(native.obstacle() is not None, reason="no native engine here")
def test_the_kernels_take_the_tasks_that_speak_for_themselves():
    data = Sine(n_points=200)
    data.setup()
    assert steps_obstacle(ready(Forecaster(data.spec, **SIZES)), data) is None
    assert "Doubled has its own criterion" in steps_obstacle(ready(Doubled(data.spec, **SIZES)), data)
    replaced = ready(Forecaster(data.spec, **SIZES))
    replaced.loss = lambda batch: torch.zeros(())
    assert "Forecaster.loss was replaced" in steps_obstacle(replaced, data)
    many = ready(Forecaster(data.spec, **SIZES))
    many.optimization.accumulate = 2
    assert "do not accumulate" in steps_obstacle(many, data)
    assert "not a task" in steps_obstacle(torch.nn.Linear(1, 1), data)

    class Unread(type(data)):
        native_source = Tokens.__mro__[1].native_source  # SequenceData's own

    unread = Unread(n_points=200)
    unread.setup()
    assert "cannot read Unread" in steps_obstacle(ready(Forecaster(data.spec, **SIZES)), unread)
