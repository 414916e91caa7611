"""A user's own module, as Lightning's documentation writes them, and a callback."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class Own(LightningModule):
    """The Trainer steps, accumulates and logs."""

    def __init__(self, spec: dict[str, Any], optimizer: Any, scheduler: Any) -> None:
        super().__init__()
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.head = torch.nn.Linear(spec["window"], 1)
        torch.nn.init.constant_(self.head.weight, 0.1), torch.nn.init.zeros_(self.head.bias)

    def loss(self, batch: Any) -> torch.Tensor:
        x, y = batch
        return torch.nn.functional.mse_loss(self.head(x[..., 0]), y[..., 0])

    def training_step(self, batch: Any, i: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("loss/train", loss)
        return loss

    def validation_step(self, batch: Any, i: int) -> None:
        self.log("loss/val", self.loss(batch))

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.make_scheduler(optimizer)}}


class Looks(Callback):
    """Wants to see every batch, for which Lightning's own loops are taken, and the kernels one by one."""

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        self.seen = trainer.global_step
