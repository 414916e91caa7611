"""The figures and samples of a finished run."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from rnnlab.runs.run import Run


class Pictures(Callback):
    """Asks for pictures of the finished run; `draw` is called once its best weights are loaded."""

    def draw(self, run: Run, task: Any, data: Any) -> list[Path]:
        """Writes figures/ and samples/ of a run; returns the files, none for a task that is not one of ours."""
        from rnnlab.figures.finished import portrait  # matplotlib takes half a second to import

        was_training = task.training
        task.eval()
        try:
            return portrait(run, task, data)
        finally:
            task.train(was_training)
