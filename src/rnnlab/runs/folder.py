"""Reads a run's folder: the paths of its files, and their contents. Nothing here writes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.config.renamed import rename
from rnnlab.config.run_config import RunConfig
from rnnlab.errors import UserError
from rnnlab.runs.files import read_json
from rnnlab.runs.metrics import read_metrics
from rnnlab.runs.record import ConfigFile, Manifest, Overrides, Record, Results, Status, misfit
from rnnlab.runs.yaml import read_yaml


@dataclass(frozen=True)
class Folder:
    """One run's folder. A file is read at the first access, and again when it has changed; no code in it is executed.

    Contents are shared between accesses: copy them before changing them.

    `status` is "queued", "running", "finished" or "failed"; "stopped" for a run that was interrupted and can resume;
    "pruned" for one that a search ended early, which can resume as well; "stopped early" for one that a callback ended
    before its limit.
    """

    folder: Path

    def __post_init__(self) -> None:
        folder = Path(self.folder)  # rnnlab.Run("outputs/sine/RUN") gives a str
        if folder.name in ("", ".."):  # a run has its folder's name, and runs beside it
            folder = folder.resolve()
        object.__setattr__(self, "folder", folder)

    # ------------------------------------------------------------------ paths

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def events_file(self) -> Path:
        """TensorBoard's event file."""
        return self.folder / "events.out.tfevents.0.rnnlab"

    @property
    def manifest_file(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def last_checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "previous.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    # ------------------------------------------------------------------ contents

    @property
    def record(self) -> Record:
        """run.json: id, experiment, status, times, results, and why the run failed; {} where there is no file.

        Raises UserError where it is damaged.
        """
        return self._read("run.json", read_json, Record, needs=("status",))

    @property
    def is_there(self) -> bool:
        """Whether the folder holds a run, even one with a damaged record."""
        return (self.folder / "run.json").exists()

    @property
    def known(self) -> Record:
        """The record, or {} where it is damaged, for code that must not raise."""
        try:
            return self.record
        except UserError:
            return {}

    @property
    def id(self) -> str:
        return self.record["id"]

    @property
    def status(self) -> Status | None:
        return self.record.get("status")

    @property
    def results(self) -> Results:
        """The results: best and last metrics, those of the test part, baselines and floor; {} while there are none."""
        return self.record.get("results", {})

    @property
    def objective(self) -> float:
        """The best value of the monitored metric; NaN where there is none."""
        return self.results.get("best", {}).get("value", float("nan"))

    @property
    def manifest(self) -> Manifest:
        return self._read(self.manifest_file.name, read_json, Manifest)

    @property
    def config(self) -> RunConfig:
        """The resolved config. Classes that were moved in a later version have their new names."""
        return self._read("config.yaml", _read_config, ConfigFile, needs=("mode", "model"))

    @property
    def overrides(self) -> list[str]:
        """The overrides of the command; [] where they are not known."""
        if not (self.folder / "overrides.yaml").exists():
            return []
        return [str(o) for o in self._read("overrides.yaml", _read_list, Overrides)]

    @property
    def metrics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Every scalar of the training: {name: (steps, values)}."""
        return read_metrics(self.metrics_file)

    def _read(self, name: str, read: Callable[[Path], Any], shape: Any, needs: tuple[str, ...] = ()) -> Any:
        """The content of a file of the folder, {} for none; read again only where the file has changed.

        Raises UserError where the content does not have the given `shape`, or lacks a key of `needs`.
        """
        path, version = self.folder / name, None
        with suppress(OSError):
            about = path.stat()
            version = (about.st_mtime_ns, about.st_size, about.st_ino)
            if name in self._contents and self._contents[name][0] == version:
                return self._contents[name][1]
        try:
            content = read(path)
        except FileNotFoundError:
            return {}
        absent = [key for key in needs if isinstance(content, dict) and key not in content]
        if why := misfit(content, shape) or (f"it has no {absent[0]}" if absent else ""):
            raise UserError(f"{path}: {why}; not the {name} of a run")
        self._contents[name] = (version, content)
        return content

    @cached_property
    def _contents(self) -> dict[str, tuple[Any, Any]]:
        """{file: (its version, its content)}."""
        return {}


def _read_config(path: Path) -> Any:
    config = read_yaml(path)
    if key := _without_value(config):
        raise UserError(f"{path}: {key[1:]} has no value; not the config.yaml of a run")
    rename(config)
    return config


def _without_value(node: Any, at: str = "") -> str:
    """The first key, such as ".model.loss", whose value is OmegaConf's "???" (missing); no run's config has one."""
    if node == "???":
        return at
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return next(filter(None, (_without_value(value, f"{at}.{key}") for key, value in inner)), "")


def _read_list(path: Path) -> Any:
    return read_yaml(path) or []
