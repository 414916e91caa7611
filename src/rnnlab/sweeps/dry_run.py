"""`--dry-run`: what would be done."""

import itertools
from collections import Counter
from typing import Any

from rnnlab.sweeps import cost
from rnnlab.sweeps.devices import Devices
from rnnlab.sweeps.estimate import estimate
from rnnlab.sweeps.live import clock
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.terminal.console import Console

VALUES = 8  # of a parameter that are shown


def show(plan: Plan, due: list[Planned], options: dict[str, Any], devices: Devices, console: Console) -> None:
    for key in plan.swept:
        values = dict.fromkeys(a.text.partition("=")[2] for r in plan.runs for a in r.point if a.key == key)
        shown = ", ".join(itertools.islice(values, VALUES))
        shown += f", ... ({len(values):,})" if len(values) > VALUES else ""
        console.print(f"  {key:24} {shown}", soft_wrap=True)
    if due:
        workers = devices.staff(due, options).workers
        by_kind = Counter(p.accelerator for p in due)
        busy = {kind: min(workers[kind], n) for kind, n in by_kind.items()}
        sizes = [cost.parameters(p.config()) for p in {p.place.group: p for p in due}.values()]
        size = f"{min(sizes):,.0f}" + (f" to {max(sizes):,.0f}" if max(sizes) > min(sizes) else "")
        found = estimate(due, devices.scout)
        wall = found.wall(due, workers) + devices.scout.waited
        memory = found.shared_bytes + sum(busy.values()) * found.worker_bytes
        hands = ", ".join(f"{n} worker{'s' * (n > 1)} on {kind}" for kind, n in busy.items())
        console.print(f"  {'to train':24} {len(due):,}, longest first; {hands}", soft_wrap=True)
        console.print(f"  {'recurrent weights':24} about {size}", soft_wrap=True)
        console.print(f"  {'time':24} about {clock(wall)} ({found.basis})", soft_wrap=True)
        console.print(f"  {'memory':24} about {memory / 1e9:.1f} GB ({found.memory_basis})", soft_wrap=True)
    console.print("Nothing was started (--dry-run).")
