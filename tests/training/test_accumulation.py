"""Accumulated batches: a step's gradient against torch's, in double precision, of the batches that it is made of."""

import copy
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from rnnlab.data import Sine
from rnnlab.tasks import Forecaster
from rnnlab.tasks.optimization import Optimization

SINE = ("data=sine", "data.n_points=200", "data.batch_size=32", "model.hidden_size=6", "trainer.accelerator=cpu",
        "trainer.threads=1", "callbacks=none", "logger=none", "optimizer=sgd", "optimizer.lr=0.1",
        "trainer.max_epochs=1")  # fmt: skip
STEPS: list = []  # of each step: the task as it was before, its batches, its gradients


class Watching(Callback):
    def __init__(self):
        self.batches, self.before = [], None

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if not self.batches:
            state = {name: tensor.double() for name, tensor in task.state_dict().items()}
            self.before = copy.deepcopy(task).double(), state
        self.batches.append(tuple(t.double() if t.is_floating_point() else t for t in batch))

    def on_before_optimizer_step(self, trainer, task, optimizer):
        gradients = {name: p.grad.double() for name, p in task.named_parameters()}
        STEPS.append((*self.before, self.batches, gradients))
        self.batches = []


@pytest.mark.parametrize("engine", ["torch", "native", "reference"])
@pytest.mark.parametrize(
    ("accumulate", "made_of"),
    [(2, [(32, 32), (32, 24)]), (3, [(32, 32, 32), (24,)]), (4, [(32, 32, 32, 24)]), (9, [(32, 32, 32, 24)])],
)
def test_a_short_last_batch_counts_as_any_other_and_a_short_group_by_what_it_has(
    small, engine, accumulate, made_of
):
    """Each batch is a mean over its own rows and counts 1/accumulate; 120 windows make 32, 32, 32 and 24."""
    STEPS.clear()
    run = small(f"model.engine={engine}", f"trainer.accumulate_grad_batches={accumulate}",
                f"+callbacks.watch._target_={__name__}.Watching", base=SINE)  # fmt: skip
    assert [tuple(len(batch[0]) for batch in step[2]) for step in STEPS] == made_of
    for task, state, batches, gradients in STEPS:
        task.load_state_dict(state)
        task.stack.engine = "reference"
        task.zero_grad()
        means = [task.loss(batch) for batch in batches]
        (sum(means) / accumulate).backward()
        for name, parameter in task.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-7)
    losses = torch.stack([torch.stack(list(map(step[0].loss, step[2]))).mean() for step in STEPS])
    torch.testing.assert_close(
        torch.tensor(run.metrics["loss/train"][1]), losses.detach(), rtol=1e-5, atol=1e-7
    )


class Lowering(Callback):
    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        if batch_idx == 2:
            trainer.accumulate_grad_batches = 2


def test_a_group_ends_where_a_callback_lowers_its_size_below_what_it_has(small):
    run = small("trainer.accumulate_grad_batches=4", "data.batch_size=15", "model.engine=torch",
                f"+callbacks.lowers._target_={__name__}.Lowering", base=SINE)  # fmt: skip
    assert run.results["steps"] == 3  # 4 of the 8 batches, then 2 and 2


class Breaks(Callback):
    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        if batch_idx == 1:
            raise RuntimeError("broken off")


def test_a_training_that_is_broken_off_between_two_steps_leaves_nothing_to_the_next():
    data = Sine(n_points=200)
    data.setup()
    task = Forecaster(data.spec, cell="gru", hidden_size=4)
    task.optimization = Optimization(partial(torch.optim.SGD, lr=0.1), accumulate=3)
    twin = copy.deepcopy(task)

    def fit(one, *callbacks):
        options = dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
        Trainer(accelerator="cpu", max_epochs=1, callbacks=list(callbacks), **options).fit(
            one, datamodule=data
        )

    with pytest.raises(RuntimeError, match="broken off"):
        fit(task, Breaks())
    for one in (task, twin):
        fit(one)
    for parameter, other in zip(task.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter, other)
