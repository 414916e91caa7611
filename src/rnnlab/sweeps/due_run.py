"""A run that is due, as the scheduler sees it."""

from typing import Protocol

from rnnlab.config.run_config import RunConfig
from rnnlab.runs.run import Run
from rnnlab.runs.run_path import Place


class DueRun(Protocol):
    """What a `Planned` of a sweep and an `Assigned` of a pack have in common."""

    @property
    def place(self) -> Place: ...
    @property
    def config(self) -> RunConfig: ...
    @property
    def overrides(self) -> list[str]: ...
    @property
    def accelerator(self) -> str: ...
    @property
    def status(self) -> str: ...  # of the run in its folder; "" if there is no run yet
    @property
    def run(self) -> Run: ...
