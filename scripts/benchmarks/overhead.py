"""What a training step costs beside the model: rnnlab's whole training against the bare computation."""

import statistics
import tempfile
import time
import warnings

import torch
from torch import nn

STEPS = 1000


def main(options: dict[str, str]) -> None:
    warnings.filterwarnings("ignore")
    bare, ours, stock = [], [], []
    for _ in range(3):
        bare.append(bare_loop())
        ours.append(with_rnnlab())
        stock.append(with_stock_lightning())
    b, o, s = (statistics.median(times) * 1e3 for times in (bare, ours, stock))
    print(f"  the model alone (gather, forward, backward, norm, Adam): {b:.2f} ms a step")
    print(f"  rnnlab, everything on: {o:.2f} ms; beside the model {o - b:.2f} ms (at most 0.6 wanted)")
    print(
        f"  stock Lightning with DataLoader, TensorBoard logger and bar: {s:.2f} ms; beside the model {s - b:.2f} ms"
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
        loss = nn.functional.mse_loss(head(rnn(x.index_select(0, batch))[0][:, -1]), y.index_select(0, batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.get_total_norm([p.grad for p in parameters])
        optimizer.step()
    return (time.perf_counter() - begin) / STEPS


def with_rnnlab() -> float:
    """From the first to the last step of a run without validation, each step's scalars written, the bar drawn."""
    from lightning.pytorch import Callback

    import rnnlab

    class Clock(Callback):
        def on_train_start(self, *_):
            self.begin = time.perf_counter()

        def on_train_end(self, *_):
            Clock.seconds = time.perf_counter() - self.begin

    import sys

    sys.modules["rnnlab_clock"] = type(sys)("rnnlab_clock")
    sys.modules["rnnlab_clock"].Clock = Clock
    with tempfile.TemporaryDirectory() as folder:
        rnnlab.train(
            "experiment=sine", "model.engine=torch", "~callbacks.early_stopping", "~callbacks.pictures",
            "+callbacks.clock._target_=rnnlab_clock.Clock", f"trainer.max_steps={STEPS}", "trainer.max_epochs=-1",
            "trainer.check_val_every_n_epoch=1000", f"paths.outputs={folder}",
        )  # fmt: skip
    return Clock.seconds / STEPS


def with_stock_lightning() -> float:
    import lightning
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset

    series = torch.randn(1000, 1)
    x = series.unfold(0, 20, 1).transpose(1, 2)[:900].contiguous()
    loader = DataLoader(TensorDataset(x, series[20:920]), batch_size=32, shuffle=True)

    class Stock(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.RNN(1, 32, batch_first=True), nn.Linear(32, 1)

        def training_step(self, batch, i):
            loss = nn.functional.mse_loss(self.head(self.rnn(batch[0])[0][:, -1]), batch[1])
            self.log("loss/train", loss, prog_bar=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu", max_steps=STEPS, max_epochs=-1, logger=TensorBoardLogger(folder), log_every_n_steps=1,
            enable_checkpointing=False, enable_model_summary=False,
        )  # fmt: skip
        begin = time.perf_counter()
        trainer.fit(Stock(), loader)
        return (time.perf_counter() - begin) / STEPS
