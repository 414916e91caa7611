"""`SequenceData`, the base class of data sets: a LightningDataModule in memory, with baselines and a floor."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import lightning
import torch
from torch import Tensor

from rnnlab.data.loader import Loader

if TYPE_CHECKING:
    from rnnlab.native.sources import Source

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
NAMES: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}
"""The names of the parts in messages."""


class SequenceData(lightning.LightningDataModule):
    """A data set held in memory.

    `setup()` may be called any number of times and does its work once. After it:

    * `spec`: the facts that a model and reports need (sizes, vocabulary, scale), in plain types; `rnnlab.data.spec` has
      the keys. It is saved in every checkpoint, so that a run can be used without its data.
    * `content_hash`: SHA-256 (hex) of the content that models see, whatever file it came from.

    `kind` says what a batch is, and so which tasks fit:

    * "series": `(x, y)`, float32, x (B, window, inputs), y (B, horizon, targets)
    * "text": `Segment(x, y, first)`, x and y (B, T) int64, `first` true where the carry must be reset
    * "labelled": `Labelled(x, lengths, y)`, x (B, T) int64 padded with 0 on the right, lengths (B,), y (B,)
    """

    kind: Literal["series", "text", "labelled"]
    spec: Mapping[str, Any]
    content_hash: str

    def with_spec(self, spec: Mapping[str, Any]) -> "SequenceData":
        """Before `setup()`: prepares this data for a model that was trained with `spec`; returns self.

        Nothing is fitted again: scale and vocabulary are the model's. Here or in `setup()`, UserError is raised where
        the model cannot take this data. With fractions (0, 0, 1) all data is the test part.
        """
        return self

    @abstractmethod
    def baselines(self, split: Split) -> dict[str, dict[str, float]]:
        """Scores of simple predictors on a part: {baseline: {metric: value}}, in the units of the reports."""

    def floor(self, split: Split) -> dict[str, float]:
        """The lowest expected value of each metric that any model can reach; {} where it is not known."""
        return {}

    def facts(self, split: Split) -> dict[str, float]:
        """Further numbers that a reader of the results needs, such as the realised noise; may be {}."""
        return {}

    @abstractmethod
    def loader(self, split: Split, shuffle: bool = False) -> Any:
        """A `Loader` over a part, or None where the part is empty."""

    def native_source(self, split: Split) -> "Source":
        """The part as a `rnnlab.native.sources.Source`, which the kernels read in place.

        For a data set without this method, training steps run in Python, one batch at a time.
        """
        raise NotImplementedError(f"the kernels cannot read {type(self).__name__}")

    def examples(self, split: Split, rows: int) -> tuple[Tensor, Tensor] | None:
        """At most `rows` sequences of one length, evenly spread over a part, with which instruments look into a model.

        They are x for a task, (B, T, I) or (B, T), and the targets y at the end of each; None where a data set has no
        such sequences.
        """
        return None

    def held_out(self) -> Split:
        """The name of the validation part, or "train" if the validation part is empty."""
        return "train" if self.loader("val") is None else "val"

    def train_dataloader(self) -> Any:
        overfit = self.trainer is not None and getattr(self.trainer, "overfit_batches", 0) > 0
        loader = self.loader("train", shuffle=True)
        if not overfit or not isinstance(loader, Loader):
            return self.loader("train") if overfit else loader
        # trainer.overfit_batches takes the first few: they must be the same in every epoch
        first = loader.order(0)
        return Loader(loader.fetch, lambda epoch: first)

    def val_dataloader(self) -> Any:
        return self.loader("val") or []  # an empty list tells Lightning that there is nothing to validate

    def test_dataloader(self) -> Any:
        return self.loader("test") or []

    def predict_dataloader(self) -> Any:
        """The test part, or the validation part where the test part is empty."""
        return self.loader("test") or self.loader("val") or []


def spread(rows: Tensor, n: int) -> Tensor:
    """At most n of the rows, evenly spread."""
    if len(rows) <= n:
        return rows
    exact = torch.float32 if len(rows) <= 2**24 else torch.float64  # larger numbers of rows would be rounded
    return rows[torch.linspace(0, len(rows) - 1, n, dtype=exact).long()]
