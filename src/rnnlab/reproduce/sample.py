"""Trains several runs again, as one sweep."""

from collections.abc import Sequence
from pathlib import Path

from rnnlab import streams
from rnnlab.errors import UserError
from rnnlab.reproduce.retrain import plan
from rnnlab.runs.record import ENDED
from rnnlab.runs.run import Run, runs
from rnnlab.signals import NAMES


def draw(experiment: Path, n: int, seed: int) -> list[Run]:
    """`n` finished runs of an experiment's folder, drawn from the "sample" stream of `seed`."""
    finished = [run for run in runs(experiment) if run.status in ENDED]
    if not finished:
        raise UserError(f"{experiment}: no finished runs there")
    order = streams.generator(seed, "sample").permutation(len(finished))
    return [finished[i] for i in sorted(order[:n])]


def train_all(
    originals: Sequence[Run], into: Path, command: list[str], trust: bool
) -> list[tuple[Run, Run, str]]:
    """Trains runs again in the workers of a sweep; returns (original, again, why it failed or "") for each.

    Raises UserError before the first training where one of them cannot be trained again.
    """
    from rnnlab.sweeps.pack import Assigned

    due: list[tuple[Run, Assigned]] = []
    for original in originals:
        config, where = plan(original, into, trust)
        due.append((original, Assigned(where, config, status="finished")))  # perhaps by an earlier command

    from rnnlab.sweeps.devices import cores
    from rnnlab.sweeps.forkserver import ForkServer
    from rnnlab.sweeps.pool import LocalPool
    from rnnlab.sweeps.scheduler import PoolOptions, Scheduler, View

    server = ForkServer()
    try:
        pool = PoolOptions({"cpu": min(cores(), len(due)), "gpu": 1, "mps": 1})
        scheduler = Scheduler(LocalPool(server), pool, View[Assigned](), command)
        outcomes = scheduler.run([assigned for _, assigned in due], restart=True)
    finally:
        server.close()
    if scheduler.stopping in NAMES:
        raise KeyboardInterrupt
    why = {i: "" if o.status in ENDED else o.why or o.status for i, o in outcomes.items()}
    return [(original, a.run, why.get(i, "it was not begun")) for i, (original, a) in enumerate(due)]
