"""Truncated backpropagation: against the full one, and against gradients worked out by hand in NumPy."""

import numpy as np
import pytest
import torch

from rnnlab.recurrence import Carry, Stack, initialise


def stack_of(cell, *sizes, **options):
    stack = Stack(cell, *sizes, **options).double()
    initialise(stack, [], seed=6)
    return stack


def truncated(stack, x, segment):
    """Gradients of the sum of squared outputs, added up over segments."""
    stack.zero_grad()
    carry, outputs = Carry(), []
    for k, piece in enumerate(x.split(segment, dim=1)):
        y, state = stack(piece, carry.take(first=k == 0))
        (y**2).sum().backward()
        carry.keep(state)
        outputs.append(y.detach())
    return torch.cat(outputs, 1), [p.grad.clone() for p in stack.parameters()]


@pytest.fixture
def x():
    return torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_one_segment_of_the_whole_sequence_is_full_backpropagation(cell, engine, x):
    stack = stack_of(cell, 3, 4, 2, engine=engine)
    _, got = truncated(stack, x, segment=6)
    y, _ = stack(x)
    wanted = torch.autograd.grad((y**2).sum(), list(stack.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    shorter, cut = truncated(stack, x, segment=2)
    torch.testing.assert_close(shorter, y, rtol=0, atol=1e-14)  # the carry makes the values the same
    assert max((a - b).abs().max() for a, b in zip(cut, wanted, strict=True)) > 1e-3  # but not the gradients


@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_gradients_end_at_the_segment_as_worked_out_by_hand(engine, x):
    """delta_t = (2 h_t + W_hh^T delta_{t+1}) (1 - h_t^2), with delta = 0 beyond a segment."""
    stack, segment = stack_of("elman", 3, 4, engine=engine), 2
    _, got = truncated(stack, x, segment)
    W_ih, W_hh, b_ih, b_hh = (p.detach().numpy() for p in stack.parameters())
    grads = [np.zeros_like(w) for w in (W_ih, W_hh, b_ih, b_hh)]
    for row in x.numpy():
        h = [np.zeros(4)]
        for x_t in row:
            h.append(np.tanh(W_ih @ x_t + b_ih + W_hh @ h[-1] + b_hh))
        delta = np.zeros(4)
        for t in reversed(range(6)):
            if (t + 1) % segment == 0:
                delta = np.zeros(4)
            delta = (2 * h[t + 1] + W_hh.T @ delta) * (1 - h[t + 1] ** 2)
            for total, part in zip(
                grads, (np.outer(delta, row[t]), np.outer(delta, h[t]), delta, delta), strict=True
            ):
                total += part
    for a, b in zip(got, grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_the_first_segment_begins_anew():
    carry = Carry()
    carry.keep([(torch.ones(2, 3),)])
    assert carry.take() is not None
    assert carry.take(first=True) is None and carry.take() is None


def test_a_kept_state_survives_saving_as_plain_tensors(tmp_path, x):
    stack, carry = stack_of("lstm", 3, 4, 2), Carry()
    carry.keep(stack(x)[1])
    torch.save(carry.state_dict(), tmp_path / "carry")
    back = Carry()
    back.load_state_dict(torch.load(tmp_path / "carry", weights_only=True))
    assert torch.equal(stack(x, back.take())[0], stack(x, carry.take())[0])
    assert not torch.equal(stack(x, back.take())[0], stack(x)[0])
    back.load_state_dict(Carry().state_dict())
    assert back.take() is None


def test_a_copy_cannot_disturb_the_training(x):
    stack, carry = stack_of("gru", 3, 4), Carry()
    carry.keep(stack(x)[1])
    kept = carry.state[0][0].clone()
    twin = carry.copy()
    twin.keep(stack(x, twin.take())[1])
    twin.state[0][0].zero_()
    carry.copy().take()[0][0].zero_()
    assert torch.equal(carry.state[0][0], kept) and not carry.state[0][0].requires_grad
