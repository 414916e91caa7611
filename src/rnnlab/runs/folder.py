"""What lies in a run's folder, by name, and what can be read of it. Nothing here writes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.config.checked import RunConfig
from rnnlab.config.renamed import rename
from rnnlab.errors import UserError
from rnnlab.runs.files import read_json
from rnnlab.runs.metrics import read_metrics
from rnnlab.runs.record import ConfigFile, Manifest, Overrides, Record, Status, misfit
from rnnlab.runs.yaml import read_yaml


@dataclass(frozen=True)
class Folder:
    """One run's folder. A file is read when it is asked for, and again when it has changed; nothing is executed.

    What is read is shared: whoever changes it copies it first.

    `status` is "stopped" for a run that was interrupted and can go on: neither finished nor failed; "pruned" for one
    that a search ended early, which can go on as well; "stopped early" for one that a callback ended before its limit.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))  # rnnlab.Run("outputs/sine/RUN") is one, too

    # ------------------------------------------------------------------ paths

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def events_file(self) -> Path:
        """TensorBoard's."""
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
    def record(self) -> dict[str, Any]:
        """run.json: id, experiment, status, times, results, and why it failed; {} where there is none.

        Raises UserError where it is damaged.
        """
        return self._read("run.json", read_json, Record, needs=("status",))

    @property
    def is_there(self) -> bool:
        """Whether the folder holds a run, be its record damaged."""
        return (self.folder / "run.json").exists()

    @property
    def known(self) -> dict[str, Any]:
        """The record, {} where it is damaged: for code that must continue all the same."""
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
    def results(self) -> dict[str, Any]:
        """What the run came to: best and last metrics, the test part's, baselines and floor."""
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
        """The resolved config, in which classes that have moved since stand by their new names."""
        return self._read("config.yaml", _read_config, ConfigFile, needs=("mode", "model"))

    @property
    def overrides(self) -> list[str]:
        """What was asked of the experiment; [] where that is not known."""
        if not (self.folder / "overrides.yaml").exists():
            return []
        return [str(o) for o in self._read("overrides.yaml", _read_list, Overrides)]

    @property
    def metrics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Every scalar of the training: {name: (steps, values)}."""
        return read_metrics(self.metrics_file)

    def _read(self, name: str, read: Callable[[Path], Any], shape: Any, needs: tuple[str, ...] = ()) -> Any:
        """What a file of the folder holds, {} for none; read again only where the file has changed.

        Raises UserError where it is not what it must be.
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
        """{file: (its version, what it holds)}."""
        return {}


def _read_config(path: Path) -> Any:
    config = read_yaml(path)
    if key := _without_value(config):
        raise UserError(f"{path}: {key[1:]} has no value; not the config.yaml of a run")
    rename(config)
    return config


def _without_value(node: Any, at: str = "") -> str:
    """The first key, as ".model.loss", whose value is missing to OmegaConf, which none of a run's is; "" for none."""
    if node == "???":
        return at
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return next(filter(None, (_without_value(value, f"{at}.{key}") for key, value in inner)), "")


def _read_list(path: Path) -> Any:
    return read_yaml(path) or []
