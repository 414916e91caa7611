"""What a training tells those who show it. Training imports none of them: they implement this, and are passed in."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.config.checked import RunConfig
from rnnlab.errors import Gone
from rnnlab.runs.run import Run

if TYPE_CHECKING:  # what only shows a run, a report say, waits for no torch
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
    lengthened: bool  # `resume=RUN`: its files already hold what RUN wrote


class Display:
    """Shows a run to a person. This one shows nothing.

    `bars`: whether callbacks that draw a moving bar are used; `figures`: whether figures are drawn when the run has
    finished. Nothing here may change a number.
    """

    def __init__(self, *, bars: bool = False, figures: bool = False) -> None:
        self.bars, self.figures = bars, figures

    def begin(self, about: About) -> None:
        """The run is about to train."""

    def inherit(self, file: Path, content: bytes) -> bytes:
        """What a longer run takes over of a file of the run that it resumes: metrics.csv, or an event file."""
        return content

    def already_finished(self, run: Run, missing: list[str], changed: list[str]) -> None:
        """The run was finished before. `missing`: callbacks it was trained without; `changed`: why it is stale."""

    def end(self, run: Run) -> None:
        """The run has finished or stopped."""

    def fail(self, run: Run) -> None:
        """The run has failed; run.json says why. Called also where it failed before its first step."""


@contextmanager
def failure_shown(run: Run, display: Display) -> Iterator[None]:
    """While open, an exception that marks the run as failed is shown as such.

    A run that was made and could not even begin is marked here, and can resume from what it had learned before.
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
