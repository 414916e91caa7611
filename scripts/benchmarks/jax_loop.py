"""The training of native_steps in JAX, for comparison: many optimizer steps in one jitted program.

Written for speed: windows are gathered inside, the input's part of all steps is one product, the sequence and the
optimizer steps are scans, and only the losses are returned. Runs in a separate process, on the cores that the caller
has set.
"""

from collections.abc import Callable
from typing import Any

RUN: Any = None


def prepare(weights: Any, series: Any, batches: Any, steps: int, unroll: int, lr: float) -> list[float]:
    """Compiles; returns the losses of the first steps, for comparison with other programs.

    weights: ih (1, H), hh (H, H), bias (H,), another bias (H,), head (H, 1) and its bias (1,), to be multiplied
    from the right. batches (n, B) int: where windows begin.
    """
    global RUN
    import jax
    import jax.numpy as jnp
    from jax import lax

    def loss_of(weights: Any, x: Any, y: Any) -> Any:  # x (B, T, 1)
        ih, hh, bias_ih, bias_hh, head, head_bias = weights
        u = (x @ ih + (bias_ih + bias_hh)).swapaxes(0, 1)

        def step(h: Any, u_t: Any) -> Any:
            return jnp.tanh(u_t + h @ hh), None

        h, _ = lax.scan(step, jnp.zeros(u.shape[1:]), u, unroll=unroll)
        return jnp.mean((h @ head + head_bias - y) ** 2)

    def optimizer_step(carry: Any, batch: Any) -> Any:
        weights, m, v, n = carry
        at = batch[:, None] + jnp.arange(steps)
        loss, grads = jax.value_and_grad(loss_of)(weights, series[at], series[batch + steps])
        n = n + 1
        m = [0.9 * a + 0.1 * g for a, g in zip(m, grads, strict=True)]
        v = [0.999 * a + 0.001 * g * g for a, g in zip(v, grads, strict=True)]
        size, root = lr / (1 - 0.9**n), jnp.sqrt(1 - 0.999**n)
        moved = [w - size * a / (jnp.sqrt(b) / root + 1e-8) for w, a, b in zip(weights, m, v, strict=True)]
        return (moved, m, v, n), loss

    series, batches = jnp.asarray(series), jnp.asarray(batches)
    weights = [jnp.asarray(w) for w in weights]
    train = jax.jit(lambda carry: lax.scan(optimizer_step, carry, batches))
    zeros = [jnp.zeros_like(w) for w in weights]
    start = (weights, zeros, zeros, jnp.zeros(()))
    RUN = lambda: jax.block_until_ready(train(start))  # noqa: E731
    return [float(loss) for loss in RUN()[1][:100]]


def seconds(clock: Callable[[], float]) -> float:
    begin = clock()
    RUN()
    return clock() - begin
