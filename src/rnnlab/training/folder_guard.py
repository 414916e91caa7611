"""Checks, during training and before writes, that the run's folder still exists and still belongs to this process."""

import os
import time
from typing import Any

from lightning.pytorch import Callback

from rnnlab.errors import Gone
from rnnlab.runs.disk import deleted
from rnnlab.runs.lock import Lock
from rnnlab.runs.run import Run

EVERY = 0.2  # seconds


class FolderGuard(Callback):
    """Raises `Gone` soon after the folder was deleted or moved, or another process was granted its lock, too.

    A new folder of the same name counts as another folder.
    """

    patient = True  # can wait for the end of a call of the kernels

    def __init__(self, run: Run, lock: Lock) -> None:
        self.run, self.lock = run, lock
        self._folder: os.stat_result | None = None
        self._asked_at = time.monotonic()

    def begin(self) -> None:
        """Called when the folder is made: from now on it must stay."""
        self._folder = self.run.folder.stat()

    def on_train_batch_start(self, *_: Any) -> None:
        if time.monotonic() - self._asked_at >= EVERY:
            self.check()

    def on_validation_batch_start(self, *_: Any) -> None:
        self.on_train_batch_start()

    def check(self) -> None:
        self._asked_at = time.monotonic()
        try:
            there = self._folder is not None and os.path.samestat(self._folder, self.run.folder.stat())
        except FileNotFoundError:
            there = False
        if not there or not self.run.is_there:
            raise Gone(deleted(self.run))
        self.lock.check()
