"""A worker that is asked about this machine and about code: it has torch, the sweep has not.

What it is asked is a function of this file, or one beside it, that is pickled by its name.
"""

import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from rnnlab.errors import RunFailed, UserError
from rnnlab.sweeps.forkserver import Nursery
from rnnlab.sweeps.scheduler import kill


class Scout:
    def __init__(self, home: Nursery) -> None:
        self.home = home
        self.waited = 0.0  # seconds until a worker was there
        self._pid = 0
        self._connection: Connection | None = None

    def ask(self, question: Callable[[], Any], patience: float | None = None) -> Any:
        """The answer; None where it takes longer than `patience` seconds. Raises RunFailed where there is none."""
        if self._connection is None:
            begin = time.monotonic()
            self._pid, self._connection = self.home.worker()
            self.waited = self.waited or time.monotonic() - begin
        try:
            self._connection.send(question)
            if self._connection.poll(patience):
                return self._connection.recv()
        except (EOFError, OSError) as error:
            connection, self._connection = self._connection, None
            connection.close()
            raise RunFailed(f"{question}: {self.home.end_of(self._pid)}") from error
        self.close()
        return None

    def devices(self) -> tuple[dict[str, str], int]:
        """The accelerators of this machine, best first, each with its name; and how many GPUs there are."""
        return self.ask(devices)

    def faults(self, parts: dict[str, str]) -> dict[str, str]:
        """{target: why it cannot be taken} of {place in the config: target}."""
        return self.ask(partial(faults, parts)) if parts else {}

    def close(self) -> None:
        if self._connection is not None:
            kill(self._pid, signal.SIGKILL)  # it holds nothing
            self._connection.close()
            self._connection = None
            self.home.end_of(self._pid)


def devices() -> tuple[dict[str, str], int]:
    import torch

    from rnnlab.training.accelerator import present

    return present(), torch.cuda.device_count() if torch.cuda.is_available() else 0


def faults(parts: dict[str, str]) -> dict[str, str]:
    from rnnlab.cells.registry import resolve
    from rnnlab.config.building import locate

    found = {}
    for at, target in parts.items():
        try:
            if at.endswith(".cell"):
                resolve(target)
            else:
                locate(target, at.removesuffix("._target_"))
        except UserError as error:
            found[target] = str(error)
    return found
