"""Loggers: metrics.csv, which every run writes, and the interface to the loggers of the config."""

import hashlib
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from lightning.pytorch.loggers.logger import Logger

from rnnlab.config.run_config import RunConfig
from rnnlab.native import recording
from rnnlab.runs.identity import leaves
from rnnlab.runs.metrics import HEADER, Scalars, cell, lines
from rnnlab.runs.secrets import without_secrets
from rnnlab.training.display import About


class Journal:
    """An append-only file that a resume truncates to the length in the checkpoint.

    `encode` gives the content for batches of scalars and the times when they were added; they wait for a flush, since
    many at once take less time. `digest` is the SHA-256 of the content, by which a resume detects damage.
    """

    def __init__(
        self, path: Path, header: bytes, encode: Callable[[list[Scalars], list[float]], bytes]
    ) -> None:
        self.path, self.header, self.encode = path, header, encode
        self.buffer = bytearray()
        self.waiting: list[Scalars] = []
        self.times: list[float] = []
        self.begun = False
        self._hash: Any = None

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def add(self, batch: Scalars) -> None:
        self.waiting.append(batch)
        self.times.append(time.time())

    def write(self, content: bytes) -> None:
        """Appends bytes after the scalars so far."""
        if self.waiting:
            failure = None
            try:
                made = self.encode(self.waiting, self.times)
            except Exception as error:
                made, failure = b"", error  # the others must not be lost with the one that cannot be encoded
                for batch, at in zip(self.waiting, self.times, strict=True):
                    with suppress(Exception):
                        made += self.encode([batch], [at])
            self.buffer += made
            self.waiting, self.times = [], []
            if failure is not None:
                raise failure
        self.buffer += content

    def flush(self) -> int:
        """Appends what is waiting to the file; returns its length in bytes.

        Raises FileNotFoundError where the file was deleted meanwhile: a new file would lack its beginning.
        """
        self.write(b"")
        fresh = not self.begun and not self.path.exists()
        with self.path.open("ab" if fresh else "r+b") as f:
            if self._hash is None:
                self._hash = hashlib.sha256(b"" if fresh else self.path.read_bytes())
            f.seek(0, os.SEEK_END)
            added = self.header + self.buffer if fresh else bytes(self.buffer)
            f.write(added)
            self._hash.update(added)
            self.begun = True
            self.buffer.clear()
            return f.tell()

    def cut(self, length: int) -> None:
        self._hash = None
        if self.path.exists() and self.path.stat().st_size > length:
            with self.path.open("r+b") as f:
                f.truncate(length)


class RunLogger(Logger):
    """A logger that writes one file in the run's folder, and takes whole batches of scalars.

    The recorder flushes its journal, and truncates it when a run resumes. `begin` and `end` are called around the
    training, so that a logger can write more than scalars. The constructor gets the run's folder as `folder`.
    """

    journal: Journal

    @abstractmethod
    def log_scalars(self, batch: Scalars) -> None:
        """Adds a batch to the journal. Its columns are lists of floats, or float64 arrays."""

    def begin(self, about: About) -> None:
        """Called before the first step of a run; not where the run resumes from its own checkpoint."""

    def end(self, about: About, results: Mapping[str, Any], seconds: float) -> None:
        """Called when a run has finished, with its results and its duration in seconds."""

    def flush(self) -> int:
        return self.journal.flush()

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the config is in config.yaml."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes the metrics of `self.log`, without the epoch that Lightning adds."""
        self.log_scalars(Scalars.of(step or 0, {k: v for k, v in metrics.items() if k != "epoch"}).floats())


class MetricsFile(RunLogger):
    """metrics.csv: one line per scalar, see `rnnlab.runs.metrics`. Speeds are left out: they are wall-clock values."""

    name, version = "metrics", ""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.journal = Journal(folder / "metrics.csv", HEADER.encode(), _lines)

    def log_scalars(self, batch: Scalars) -> None:
        if any(name.startswith("speed/") for name in batch.columns):
            kept = {name: column for name, column in batch.columns.items() if not name.startswith("speed/")}
            batch = Scalars(batch.steps, kept)
        if batch.columns:
            self.journal.add(batch)


def _lines(batches: list[Scalars], times: list[float]) -> bytes:
    found = recording.lines(batches, lambda name: cell(name).encode())
    return "".join(lines(batch.floats()) for batch in batches).encode() if found is None else found


# for each logger that continued its earlier output: {metric: the last step that it has already}
SEEN: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()


def log(logger: Any, batch: Scalars) -> None:
    """Hands a batch to a logger. A logger outside rnnlab gets single steps, without those that it has already."""
    if isinstance(logger, RunLogger):
        logger.log_scalars(batch)
        return
    seen = SEEN.get(logger, {})
    for step, values in batch.floats().by_step():
        new = {name: value for name, value in values.items() if step > seen.get(name, -1)} if seen else values
        if new:
            logger.log_metrics(new, step)


def introduce(loggers: Iterable[Any], config: RunConfig) -> None:
    """Gives loggers outside rnnlab the resolved config, flat ({"model.hidden_size": 32}) and without secrets."""
    for logger in loggers:
        if not isinstance(logger, RunLogger):
            logger.log_hyperparams(leaves(without_secrets(config)))
