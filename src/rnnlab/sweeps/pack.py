"""A pack of runs: the unit of work of a cluster's job, which trains them in warm workers of its own."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from rnnlab.config.run_config import RunConfig, as_dict
from rnnlab.errors import UserError
from rnnlab.runs.record import ENDED
from rnnlab.runs.run import Run
from rnnlab.runs.run_path import Place
from rnnlab.signals import NAMES
from rnnlab.sweeps.visible_gpus import visible_gpus

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

    from rnnlab.sweeps.scheduler import PoolOptions

PATIENCE = 60.0  # seconds in which workers must write their checkpoints


@dataclass
class Assigned:
    """A run in the form that a scheduler takes, without the sweep's plan."""

    place: Place
    config: RunConfig
    overrides: list[str] = field(default_factory=list)
    status: str = ""
    ended: str | None = None  # when the run had ended before
    created: str | None = None  # when it had been begun before

    @property
    def run(self) -> Run:
        return Run(self.place.folder)

    @property
    def accelerator(self) -> str:
        return self.config["trainer"]["accelerator"]


@dataclass
class Pack:
    """The function of a cluster's job: trains the runs, and returns how many are left and why.

    Where the job must end before its work is done, `checkpoint` makes the workers write checkpoints, and returns the
    pack itself, so that submitit queues the job again; each run then resumes. `made_with` is `surroundings()` of the
    process that made the pack.
    """

    runs: list[Assigned]
    command: list[str]
    workers: int
    made_with: dict[str, str]
    restart: bool = False
    pictures: bool = False
    renew_mb: int = 1024  # a worker whose memory has grown by so much is replaced

    def __call__(self) -> tuple[int, str]:
        """Raises UserError where the versions or rnnlab's code on this machine differ from `made_with`."""
        from rnnlab.sweeps.forkserver import ForkServer
        from rnnlab.sweeps.pool import LocalPool
        from rnnlab.sweeps.scheduler import Scheduler, View

        refuse_others(self.made_with, surroundings())
        server = ForkServer()
        due = self.due()
        self._scheduler = Scheduler(LocalPool(server), self.options(due), View[Assigned](), self.command)
        try:
            outcomes = self._scheduler.run(due, self.restart)
        finally:
            server.close()
        left = len(due) - sum(o.status in (*ENDED, "failed", "pruned") for o in outcomes.values())
        stopped_by = self._scheduler.stopping if self._scheduler.stopping in NAMES else ""
        if left and stopped_by == "SIGTERM":
            queue_again()
        return left, stopped_by

    def options(self, due: Sequence[Assigned]) -> "PoolOptions":
        """The sizes of this job's pool for the runs that are due."""
        from rnnlab.sweeps.devices import gpus_each
        from rnnlab.sweeps.scheduler import PoolOptions

        workers = dict.fromkeys(("cpu", "gpu", "mps"), self.workers)
        return PoolOptions(workers, len(visible_gpus()), self.renew_mb * 2**20, pictures=self.pictures,
                           gpus_each=gpus_each(due))  # fmt: skip

    def due(self) -> list[Assigned]:
        """The runs that are left. Slurm may have queued this job again: a finished run that it has begun to train again
        (it is stale, or rerun=true) does not start again, but resumes.
        """
        left = []
        for assigned in self.runs:
            record = assigned.run.known
            is_begun = (record.get("ended"), record.get("created")) != (assigned.ended, assigned.created)
            again = self.restart or assigned.config.get("rerun")
            if is_begun and record.get("status") not in ENDED:
                config = cast(RunConfig, as_dict(assigned.config) | {"rerun": False})
                left.append(replace(assigned, status="", config=config))
            elif not is_begun and (record.get("status") not in ENDED or again):
                left.append(assigned)
        return left

    def checkpoint(self) -> "DelayedSubmission":
        """Called by submitit during `__call__`, when the job's time is over or the job is preempted."""
        import submitit

        scheduler = self._scheduler
        for worker in scheduler.workers:
            scheduler.pool.stop(worker)
        deadline = time.monotonic() + PATIENCE
        live = list(scheduler.workers)
        # a worker that was told to stop writes a checkpoint and exits
        while live and time.monotonic() < deadline:
            gone = [worker for worker, message in scheduler.pool.ready(live, 0.1) if message is None]
            live = [worker for worker in live if worker not in gone]
        del self._scheduler
        return submitit.helpers.DelayedSubmission(self)


def queue_again() -> None:
    """Asks Slurm to queue this job again after SIGTERM: the job is preempted, or its node is shut down.

    Slurm queues a job again by itself only if it had to kill it. A job that was cancelled is not queued again.
    """
    import submitit

    from rnnlab.sweeps import slurm_queue

    try:
        job = submitit.JobEnvironment().job_id
    except RuntimeError:  # not in a job of Slurm
        return
    if slurm_queue.state(job) == "RUNNING":
        slurm_queue.requeue(job)


def surroundings() -> dict[str, str]:
    """The versions and the hash of rnnlab's code, which must be equal where a run is planned and where it trains."""
    from importlib.metadata import version

    from rnnlab.runs.sources import rnnlab_sources

    names = ("torch", "lightning", "numpy")
    return {"Python": ".".join(platform.python_version_tuple()[:2]), **{n: version(n) for n in names},
            "rnnlab's code": rnnlab_sources()[:12]}  # fmt: skip


def refuse_others(there: dict[str, str], here: dict[str, str]) -> None:
    """Raises UserError where `here` differs from `there`."""
    other = [name for name, value in there.items() if here.get(name) != value]
    if other:
        said = ", ".join(f"{name} {here.get(name)} (planned with {there[name]})" for name in other)
        raise UserError(f"{platform.node()} has other software: {said}")


def cut(costs: Sequence[float], seconds: float, most: int) -> list[list[int]]:
    """Divides runs, in their order, into packs of about `seconds` and at most `most` runs; returns lists of indices."""
    packs: list[list[int]] = []
    room = 0.0
    for i, cost in enumerate(costs):
        if not packs or cost > room or len(packs[-1]) >= most:
            packs.append([])
            room = seconds
        packs[-1].append(i)
        room -= cost
    return packs
