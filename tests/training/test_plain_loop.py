"""Training compared with the plainest loop in torch that does the same."""

import math

import numpy as np
import pytest
import torch
from torch import nn


def sine(n=100, t_max=20.0):
    return torch.sin(torch.linspace(0, t_max, n, dtype=torch.float64)).float()[:, None]


def loop(steps, *, cell="RNN", clip=None, algorithm="norm", make=None, schedule=None, seed=42):
    """Elman 1-20-1 on single values of a sine, all 99 pairs a batch, as experiment=notebook/next_value."""
    torch.manual_seed(seed)
    rnn, head = getattr(nn, cell)(1, 20, batch_first=True), nn.Linear(20, 1)
    parameters = [*rnn.parameters(), *head.parameters()]
    optimizer = (make or (lambda p: torch.optim.Adam(p, lr=0.01)))(parameters)
    series = sine()
    x, y = series[:-1, None, :], series[1:]
    losses = []
    for step in range(steps):
        if schedule:
            optimizer.param_groups[0]["lr"] = schedule(step)
        loss = nn.functional.mse_loss(head(rnn(x)[0][:, -1]), y)
        optimizer.zero_grad()
        loss.backward()
        if clip and algorithm == "norm":
            nn.utils.clip_grad_norm_(parameters, clip)
        elif clip:
            nn.utils.clip_grad_value_(parameters, clip)
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


BASE = (
    "experiment=notebook/next_value",
    "trainer.threads=1",
    "model.engine=torch",
    "callbacks=none",
    "trainer.accelerator=cpu",
)


def losses(run):
    return run.metrics["loss/train"][1]


def test_next_value_is_the_plain_loop_and_has_the_notebooks_numbers(small):
    run = small(base=BASE)
    ours = losses(run)
    np.testing.assert_allclose(ours, loop(100), rtol=2e-4)
    assert ours[49] == pytest.approx(0.0228, abs=0.003)
    assert ours[99] == pytest.approx(0.0205, abs=0.0003)  # from one value, rising and falling look the same
    assert list(run.metrics["loss/train"][0]) == list(range(1, 101))


def test_two_layers_learn_as_far_as_one(small):
    run = small(base=(BASE[0].replace("next_value", "two_layers"), *BASE[1:]))
    assert losses(run)[-1] == pytest.approx(0.0205, abs=0.0005)
    assert sum(p.numel() for p in run.model.parameters()) == 481 + 840


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped_as_torch_clips_them(small, algorithm):
    run = small("trainer.gradient_clip_val=0.01", f"trainer.gradient_clip_algorithm={algorithm}", "optimizer=sgd",
                "optimizer.lr=0.5", base=BASE)  # fmt: skip
    expected = loop(100, clip=0.01, algorithm=algorithm, make=lambda p: torch.optim.SGD(p, lr=0.5))
    np.testing.assert_allclose(losses(run), expected, rtol=1e-4)
    assert np.abs(losses(run) - loop(100, make=lambda p: torch.optim.SGD(p, lr=0.5))).max() > 1e-3


@pytest.mark.parametrize(
    ("config", "make"),
    [
        ("optimizer=adamw optimizer.lr=0.01 optimizer.weight_decay=0.1",
         lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)),
        ("optimizer=sgd optimizer.lr=0.1 optimizer.momentum=0.9 optimizer.nesterov=true",
         lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
        ("optimizer=rmsprop optimizer.lr=0.002 optimizer.alpha=0.95",
         lambda p: torch.optim.RMSprop(p, lr=0.002, alpha=0.95)),
        ("optimizer._target_=torch.optim.NAdam optimizer.lr=0.01", lambda p: torch.optim.NAdam(p, lr=0.01)),
    ],
    ids=["adamw", "sgd", "rmsprop", "another-by-target"],
)  # fmt: skip
def test_optimizers_are_torchs(small, config, make):
    np.testing.assert_allclose(losses(small(*config.split(), base=BASE)), loop(100, make=make), rtol=5e-4)


def cosine(step, warmup=10, total=100, final=0.1):
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return final + (1 - final) / 2 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ("scheduler=constant", lambda s: 1.0),
        ("scheduler=constant scheduler.warmup_steps=20", lambda s: min(1.0, (s + 1) / 21)),
        ("scheduler=cosine scheduler.warmup_steps=10 scheduler.final_ratio=0.1", cosine),
        ("scheduler=exponential scheduler.gamma=0.98", lambda s: 0.98**s),  # one step an epoch here
        ("scheduler=step scheduler.step_size=30 scheduler.gamma=0.1", lambda s: 0.1 ** (s // 30)),
        ("scheduler=step scheduler.step_size=30 scheduler.gamma=0.1 scheduler.interval=step",
         lambda s: 0.1 ** (s // 30)),
    ],
)  # fmt: skip
def test_schedules_give_the_rate_they_say(small, config, factor):
    run = small(*config.split(), base=BASE)
    rates = [0.01 * factor(s) for s in range(100)]
    np.testing.assert_allclose(run.metrics["optim/lr"][1], rates, rtol=1e-9)
    np.testing.assert_allclose(losses(run), loop(100, schedule=lambda s: rates[s]), rtol=5e-4)


def test_accumulated_batches_are_one_large_batch(small, tmp_path):
    """Four batches of 7 windows, accumulated, are one step on 28."""
    shape = ["data.n_points=52", "data.window=20", "data.split=windows", "data.fractions=[0.875,0.125,0.0]",
             "callbacks=none", "trainer.max_epochs=3", "optimizer=sgd", "optimizer.lr=0.1"]  # fmt: skip
    small_batches = small(
        *shape, "data.batch_size=7", "trainer.accumulate_grad_batches=4", outputs=tmp_path / "a"
    )
    one_batch = small(*shape, "data.batch_size=0", outputs=tmp_path / "b")
    assert list(small_batches.metrics["loss/train"][0]) == [1, 2, 3]
    np.testing.assert_allclose(losses(small_batches), losses(one_batch), rtol=1e-5)


def test_a_validation_between_accumulated_batches_changes_no_bit(small, tmp_path):
    asked = ("trainer.accumulate_grad_batches=2", "trainer.max_epochs=3", "model.engine=torch")
    found = [
        small(*asked, f"trainer.val_check_interval={every}", outputs=tmp_path / every)
        for every in ("1", "3", "1.0")
    ]
    assert all(list(losses(run)) == list(losses(found[-1])) for run in found[:-1])
