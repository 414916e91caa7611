"""`Instrument`, the base class: a callback that measures a training at validations, and never changes it."""

from abc import abstractmethod
from typing import Any, ClassVar

from lightning.pytorch import Callback, LightningModule, Trainer

from rnnlab.data.module import SequenceData
from rnnlab.errors import UserError
from rnnlab.instruments.probe import Probe, looking, probe
from rnnlab.tasks.task import Task
from rnnlab.tasks.trainer import data_of


class Instrument(Callback):
    """Measures at the first `every` validations, then at each `every`-th one, and at the end of the training.

    Its numbers are recorded as scalars inspect/NAME. Its figure goes to figures/ and, in a narrow form, to TensorBoard,
    at measurements 1, 4, 16 and so on and at the last one: a figure takes a hundred times as long as the numbers. It
    uses the current weights, not the best, because it shows the training. It has no hooks for batches, so that the
    kernels still take many steps in a call. Its only state is what it has measured, which is saved in checkpoints.
    """

    patient = True
    name: ClassVar[str]
    title: ClassVar[str] = ""  # the title of its figure in TensorBoard
    narrow = False  # whether the figure is drawn for TensorBoard's grid, about 340 pixels wide

    def __init__(self, every: int = 10) -> None:
        if every < 1:
            raise UserError(f"{type(self).__name__}: every={every}: must be at least 1")
        self.every, self.validations, self.drawn_at = every, 0, -1
        self.history: list[tuple[int, Any]] = []  # (optimizer step, result), plain numbers
        self._found: Any = None

    # ------------------------------------------------------------------ what an instrument must define

    @abstractmethod
    def look(self, task: Task, seen: Probe, data: SequenceData) -> dict[str, float]:
        """Measures; returns {name: number}, {} if it cannot measure this task. Keeps what `draw` needs on `self`."""

    @abstractmethod
    def draw(self, task: Task, data: SequenceData) -> Any:
        """The matplotlib figure of the last measurement, or None."""

    def say(self, task: Task, data: SequenceData) -> str | None:
        """A text on the last measurement, or None."""
        return None

    def remember(self, step: int, found: Any, limit: int = 400) -> None:
        """Adds to the history; above `limit` entries, every second one is dropped, but not the first and the newest."""
        self.history.append((step, found))
        if len(self.history) > limit:
            self.history = [self.history[0], *self.history[2:-1:2], self.history[-1]]

    # ------------------------------------------------------------------ hooks

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not isinstance(task, Task):
            return
        if look := look_at(self.validations, self.every):
            numbers = self.inspect(trainer, task, draw=due(look))
            if numbers:
                task.record({f"inspect/{k}": v for k, v in numbers.items()})
        self.validations += 1

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        if isinstance(task, Task) and self.drawn_at != trainer.global_step:
            if self.history and self.history[-1][0] == trainer.global_step:
                self.history.pop()  # this step is measured again
            self.inspect(trainer, task, draw=True)

    def inspect(self, trainer: Trainer, task: Task, draw: bool) -> dict[str, float]:
        """Measures, and with `draw` shows the figure; returns {} for data and tasks that it cannot measure."""
        data = data_of(trainer)
        self.step = trainer.global_step
        with looking(task):
            seen = probe(task, data)
            if seen is None or not (numbers := self.look(task, seen, data)):
                return {}
            if draw:
                self.show(trainer, task, data)
                self.drawn_at = self.step
        return {name: float(value) for name, value in numbers.items()}

    def show(self, trainer: Trainer, task: Task, data: SequenceData) -> None:
        from pathlib import Path

        from rnnlab.runs.files import write_whole
        from rnnlab.tensorboard import summaries
        from rnnlab.tensorboard.logger import GROUP, TensorBoard

        if getattr(trainer, "fast_dev_run", False):
            return
        figure, text = self._png(task, data, narrow=False), self.say(task, data)
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoard)]
        folder, tag = Path(trainer.default_root_dir), f"{GROUP}/{self.title or self.name}"
        if figure is not None:
            (folder / "figures").mkdir(parents=True, exist_ok=True)
            write_whole(folder / "figures" / f"{self.name}.png", figure)
            small = (self._png(task, data, narrow=True) if boards else None) or figure
            for board in boards:
                board.log_events([summaries.image(tag, small, self.step)])
        if text is not None:
            (folder / "samples").mkdir(parents=True, exist_ok=True)
            write_whole(folder / "samples" / f"{self.name}.txt", text.encode("utf-8", "surrogatepass"))
            for board in boards:
                shown = summaries.block(text.encode("utf-8", "replace").decode("utf-8"))
                board.log_events([summaries.text(f"{tag}, in words", shown, self.step)])  # a tag has one kind

    def _png(self, task: Task, data: SequenceData, narrow: bool) -> bytes | None:
        self.narrow = narrow
        from rnnlab.figures.canvas import alike, png

        with alike():
            figure = self.draw(task, data)
            return None if figure is None else png(figure)

    @property
    def is_curve(self) -> bool:
        """Whether the history is long enough to be drawn as a curve over the training."""
        return len(self.history) >= 3

    @property
    def when(self) -> str:
        """The step of the weights, for a figure's title."""
        return f"weights of step {self.step:,}"

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.validations, self.history = state["validations"], [tuple(e) for e in state["history"]]


def look_at(validation: int, every: int) -> int:
    """The number (from 1) of the measurement at a validation (from 0); 0 if there is none. All of the first `every`
    validations are measured, so that the curve of a short run has points, too.
    """
    if validation < every:
        return validation + 1
    looks, rest = divmod(validation, every)
    return 0 if rest else every + looks


def due(look: int) -> bool:
    """Whether the number of a measurement, from 1, is a power of 4."""
    return look & (look - 1) == 0 and look.bit_length() % 2 == 1
