"""The interface by which a training is shown. Training imports no display: callers implement `Display` and pass it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.config.run_config import RunConfig
from rnnlab.errors import Gone
from rnnlab.runs.run import Run

if TYPE_CHECKING:  # code that only shows a run, such as a report, need not import torch
    from lightning.pytorch import LightningModule


@dataclass(frozen=True)
class About:
    """A run that is about to train."""

    run: Run
    config: RunConfig
    overrides: list[str]
    manifest: dict[str, Any]
    task: "LightningModule"
    data: Any
    device: str  # the device that was taken, and why
    resumed: bool  # from a checkpoint
    lengthened: bool  # `resume=RUN`: its files begin with what RUN wrote


class Display:
    """Shows a run to a person. This base class shows nothing.

    `bars`: whether callbacks that draw a progress bar are used; `figures`: whether figures are drawn when the run has
    finished. No method may change a number of the training.
    """

    def __init__(self, *, bars: bool = False, figures: bool = False) -> None:
        self.bars, self.figures = bars, figures

    def begin(self, about: About) -> None:
        """Called when the run is about to train."""

    def inherit(self, file: Path, content: bytes) -> bytes:
        """The content that a longer run (`resume=RUN`) takes over from `file` of RUN: metrics.csv, or an event file."""
        return content

    def already_finished(self, run: Run, missing: list[str], changed: list[str]) -> None:
        """Called for a run that had finished before. `missing`: callbacks of the config that it was trained without;
        `changed`: why it is stale.
        """

    def end(self, run: Run) -> None:
        """Called when the run has finished or stopped."""

    def fail(self, run: Run) -> None:
        """Called when the run has failed, also before its first step; run.json says why."""


@contextmanager
def failure_shown(run: Run, display: Display) -> Iterator[None]:
    """While open, an exception that marks the run as failed is shown.

    A run whose folder exists and that could not begin is marked as failed here, and can resume from its checkpoint.
    """
    try:
        yield
    except Gone:
        raise
    except Exception:
        with suppress(OSError):
            if run.known.get("status") == "queued":
                with suppress(Exception), run.failing():
                    raise
                run.update(can_go_on=True)
            if run.known.get("status") == "failed":
                display.fail(run)
        raise
