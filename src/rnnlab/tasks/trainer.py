"""What a Trainer holds, typed: Lightning adds these attributes where a type checker does not see them."""

from typing import cast

from lightning.pytorch import Callback, Trainer

from rnnlab.data.module import SequenceData


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """The Trainer's own list, which callbacks may change during a training."""
    return cast("list[Callback]", trainer.callbacks)  # type: ignore[attr-defined]


def data_of(trainer: Trainer) -> SequenceData:
    """The data set, in a training of one of rnnlab's tasks."""
    return cast(SequenceData, trainer.datamodule)  # type: ignore[attr-defined]
