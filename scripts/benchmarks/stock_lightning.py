"""The sine experiment as a user of stock Lightning writes it: nn.RNN, DataLoader, TensorBoard, validation."""

import contextlib
import io
import logging
import tempfile
import time

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
TRAIN, VAL = 680, 130  # the windows of experiment=sine


class Stock(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(1, 32, batch_first=True), nn.Linear(32, 1)

    def step(self, batch):
        return nn.functional.mse_loss(self.head(self.rnn(batch[0])[0][:, -1]), batch[1])

    def training_step(self, batch, i):
        loss = self.step(batch)
        self.log("loss/train", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, i):
        self.log("loss/val", self.step(batch), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def seconds_per_step(epochs: int, *, validate: bool, log_every_n_steps: int) -> float:
    """Seconds per step, from the first step to the last, including validation and logging."""
    series = torch.sin(torch.linspace(0, 100, 1000))[:, None] + 0.1 * torch.randn(1000, 1)
    x, y = series.unfold(0, 20, 1).transpose(1, 2)[:-1].contiguous(), series[20:]
    train = DataLoader(TensorDataset(x[:TRAIN], y[:TRAIN]), batch_size=32, shuffle=True)
    val = DataLoader(TensorDataset(x[-VAL:], y[-VAL:]), batch_size=32)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu", max_epochs=epochs, logger=TensorBoardLogger(folder), enable_model_summary=False,
            log_every_n_steps=log_every_n_steps, num_sanity_val_steps=0, limit_val_batches=None if validate else 0,
        )  # fmt: skip
        module = Stock()
        begin = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.fit(module, train, val if validate else None)
        return (time.perf_counter() - begin) / trainer.global_step
