"""A Lightning project whose parts hold generators of their own, and whose workers stay and draw."""

import random

import lightning
import numpy as np
import plain_project
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, random_split


class Jittered(Dataset):
    def __init__(self, n):
        self.x = torch.linspace(-1, 1, n * 4).view(n, 4)
        self.rng, self.old = np.random.default_rng(5), random.Random(6)
        self.unseeded = np.random.default_rng()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        noise = (
            self.rng.normal(0, 0.1)
            + self.old.gauss(0, 0.1)
            + 0.1 * self.unseeded.random()
            + 0.1 * float(torch.rand(()))
        )
        return self.x[i] + noise, self.x[i].sum(0, keepdim=True)


class Data(lightning.LightningDataModule):
    def __init__(self, workers=0, own_sampler=False, n=64):
        super().__init__()
        self.workers, self.own_sampler, self.n = workers, own_sampler, n
        self.generator = torch.Generator().manual_seed(3)

    def setup(self, stage):
        self.part, self.val = random_split(Jittered(self.n), [0.75, 0.25], generator=self.generator)

    def loader(self, part, shuffle):
        order = {"sampler": RandomSampler(part, generator=self.generator)} if self.own_sampler and shuffle else {
            "shuffle": shuffle, "generator": self.generator}  # fmt: skip
        return DataLoader(
            part, batch_size=8, num_workers=self.workers, persistent_workers=self.workers > 0, **order
        )

    def train_dataloader(self):
        return self.loader(self.part, True)

    def val_dataloader(self):
        return self.loader(self.val, False)


class Module(plain_project.Module):
    def __init__(self, width=8, lr=0.01):
        super().__init__(width, lr)
        self.noise, self.rng = torch.Generator().manual_seed(7), np.random.default_rng()
        self.state = np.random.RandomState(8)

    def training_step(self, batch, i):
        x, y = batch
        noise = torch.randn(x.shape, generator=self.noise) + self.rng.normal() + self.state.normal()
        return super().training_step((x + 0.05 * noise.float(), y), i)


class Sown(Jittered):
    """Its generators have no seed, and some live for one number."""

    def __init__(self, n):
        super().__init__(n)
        self.old, self.state = random.Random(), np.random.RandomState()

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + 0.1 * (
            np.random.default_rng().normal() + random.Random().random() + self.state.normal()
        ), y


class Unseeded(Data):
    def setup(self, stage):
        self.part, self.val = random_split(Sown(self.n), [0.75, 0.25], generator=self.generator)


class UnseededModule(plain_project.Module):
    def training_step(self, batch, i):
        x, y = batch
        return super().training_step((x + 0.05 * np.random.RandomState().normal(), y), i)


SHARED, SEEDED, OLDER = random.Random(), np.random.default_rng(4), np.random.RandomState()


class Noise:
    rng = np.random.default_rng(None)


class FromModule(Dataset):
    """Draws from generators that its module made when it was imported, with and without a seed."""

    def __init__(self, n):
        self.x = torch.from_numpy(OLDER.normal(size=(n, 4))).float()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        noise = SHARED.random() + SEEDED.normal() + OLDER.normal() + Noise.rng.normal()
        return self.x[i] + 0.1 * noise, self.x[i].sum(0, keepdim=True)


class DataFromModule(Data):
    def setup(self, stage):
        self.part, self.val = random_split(FromModule(self.n), [0.75, 0.25])


class ModuleFromModule(plain_project.Module):
    def training_step(self, batch, i):
        x, y = batch
        return super().training_step((x + 0.05 * (SEEDED.normal() + SHARED.random()), y), i)


class FromLate(Dataset):
    """Draws from a module that is imported where it is asked for."""

    def __init__(self, n):
        import late_generators

        self.x = torch.from_numpy(
            late_generators.SEEDED.normal(size=(n, 4)) + late_generators.noise()
        ).float()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        import late_generators

        return self.x[i] + 0.1 * late_generators.noise(), self.x[i].sum(0, keepdim=True)


class DataFromLate(Data):
    def setup(self, stage):
        self.part, self.val = random_split(FromLate(self.n), [0.75, 0.25])
