"""A Lightning project with each kind of loader that Lightning takes beside a plain DataLoader."""

import random

import lightning
import plain_project
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset, Sampler, TensorDataset


class Stream(IterableDataset):
    """No length, and a buffer that is shuffled by the generator that dropout draws from, too."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        buffer = []
        for row in self.rows:
            buffer.append(row)
            if len(buffer) > 9:
                yield buffer.pop(int(torch.randint(len(buffer), ())))
        while buffer:
            yield buffer.pop(random.randrange(len(buffer)))


class Drawn:
    """An iterable of one's own."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return 6

    def __iter__(self):
        for _ in range(6):
            yield self.rows[torch.randint(48, (8,))]


class Counted(Drawn):
    """It counts by itself what it has given, one batch more than was trained where a checkpoint is taken."""

    place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]

    def __iter__(self):
        while self.place < 6:
            self.place += 1
            yield self.rows[torch.randint(48, (8,))]
        self.place = 0


class ByEpoch(Sampler):
    """Its order is decided by the epoch that it is told, as a DistributedSampler's."""

    told = ()

    def __len__(self):
        return 48

    def set_epoch(self, epoch):
        self.told = (*self.told, epoch)

    def __iter__(self):
        return iter(range(48))


class Another(DataLoader):
    pass


def rows(n):
    x = torch.randn(n, 4)
    return TensorDataset(x, x.sum(1, keepdim=True))


def shuffled(data, kind=DataLoader):
    return kind(data, batch_size=8, shuffle=True)


class Data(lightning.LightningDataModule):
    def __init__(self, kind="stream", val="one"):
        super().__init__()
        self.kind, self.val = kind, val

    def setup(self, stage):
        self.large, self.small = rows(48), rows(16)

    def train_dataloader(self):
        pair = {"large": shuffled(self.large), "small": shuffled(self.small)}
        return {
            "stream": lambda: DataLoader(Stream(self.large), batch_size=8),
            "workers": lambda: DataLoader(Stream(self.large), batch_size=8, num_workers=2),
            "dictionary": lambda: pair,
            "longest": lambda: CombinedLoader(pair, "max_size"),
            "shortest": lambda: CombinedLoader(list(pair.values()), "min_size"),
            "mixed": lambda: [DataLoader(Stream(self.large), batch_size=8), shuffled(self.small)],
            "iterable": lambda: Drawn(self.large),
            "counted": lambda: Counted(self.large),
            "subclass": lambda: shuffled(self.large, Another),
            "anew": lambda: shuffled(rows(48)),
        }[self.kind]()

    def val_dataloader(self):
        return {
            "one": lambda: shuffled(self.small),
            "two": lambda: [shuffled(self.small), shuffled(self.large)],
            "combined": lambda: CombinedLoader([shuffled(self.small), shuffled(self.large)], "sequential"),
            "stream": lambda: DataLoader(Stream(self.small), batch_size=8),
        }[self.val]()

    def on_after_batch_transfer(self, batch, index):
        if isinstance(batch, list) and isinstance(batch[0], torch.Tensor):
            batch[0] = batch[0] + 0.1 * torch.randn_like(batch[0])
        return batch


class TrainAlone(lightning.LightningDataModule):
    def train_dataloader(self):
        return shuffled(rows(48))


class Module(plain_project.Module):
    def training_step(self, batch, i):
        if isinstance(batch, dict):
            batch = list(batch.values())
        if not isinstance(batch[0], torch.Tensor):
            batch = [torch.cat(part) for part in zip(*(b for b in batch if b is not None), strict=True)]
        return super().training_step(batch, i)

    def validation_step(self, batch, i, dataloader_idx=0):
        x, y = batch
        name = "loss/val" if dataloader_idx == 0 else "loss/other"
        self.log(name, torch.nn.functional.mse_loss(self(x), y), add_dataloader_idx=False)


class WithLoaders(plain_project.Module):
    """Its data module has no validation: its own is used, as Lightning does."""

    def val_dataloader(self):
        return shuffled(rows(16))

    def test_dataloader(self):
        return shuffled(rows(16))


class Averaged(plain_project.Module):
    """Scores an average of its weights, which stands in `mean`; `hooks` says when it puts it in and takes it out."""

    def __init__(self, hooks=("on_validation_start", "on_validation_end")):
        super().__init__()
        self.register_buffer("mean", self.now())
        begin, end = hooks
        setattr(self, begin, lambda *_, **__: self.swap(self.mean))
        setattr(self, end, lambda *_, **__: self.swap(self.trained))

    def now(self):
        return torch.cat([p.detach().flatten() for p in self.net.parameters()])

    def swap(self, values):
        self.trained = self.now()
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(values.clone(), self.net.parameters())

    def on_train_batch_end(self, *_):
        self.mean.lerp_(self.now(), 0.1)


class TestsBest(lightning.Callback):
    def on_fit_end(self, trainer, module):
        trainer.test(module, trainer.datamodule.val_dataloader(), ckpt_path="best", verbose=False)
