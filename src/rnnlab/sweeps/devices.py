"""The devices for the workers of a sweep, and how many workers share each device."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from rnnlab.config.run_config import SweepConfig
from rnnlab.config.trainer_schema import processes
from rnnlab.errors import UserError, counted
from rnnlab.sweeps.due_run import DueRun
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.probe import Probe
from rnnlab.sweeps.scheduler import PoolOptions

DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # a GPU on Linux has one of them


class Devices:
    """The accelerators of this machine. The probe (slow) is used only if there may be others than the CPU."""

    def __init__(self, probe: Probe, found: dict[str, str] | None = None) -> None:
        self.probe = probe
        self.gpus = 0
        self._found = found  # given where other machines train the runs

    def found(self) -> dict[str, str]:
        """{accelerator: name of the device}, best first."""
        if self._found is None:
            if sys.platform == "linux" and not any(Path(path).exists() for path in DRIVERS):
                self._found = {"cpu": counted(os.cpu_count() or 1, "core")}
            else:
                self._found, self.gpus = self.probe.devices()
        return self._found

    def choose(self, asked: str) -> str:
        """The accelerator for `trainer.accelerator=asked`. Raises UserError if this machine has none."""
        found = self.found()
        if asked == "auto":
            return next(iter(found))
        if asked not in found:
            described = ", ".join(f"{name} ({what})" for name, what in found.items())
            raise UserError(
                f"trainer.accelerator={asked}: there is none on this machine, which has {described}"
            )
        return asked

    def pool(self, due: list[Planned], options: SweepConfig) -> PoolOptions:
        """How many workers there are: on CPUs one for each core, or for the cores of each run; on GPUs as many per GPU
        as asked for, or one for the GPUs of each run. With `sweep.workers` there are so many, and on GPUs no more.
        """
        each, shared, asked = gpus_each(due), options["workers_per_gpu"], options["workers"]
        on_gpus = max(1, self.gpus // each) * shared
        workers = {
            "cpu": asked or max(1, cores() // cores_each(due)),
            "gpu": min(asked or on_gpus, on_gpus),
            "mps": min(asked or shared, shared),
        }
        return PoolOptions(
            workers,
            self.gpus,
            options["renew_mb"] * 2**20,
            options["max_failures"],
            options["pictures"],
            each,
            lends=asked is None,
        )


def cores_each(due: Iterable[DueRun]) -> int:
    """The largest number of cores that a run on CPUs takes."""
    trainers = [planned.config["trainer"] for planned in due if planned.accelerator == "cpu"]
    return max((int(trainer["threads"] or 1) * processes(trainer) for trainer in trainers), default=1)


def gpus_each(due: Iterable[DueRun]) -> int:
    """The largest number of GPUs that a run takes, planned or assigned to a pack; 1 where no run trains on GPUs."""
    return max((processes(p.config["trainer"]) for p in due if p.accelerator == "gpu"), default=1)


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
