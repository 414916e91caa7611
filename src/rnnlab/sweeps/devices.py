"""The devices of this machine, and how many workers share each."""

import os
import sys
from pathlib import Path
from typing import Any

from rnnlab.errors import UserError
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.probe import Scout
from rnnlab.sweeps.scheduler import Staff

DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # without any of them there is no GPU on Linux


class Devices:
    """The accelerators of this machine, asked of the scout only where there may be one beside the CPU."""

    def __init__(self, scout: Scout) -> None:
        self.scout = scout
        self.gpus = 0
        self._there: dict[str, str] | None = None

    def there(self) -> dict[str, str]:
        if self._there is None:
            if sys.platform == "linux" and not any(Path(path).exists() for path in DRIVERS):
                self._there = {"cpu": f"{os.cpu_count()} cores"}
            else:
                self._there, self.gpus = self.scout.devices()
        return self._there

    def take(self, asked: str) -> str:
        """The accelerator for `trainer.accelerator=asked`. Raises UserError where it is not there."""
        there = self.there()
        if asked == "auto":
            return next(iter(there))
        if asked not in there:
            described = ", ".join(f"{name} ({what})" for name, what in there.items())
            raise UserError(f"trainer.accelerator={asked}: there is none on this machine; there: {described}")
        return asked

    def staff(self, due: list[Planned], options: dict[str, Any]) -> Staff:
        """One worker a core on the CPU, or fewer where each has several threads; on a GPU as many as asked for."""
        threads = max(map(threads_of, due), default=1)
        shared = options["workers_per_gpu"]
        workers = {
            "cpu": options["workers"] or max(1, cores() // threads),
            "gpu": max(1, self.gpus) * shared,
            "mps": shared,
        }
        return Staff(
            workers, self.gpus, options["renew_mb"] * 2**20, options["max_failures"], options["pictures"]
        )


def threads_of(planned: Planned) -> int:
    given = [a.value for a in planned.point if a.plain and a.key == "trainer.threads"]
    assert planned.template.reading is not None
    return int((given or [planned.template.reading.values["trainer"]["threads"]])[-1] or 1)


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
