"""The progress line of a training: loss, best validation and throughput; plain lines without a terminal."""

import time
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from rnnlab.terminal.console import Console
from rnnlab.terminal.html import moving_bar

WIDE = 100  # terminal columns from which bar and epoch are shown; else the line fits into 60
PLAIN_LINES = 10  # how many lines a training prints without a terminal


class Progress(ProgressBar):
    """Redraws at most every `refresh_s` seconds, so that a fast training is not slowed by its bar."""

    patient = True  # can wait for the end of a call of the kernels

    def __init__(self, refresh_s: float = 0.1) -> None:
        super().__init__()
        self.refresh_s = refresh_s
        self.console = Console()
        self._bar: RichProgress | None = None
        self._total: int | None = None
        self._drawn_at = self._started_at = 0.0
        self._first_step = self._lines = 0
        self._best: float | None = None

    def disable(self) -> None:
        """Does nothing. Lightning calls it for `enable_progress_bar=False`."""

    def enable(self) -> None: ...

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._total = steps_in_all(trainer)
        self._started_at, self._first_step = time.perf_counter(), trainer.global_step
        # a resumed training prints no lines for the steps before
        self._lines = trainer.global_step * PLAIN_LINES // self._total if self._total else 0
        if self.console.is_terminal and self.console.block is None:
            count = "{task.completed}/{task.total}" if self._total else "{task.completed}"
            wide = self.console.width >= WIDE
            columns = [
                *([TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=24)] if wide else []),
                TextColumn(f"{count} steps" if wide else count),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(compact=True),
            ]
            self._bar = RichProgress(*columns, console=self.console, auto_refresh=False, transient=False)
            self._bar.add_task("train", total=self._total, epoch=0, text="", completed=trainer.global_step)
            self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, outputs: Any, *_: Any) -> None:
        if time.perf_counter() - self._drawn_at >= self.refresh_s:
            self.draw(trainer, outputs)

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        value = trainer.callback_metrics.get("loss/val")
        if value is not None and not trainer.sanity_checking:
            self._best = float(value) if self._best is None else float(np.fmin(self._best, float(value)))

    def draw(self, trainer: Trainer, outputs: Any, last: bool = False) -> None:
        self._drawn_at = time.perf_counter()
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        step = trainer.global_step
        speed = (step - self._first_step) / max(self._drawn_at - self._started_at, 1e-9)
        words = [f"loss {float(loss):.3g}"] if loss is not None else []
        words += [f"best val {self._best:.3g}"] if self._best is not None else []
        text = "  ".join([*words, f"{speed:,.0f}/s"])
        if self.console.block is not None:
            of = f"/{self._total:,}" if self._total else ""
            line = f"epoch {trainer.current_epoch + (not last)}  {step:,}{of} steps  {text}"
            self.console.block.move(moving_bar(step, self._total, line), line)
        elif self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=step, epoch=trainer.current_epoch + (not last), text=text
            )
            self._bar.refresh()
        elif last or self._due(step):
            self._lines += 1
            of = f"/{self._total}" if self._total else ""
            self.console.print(f"step {step}{of}  {text}", soft_wrap=True)

    def _due(self, step: int) -> bool:
        if self._total is None:
            return self._drawn_at - self._started_at > 10.0 * (self._lines + 1)
        return step * PLAIN_LINES >= self._total * (self._lines + 1) and step < self._total

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.draw(trainer, None, last=True)
        self._close()

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def steps_in_all(trainer: Trainer) -> int | None:
    """The largest number of optimizer steps of this training; None where there is no limit.

    Not from `trainer.estimated_stepping_batches`: reading it makes Lightning drop the loader's state on a resume.
    """
    bounds = [trainer.max_steps] if trainer.max_steps >= 0 else []
    batches = trainer.num_training_batches
    if trainer.max_epochs is not None and trainer.max_epochs >= 0 and batches != float("inf"):
        own = getattr(trainer.lightning_module, "optimization", None)  # without, the Trainer accumulates
        accumulate = getattr(own, "accumulate", trainer.accumulate_grad_batches)
        bounds.append(trainer.max_epochs * -(-int(batches) // accumulate))
    return min(bounds) if bounds else None
