"""Lightning's ModelCheckpoint in a run that is stopped and resumes: it leaves the files of an uninterrupted run.

Lightning saves which files a ModelCheckpoint counts as its own, but not everything that it decides by; and a run that
was killed has files that were written after the checkpoint that it resumes from. The checkpoint may come from a
stranger: file names outside the callback's folder are ignored, because a ModelCheckpoint deletes files of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from rnnlab.errors import UserError
from rnnlab.runs.load import read_checkpoint
from rnnlab.tasks.trainer import callbacks_of

OF_RUN = "run"  # key of every checkpoint: the name of the run's folder
# attributes that Lightning does not save
MEMORY = ("current_score", "_last_global_step_saved", "_last_checkpoint_saved",
          "_defer_save_until_validation")  # fmt: skip
PATHS = ("best_model_path", "kth_best_model_path", "last_model_path", "_last_checkpoint_saved")


def remember(trainer: Trainer) -> dict[str, dict[str, Any]]:
    """What a checkpoint must hold besides the callbacks' own states: the attributes in MEMORY, and file names."""
    return {
        callback.state_key: {name: getattr(callback, name) for name in MEMORY}
        | {"files": [path.name for path in files(callback)]}
        for callback in callbacks(trainer)
    }


def recall(trainer: Trainer, run: str, remembered: dict[str, dict[str, Any]], removes: bool = True) -> None:
    """Restores the attributes in MEMORY, and removes this run's files that are younger than the checkpoint."""
    for callback in callbacks(trainer):
        memory = dict(remembered.get(callback.state_key, {}))
        known = memory.pop("files", [])
        for name in memory.keys() & set(MEMORY):
            setattr(callback, name, memory[name])
        if not all(lies_in(callback.dirpath, path) for path in paths(callback)):
            callback.best_k_models = {}
            for name in PATHS:
                setattr(callback, name, "")
        if not removes:
            continue
        for path in files(callback):
            if path.name not in known and of_run(path) == run:
                path.unlink()
        for path in files(callback):
            if path.is_symlink() and not path.exists():  # its target was just removed; both are made again
                path.unlink()


def callbacks(trainer: Trainer) -> list[ModelCheckpoint]:
    return [c for c in callbacks_of(trainer) if isinstance(c, ModelCheckpoint)]


def paths(callback: ModelCheckpoint) -> Iterator[Any]:
    """The paths that a ModelCheckpoint counts as its own: it may remove these files, or link to them."""
    yield from callback.best_k_models
    yield from filter(None, (getattr(callback, name) for name in PATHS))


def lies_in(folder: Any, path: Any) -> bool:
    """Whether a path lies below a folder, symbolic links followed; both may be addresses, such as s3://..."""
    folder, path = str(folder).rstrip("/"), str(path)
    if "://" in folder or "://" in path:
        return path.startswith(f"{folder}/") and ".." not in path.split("/")
    return Path(folder).resolve() in Path(path).resolve().parents


def files(callback: ModelCheckpoint) -> list[Path]:
    return sorted(Path(callback.dirpath or "").glob(f"*{callback.FILE_EXTENSION}"))


def of_run(path: Path) -> str:
    """The name of the run that wrote a file; a folder of the user may hold files of several runs."""
    try:
        return str(read_checkpoint(path).get(OF_RUN, ""))
    except (UserError, OSError):
        return ""
