"""The overhead of a training step: rnnlab's whole training compared with the bare computation of the model."""

import statistics
import time
import warnings

import torch
from torch import nn

from benchmarks import clock, stock_lightning

STEPS = 1000


def main(options: dict[str, str]) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # as rnnlab does for steps in Python; two are slower for such a model
    bare, ours, theirs = [], [], []
    for _ in range(3):
        bare.append(bare_loop())
        ours.append(
            clock.seconds_per_step(
                "experiment=sine",
                "model.cell=elman",
                "model.hidden_size=32",
                "model.engine=torch",
                f"trainer.max_steps={STEPS}",
                "trainer.max_epochs=-1",
                "trainer.check_val_every_n_epoch=1000",
            )
        )
        theirs.append(stock_lightning.seconds_per_step(STEPS // 22, validate=False, log_every_n_steps=1))
    b, o, s = (statistics.median(times) * 1e3 for times in (bare, ours, theirs))
    print(f"  the model alone (gather, forward, backward, norm, Adam): {b:.2f} ms a step")
    print(
        f"  rnnlab, torch's engine, every step's scalars: {o:.2f} ms; beside the model {o - b:.2f} ms "
        "(at most 0.6 wanted)"
    )
    print(
        f"  stock Lightning, DataLoader, TensorBoard logger, bar: {s:.2f} ms; beside the model {s - b:.2f} ms"
    )


def bare_loop() -> float:
    rnn, head = nn.RNN(1, 32, batch_first=True), nn.Linear(32, 1)
    parameters = [*rnn.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters)
    series = torch.randn(1000, 1)
    x, y = series.unfold(0, 20, 1).transpose(1, 2), series[20:]
    batches = torch.randint(0, 900, (STEPS, 32))
    begin = time.perf_counter()
    for batch in batches:
        forecast = head(rnn(x.index_select(0, batch))[0][:, -1])
        loss = nn.functional.mse_loss(forecast, y.index_select(0, batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.get_total_norm([p.grad for p in parameters])
        optimizer.step()
    return (time.perf_counter() - begin) / STEPS
