"""Ctrl-C and SIGTERM: the training stops at the next step, keeps what was learned, and says so."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Interruption(Callback):
    """Asks the Trainer to stop after the step in hand; a second signal interrupts at once."""

    signal_name: str | None = None

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        if self.signal_name is not None:
            trainer.should_stop = True
            # Lightning would first go on to min_epochs and min_steps
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While open, takes SIGINT and SIGTERM; in another thread than the main one it cannot, and does not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: Any) -> None:
            if self.signal_name is not None:
                raise KeyboardInterrupt
            self.signal_name = signal.Signals(number).name

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
