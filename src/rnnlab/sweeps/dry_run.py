"""What `--dry-run` shows of a grid."""

import itertools
from collections import Counter

from rnnlab.sweeps.estimate import estimate, weights
from rnnlab.sweeps.live import clock
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.sweeps.results import console
from rnnlab.sweeps.session import Session
from rnnlab.sweeps.slurm import workers_at_once

SHOWN_VALUES = 8  # the most values of a swept key that are shown


def show_dry_run(session: Session, plan: Plan, due: list[Planned]) -> None:
    """Prints the swept values, and how much time and memory the sweep would take."""
    options, devices = session.options, session.devices
    for key in plan.swept:
        values = dict.fromkeys(a.text.partition("=")[2] for r in plan.runs for a in r.point if a.key == key)
        shown = ", ".join(itertools.islice(values, SHOWN_VALUES))
        shown += f", ... ({len(values):,})" if len(values) > SHOWN_VALUES else ""
        console.print(f"  {key:24} {shown}", soft_wrap=True)
    if due:
        workers = devices.pool(due, options).workers
        if options["pool"] == "slurm":
            workers = dict.fromkeys(workers, workers_at_once(options, due))
        by_kind = Counter(p.accelerator for p in due)
        busy = {kind: min(workers[kind], n) for kind, n in by_kind.items()}
        groups = {p.place.group: p for p in due}.values()
        sizes = [weights(p.config) for p in groups if "hidden_size" in p.config["model"]] or [0]
        size = f"{min(sizes):,.0f}" + (f" to {max(sizes):,.0f}" if max(sizes) > min(sizes) else "")
        found = estimate(due, devices.probe)
        wall = found.wall(due, workers) + devices.probe.waited
        memory = found.shared_bytes + sum(busy.values()) * found.worker_bytes
        pool = ", ".join(f"{n} worker{'s' * (n > 1)} on {kind}" for kind, n in busy.items())
        console.print(f"  {'to train':24} {len(due):,}, longest first; {pool}", soft_wrap=True)
        if max(sizes):
            console.print(f"  {'recurrent weights':24} about {size}", soft_wrap=True)
        console.print(f"  {'time':24} about {clock(wall)} ({found.basis})", soft_wrap=True)
        console.print(f"  {'memory':24} about {memory / 1e9:.1f} GB ({found.memory_basis})", soft_wrap=True)
    console.print("Nothing was started (--dry-run).")
