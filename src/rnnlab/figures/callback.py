"""The callback that draws the figures and writes the samples of a finished run."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule

from rnnlab.data.module import SequenceData
from rnnlab.runs.run import Run


class Figures(Callback):
    """`draw_run` is called when the run has finished and its best weights are loaded."""

    def draw_run(self, run: Run, task: LightningModule, data: SequenceData) -> list[Path]:
        """Writes figures/ and samples/ of a run; returns the files, which are none for a task that is not rnnlab's."""
        from rnnlab.figures.finished import draw_finished  # matplotlib takes half a second to import

        was_training = task.training
        task.eval()
        try:
            return draw_finished(run, task, data)
        finally:
            task.train(was_training)
