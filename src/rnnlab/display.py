"""The displays of a run: in files alone, on the terminal, or in a notebook."""

from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig

from rnnlab.runs.run import Run
from rnnlab.terminal import beginning, notebook, scores
from rnnlab.terminal import run as terminal
from rnnlab.training import train as training
from rnnlab.training.display import About, Display


class InFiles(Display):
    """Shows a run only in files; a sweep's workers have no terminal."""

    def inherit(self, file: Path, content: bytes) -> bytes:
        from rnnlab.tensorboard.event_files import without_pages

        return without_pages(content) if file.name == Run(file.parent).events_file.name else content

    def fail(self, run: Run) -> None:
        from rnnlab.tensorboard.event_files import show_failure

        show_failure(run)


class OnTerminal(InFiles):
    """Shows a run on the terminal, too: its settings, a progress bar, its results."""

    def __init__(self) -> None:
        super().__init__(bars=True, figures=True)

    def begin(self, about: About) -> None:
        beginning.beginning(about)

    def already_finished(self, run: Run, missing: list[str], changed: list[str]) -> None:
        terminal.already_finished(run, missing, changed)

    def end(self, run: Run) -> None:
        terminal.end(run)


class InNotebook(OnTerminal):
    """Shows a run in one output of a notebook's cell, which is updated, with its pictures below."""

    def end(self, run: Run) -> None:
        for line in terminal.outcome(run):
            scores.console.print(line, soft_wrap=isinstance(line, str))
        notebook.show_pictures(run.figures)


def shown(quiet: bool) -> Display:
    """The display for a single run: only files if `quiet`, else the notebook's cell or the terminal."""
    return InFiles(figures=True) if quiet else InNotebook() if notebook.in_notebook() else OnTerminal()


def train(
    cfg: DictConfig, overrides: list[str], config_dir: str | None = None, *, quiet: bool = False
) -> Run:
    """Trains the run of a composed config, and shows it unless `quiet`; see `rnnlab.training.train`."""
    with nullcontext() if quiet else notebook.block():
        return training.train(cfg, overrides, config_dir, shown(quiet))
