"""A worker that answers questions before a sweep. It has imported torch; the sweep's own process has not.

A question is a function in this module, sent by its name (pickled).
"""

import math
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar, cast

from rnnlab.config.run_config import RunConfig
from rnnlab.errors import RunFailed, UserError
from rnnlab.runs.run_path import Place
from rnnlab.sweeps.forkserver import ForkServer, kill
from rnnlab.sweeps.rehearsal import Answer, Question, answers, not_here

MEASURED_SECONDS = 0.15  # seconds of training in a measurement

T = TypeVar("T")


class Probe:
    def __init__(self, server: ForkServer) -> None:
        self.server = server
        self.waited = 0.0  # seconds until the worker was ready
        self._pid = 0
        self._connection: Connection | None = None

    def call(self, function: Callable[[], T], timeout: float | None = None) -> T | None:
        """Calls the function in the worker; None after `timeout` seconds. Raises RunFailed if the worker dies."""
        if self._connection is None:
            begin = time.monotonic()
            self._pid, self._connection = self.server.start_worker()
            self.waited = self.waited or time.monotonic() - begin
        try:
            self._connection.send(function)
            if self._connection.poll(timeout):
                return self._connection.recv()
        except (EOFError, OSError) as error:
            connection, self._connection = self._connection, None
            connection.close()
            raise RunFailed(self.server.exit_reason(self._pid)) from error
        self.close()
        return None

    def ask(self, function: Callable[[], T]) -> T:
        """As `call`, for what the plan of a sweep needs."""
        try:
            answer = self.call(function)
        except RunFailed as error:
            raise RunFailed(f"the sweep could not be planned: {error}") from error
        assert answer is not None, "without a timeout the worker answers or dies"
        return answer

    def devices(self) -> tuple[dict[str, str], int]:
        """({accelerator: name of the device} of this machine, best first; the number of GPUs)."""
        return self.ask(devices)

    def import_errors(self, classes: list[tuple[str, str]]) -> dict[str, str]:
        """{class: why it cannot be imported}, for `classes` [(path in the config, class)]."""
        return self.ask(partial(import_errors, classes)) if classes else {}

    def answers(self, asked: list[Question]) -> list[Answer]:
        """The answers to questions of `rnnlab.sweeps.rehearsal`, in their order."""
        return self.ask(partial(answers, asked)) if asked else []

    def close(self) -> None:
        if self._connection is not None:
            kill(self._pid, signal.SIGKILL)  # the worker has nothing to save
            self._connection.close()
            self._connection = None
            self.server.exit_reason(self._pid)


# ---------------------------------------------------------------------- functions that run in the worker


def devices() -> tuple[dict[str, str], int]:
    import torch

    from rnnlab.training.accelerator import present

    return present(), torch.cuda.device_count() if torch.cuda.is_available() else 0


def import_errors(classes: list[tuple[str, str]]) -> dict[str, str]:
    from rnnlab.cells.registry import resolve
    from rnnlab.config.building import locate

    found = {}
    for at, name in classes:
        try:
            if at.endswith(".cell"):
                resolve(name)
            else:
                locate(name, at.removesuffix("._target_"))
        except UserError as error:
            found[name] = str(error)
    return found


@dataclass
class Measurement:
    """The first steps of a run, trained in a temporary folder."""

    seconds: float  # estimated for the whole run
    engine: str
    private: int  # bytes that only the worker uses
    shared: int  # bytes that it shares with other workers
    guessed: float = 0.0  # guessed seconds of the whole run
    guessed_bytes: float = 0.0


def measure(config: RunConfig, total: int) -> Measurement | str:
    """Trains some of the run's `total` steps; returns the measurements, or, where it fails, the reason in a line."""
    from rnnlab.training.train import load_data, train_config

    if not_here(config["data"]):
        return f"data.corpus={config['data']['corpus']} is not downloaded yet, and a trial downloads nothing"
    # a schedule of its own: the run's may be longer than the measurement, and would be refused
    schedule = {"_target_": "rnnlab.training.schedules.constant", "_partial_": True, "interval": "step"}
    bare = {"callbacks": {}, "logger": {}, "checkpoint": {"every_n_steps": None, "every_seconds": None},
            "scheduler": schedule}  # fmt: skip
    try:
        data = load_data(config)

        def train(n: int) -> tuple[float, int, str]:
            trainer = config["trainer"] | {"max_steps": n, "fast_dev_run": False, "devices": 1}
            trainer.pop("strategy", None)
            with tempfile.TemporaryDirectory() as folder:
                place = Place(Path(folder) / "measured" / "run", "measured", "measured", "")
                run = train_config(cast(RunConfig, config | bare | {"trainer": trainer}), place, [], command=[],
                                   data_of=lambda _: data)  # fmt: skip
                record = run.record
            return record["seconds"], record["results"]["steps"], record["engine"]["name"]

        train(1)  # what a process does only once is not to be measured
        first, _, engine = train(1)
        n = 8
        took, taken, _ = train(n)
        if took < MEASURED_SECONDS and taken == n:
            n = math.ceil(n * MEASURED_SECONDS / max(took - first, took / 10))
            took, taken, _ = train(n)
        whole = took if taken < n else first + (took - first) / (n - 1) * (total - 1)
    except Exception as error:
        said = str(error).partition("\n")[0]
        return said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"
    return Measurement(whole, engine, *memory())


def memory() -> tuple[int, int]:
    """The memory of this process in bytes: (its own, shared with the process that forked it)."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        from rnnlab.sweeps.job import memory as held

        return held(), 0
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return private, sizes["Rss"] - private
