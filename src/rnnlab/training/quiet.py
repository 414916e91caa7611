"""Silences Lightning's messages about itself; rnnlab prints its own where a user needs them."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
MESSAGES = (
    r".*does not have many workers.*",
    r".*is a bottleneck.*",
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*You requested to overfit but enabled .* shuffling.*",
    r".*Total length of `list` across ranks is zero.*",
    r".*Using ModelCheckpoint with manual optimization and every_n_train_steps.*",  # it is called after a whole step
    r".*GPU available but not used.*",  # rnnlab's own line says which device trains, and why
    r".*The `srun` command is available.*",
    r".*LeafSpec.*is deprecated.*",
    r".*You called `self.log\('.*', ...\)` in your .* but have no logger configured.*",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, Lightning's hints about itself are silent; its warnings about a training are shown."""
    loggers = [logging.getLogger(name) for name in NAMES]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in MESSAGES:
            warnings.filterwarnings("ignore", message)
        _set(loggers, [logging.WARNING] * len(loggers))
        try:
            yield
        finally:
            _set(loggers, levels)


def _set(loggers: list[logging.Logger], levels: list[int]) -> None:
    for logger, level in zip(loggers, levels, strict=True):
        if logger.level != level:  # `setLevel` is slow: it visits every logger of the process
            logger.setLevel(level)
