"""Chooses the pool of a sweep's workers by `sweep.pool`: this machine, jobs of Slurm, or actors of Ray."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rnnlab.config.run_config import SweepConfig
from rnnlab.errors import UserError
from rnnlab.sweeps.devices import cores_each
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.pool import LocalPool, Pool
from rnnlab.sweeps.scheduler import PoolOptions
from rnnlab.sweeps.session import Session


def cluster_devices(options: SweepConfig) -> dict[str, str] | None:
    """The accelerators of a worker on a cluster, best first; None where this machine trains."""
    if options["pool"] == "local":
        return None
    from rnnlab.sweeps import ray_pool, slurm

    return {"slurm": slurm, "ray": ray_pool}[options["pool"]].cluster_devices(options)


@contextmanager
def open_pool(session: Session, due: list[Planned]) -> Iterator[tuple[Pool, PoolOptions]]:
    """The pool of workers for the runs that are due, and its options, such as how many there are; ends the pool at the
    end.
    """
    options = session.options
    sizes = session.devices.pool(due, options)
    if options["pool"] == "local":
        yield LocalPool(session.server), sizes
        return
    if options["pool"] == "slurm":
        from rnnlab.sweeps.slurm import workers_per_job
        from rnnlab.sweeps.slurm_pool import SlurmPool

        folder, name = due[0].place.folder.parent, due[0].config["name"]
        jobs = SlurmPool(options, folder, name, workers_per_job(options, due), sizes.gpus_each)
        try:
            yield jobs, replace(sizes, workers=dict.fromkeys(("cpu", "gpu"), jobs.wanted), gpus=0)
        finally:
            jobs.end()
        return
    from rnnlab.sweeps.ray_pool import RayPool

    pool = RayPool(options, cores_each(due), sizes.gpus_each)
    try:
        for folder in {planned.place.folder.parent for planned in due}:
            folder.mkdir(parents=True, exist_ok=True)  # a Ray worker checks that it sees this folder
        workers = {}
        for kind in sorted({planned.accelerator for planned in due}):
            if not (room := pool.room(kind)):
                raise UserError(
                    f"sweep.pool=ray: no node of the cluster has what a worker needs: {pool.needs(kind)}"
                )
            workers[kind] = min(options["workers"] or room, room)
        yield pool, replace(sizes, workers=workers, gpus=0)
    finally:
        pool.end()
