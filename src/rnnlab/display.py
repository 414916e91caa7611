"""Who shows a run: the rooms that show things, put together for the commands, the Python interface and the workers."""

from pathlib import Path

from omegaconf import DictConfig

from rnnlab.runs.run import Run
from rnnlab.terminal import run as terminal
from rnnlab.training import train as training
from rnnlab.training.display import About, Display


class InFiles(Display):
    """Shows what a run writes into files alone; a sweep's workers have no terminal."""

    def inherit(self, file: Path, content: bytes) -> bytes:
        from rnnlab.tensorboard.event_files import without_pages

        return without_pages(content) if file.name == Run(file.parent).events_file.name else content

    def fail(self, run: Run) -> None:
        from rnnlab.tensorboard.event_files import show_failure

        show_failure(run)


class OnTerminal(InFiles):
    """Shows a run on the terminal, too: what it is, a moving bar, what came of it."""

    def __init__(self) -> None:
        super().__init__(bars=True, figures=True)

    def begin(self, about: About) -> None:
        terminal.beginning(about)

    def already_finished(self, run: Run, missing: list[str], changed: list[str]) -> None:
        terminal.already_finished(run, missing, changed)

    def end(self, run: Run) -> None:
        terminal.end(run)


def train(
    cfg: DictConfig, overrides: list[str], config_dir: str | None = None, *, quiet: bool = False
) -> Run:
    """Trains what a composed config describes, shown on the terminal unless `quiet`; see `rnnlab.training.train`."""
    return training.train(cfg, overrides, config_dir, InFiles(figures=True) if quiet else OnTerminal())
