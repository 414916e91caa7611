"""Lightning's ModelCheckpoint in a run that is stopped and goes on: it leaves the files of the unbroken run.

Its state in a checkpoint says which files it counts as its own, but not all that it decides by; and a run that was
killed has files that were written after the checkpoint that it goes on from.
"""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from rnnlab.errors import UserError
from rnnlab.runs.load import read_checkpoint

OF_RUN = "run"  # in every checkpoint: the name of the run's folder
# what it keeps in memory alone
MEMORY = ("current_score", "_last_global_step_saved", "_last_checkpoint_saved",
          "_defer_save_until_validation")  # fmt: skip


def remember(trainer: Trainer) -> dict[str, dict[str, Any]]:
    """What a checkpoint must hold besides the callbacks' own states: their memory, and the names of their files."""
    return {
        callback.state_key: {name: getattr(callback, name) for name in MEMORY}
        | {"files": [path.name for path in files(callback)]}
        for callback in callbacks(trainer)
    }


def recall(trainer: Trainer, run: str, remembered: dict[str, dict[str, Any]], removes: bool = True) -> None:
    """Gives the callbacks their memory back, and removes this run's files that are younger than the checkpoint."""
    for callback in callbacks(trainer):
        memory = dict(remembered.get(callback.state_key, {}))
        known = memory.pop("files", [])
        for name, value in memory.items():
            setattr(callback, name, value)
        if not removes:
            continue
        for path in files(callback):
            if path.name not in known and of_run(path) == run:
                path.unlink()
        for path in files(callback):
            if path.is_symlink() and not path.exists():  # to a file that has just gone; it is made again
                path.unlink()


def callbacks(trainer: Trainer) -> list[ModelCheckpoint]:
    return [c for c in trainer.callbacks if isinstance(c, ModelCheckpoint)]  # type: ignore[attr-defined]


def files(callback: ModelCheckpoint) -> list[Path]:
    return sorted(Path(callback.dirpath or "").glob(f"*{callback.FILE_EXTENSION}"))


def of_run(path: Path) -> str:
    """Which run a file belongs to; the user's folder may hold those of others."""
    try:
        return str(read_checkpoint(path).get(OF_RUN, ""))
    except (UserError, OSError):
        return ""
