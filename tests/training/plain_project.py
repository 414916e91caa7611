"""A project as Lightning's documentation has them: no class of rnnlab's, all randomness from global generators."""

import os
import random

import lightning
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


class Noisy(Dataset):
    """Augmented where it is read, by all three generators."""

    def __init__(self, n):
        self.x = torch.randn(n, 4)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        noise = random.gauss(0, 0.1) + np.random.normal(0, 0.1)
        x = self.x[i] + noise + 0.1 * torch.randn(4)
        return x, self.x[i].sum(0, keepdim=True)


class Data(lightning.LightningDataModule):
    def __init__(self, workers=0, n=80):
        super().__init__()
        self.workers, self.n = workers, n

    def setup(self, stage):
        self.train, self.val, self.test = random_split(Noisy(self.n), [0.6, 0.2, 0.2])

    def loader(self, part, shuffle=False):
        return DataLoader(part, batch_size=8, shuffle=shuffle, num_workers=self.workers)

    def train_dataloader(self):
        return self.loader(self.train, shuffle=True)

    def val_dataloader(self):
        return self.loader(self.val)


class WithTest(Data):
    def test_dataloader(self):
        return self.loader(self.test)


class TrainAlone(lightning.LightningDataModule):
    def __init__(self):
        super().__init__()

    def train_dataloader(self):
        return DataLoader(Noisy(48), batch_size=8, shuffle=True)


class Module(lightning.LightningModule):
    def __init__(self, width=8, lr=0.01):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Dropout(0.3), nn.Linear(width, 1))
        self.lr = lr

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, i):
        x, y = batch
        loss = nn.functional.mse_loss(self(x + 0.01 * float(np.random.rand())), y)
        self.log("loss/train", loss)
        return loss

    def validation_step(self, batch, i):
        x, y = batch
        self.log("loss/val", nn.functional.mse_loss(self(x), y))

    def test_step(self, batch, i):
        x, y = batch
        self.log("loss/test", nn.functional.mse_loss(self(x), y))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


class Jolt(lightning.Callback):
    """Draws, too; and dies at the step that the environment says, if it says one."""

    def on_train_batch_start(self, trainer, module, batch, index):
        with torch.no_grad():
            next(module.parameters()).add_(1e-4 * torch.randn(()))

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == int(os.environ.get("DIE_AT", -1)):
            os.kill(os.getpid(), int(os.environ.get("DIE_OF", 9)))
