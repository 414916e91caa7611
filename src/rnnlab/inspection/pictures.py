"""The figures and samples of a finished run."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from rnnlab.ledger.run import Run


class Pictures(Callback):
    """Asks for pictures of the finished run; `draw` is called once its best weights are loaded."""

    def draw(self, run: Run, task: Any, data: Any, results: dict[str, Any] | None = None) -> list[Path]:
        """Writes figures/ and samples/ of a run; returns the files, none for a task that is not one of ours.

        `results` are those of run.json, where they are not written yet.
        """
        results = run.results if results is None else results
        # matplotlib takes half a second to import
        from rnnlab.inspection.portraits import portrait

        was_training = task.training
        task.eval()
        try:
            return portrait(run, task, data, results)
        finally:
            task.train(was_training)
