"""What a sweep will take, by measurement: of runs that finished, else of a trial of some steps, here and now."""

import math
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rnnlab.errors import RunFailed
from rnnlab.ledger.place import Place
from rnnlab.ledger.run import Run
from rnnlab.sweeps import cost
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.scout import Scout

LONG = 0.15  # seconds of training that a trial is measured over
BUDGET = 1.0  # seconds of trials, after which no other is begun
PATIENCE = 15.0  # seconds that one may take, its data included
FINISHED = 100  # runs that are read
ENOUGH = 3  # the first run of a process is slower than the others


@dataclass
class Estimate:
    seconds: dict[int, float]  # of each run that is due, by its place there
    basis: str
    worker_bytes: float  # of memory, in each worker
    shared_bytes: float  # and once
    memory_basis: str

    def wall(self, due: list[Planned], workers: dict[str, int]) -> float:
        """Seconds until the last run ends, each kind of device working off its own."""
        longest = 0.0
        for kind in {p.accelerator for p in due}:
            took = [self.seconds[i] for i, p in enumerate(due) if p.accelerator == kind]
            longest = max(longest, sum(took) / min(workers.get(kind, 1), len(took)), max(took))
        return longest


def estimate(due: list[Planned], scout: Scout) -> Estimate:
    """By finished runs of the same experiments where there are any; memory always by a trial."""
    groups = {p.place.group: (p, p.config()) for p in reversed(due)}
    ratios, own = finished({p.place.folder.parent for p in due})
    trials = tried(groups.values(), scout, just_one=len(ratios) >= ENOUGH)
    if len(ratios) >= ENOUGH:
        basis = f"by {len(ratios)} runs of this experiment that have finished"
        factor = {group: median(ratios) for group in groups}
    elif trials:
        basis = f"by a trial of {len(trials)} of {len(groups)} kinds of runs, engine {trials[0].engine}"
        factor = {group: _nearest(trials, planned.cost) for group, (planned, _) in groups.items()}
    else:
        basis, factor = "a guess: nothing of the kind has finished, and it could not be tried", {}
    seconds = {
        i: median(own[p.place.group]) if p.place.group in own else p.cost * factor.get(p.place.group, 1.0)
        for i, p in enumerate(due)
    }
    most = max(cost.memory(config) for _, config in groups.values())
    if not trials:
        return Estimate(seconds, basis, most, 0.0, "a guess")
    beyond = max(0.0, most - max(t.guessed_bytes for t in trials))
    held = max(t.private for t in trials) + beyond
    return Estimate(seconds, basis, held, max(t.shared for t in trials), "by the trial")


def finished(experiments: Iterable[Path]) -> tuple[list[float], dict[str, list[float]]]:
    """How much longer than guessed runs took; and the seconds of those of each group."""
    ratios, own = [], dict[str, list[float]]()
    for experiment in experiments:
        for path in sorted(experiment.glob("*/run.json"))[:FINISHED]:
            run = Run(path.parent)
            record = run.record
            if record.get("status") == "finished" and record.get("seconds"):
                own.setdefault(record.get("group", ""), []).append(record["seconds"])
                ratios.append(record["seconds"] / cost.seconds(run.config))
    return ratios, own


# ---------------------------------------------------------------------- trials


@dataclass
class Trial:
    seconds: float  # of the whole run, by some of its steps
    engine: str
    private: int  # bytes of the worker's own
    shared: int  # bytes that it shares with the others
    guessed: float = 0.0
    guessed_bytes: float = 0.0


def tried(groups: Iterable[tuple[Planned, dict[str, Any]]], scout: Scout, just_one: bool) -> list[Trial]:
    """The hungriest run first, then the shortest and the longest of each kind, for as long as the budget lasts."""
    kinds: dict[tuple[str, ...], list[tuple[Planned, dict[str, Any]]]] = {}
    for planned, config in groups:
        model, data = config["model"], config["data"]
        kind = (
            planned.accelerator,
            *(str(model.get(k)) for k in ("_target_", "cell", "engine")),
            str(data.get("_target_")),
        )
        kinds.setdefault(kind, []).append((planned, config))
    everything = [one for kind in kinds.values() for one in kind]
    order = [max(everything, key=lambda one: cost.memory(one[1]))]
    if not just_one:
        order += [
            choose(kind, key=lambda one: one[0].cost) for choose in (max, min) for kind in kinds.values()
        ]
    found: list[Trial] = []
    begin = time.monotonic()
    for planned, config in {one[0].place.group: one for one in order}.values():
        if found and time.monotonic() - begin > BUDGET:
            break
        try:
            trial: Trial | None = scout.ask(partial(attempt, config), PATIENCE)
        except RunFailed:
            trial = None
        if trial is None:
            break
        trial.guessed, trial.guessed_bytes = planned.cost, cost.memory(config)
        if not found:
            begin = time.monotonic()  # the first has waited for a worker, and warmed it
        found.append(trial)
    return found


def _nearest(trials: list[Trial], guessed: float) -> float:
    """How much longer than guessed a run takes, as the trial did that was guessed likest."""
    nearest = min(trials, key=lambda t: max(t.guessed / guessed, guessed / t.guessed))
    return nearest.seconds / nearest.guessed


def attempt(config: dict[str, Any]) -> Trial | None:
    """Trains the run's first steps in a folder that is thrown away; None where that cannot be."""
    from rnnlab.data.corpora import CORPORA
    from rnnlab.training.train import load_data, train_config

    name = "" if config["data"].get("path") else config["data"].get("corpus", "")
    if name in CORPORA and not CORPORA[name].file(name, Path(config["data"]["folder"])).exists():
        return None  # a trial downloads nothing
    quiet = {"callbacks": {}, "logger": {}, "checkpoint": {"every_n_steps": None, "every_seconds": None}}
    try:
        data = load_data(config)

        def steps(n: int) -> tuple[float, int, str]:
            trainer = config["trainer"] | {"max_steps": n, "fast_dev_run": False}
            with tempfile.TemporaryDirectory() as folder:
                place = Place(Path(folder) / "trial" / "run", "trial", "trial", "")
                run = train_config(config | quiet | {"trainer": trainer}, place, [], command=[], loud=False,
                                   pictures=False, data_of=lambda _: data)  # fmt: skip
                record = run.record
            return record["seconds"], record["results"]["steps"], record["engine"]["name"]

        steps(1)  # what is done once in a process is done now
        first, _, engine = steps(1)
        n, total = 8, cost.steps(config)
        took, taken, _ = steps(n)
        if took < LONG and taken == n:
            n = math.ceil(n * LONG / max(took - first, took / 10))
            took, taken, _ = steps(n)
        whole = took if taken < n else first + (took - first) / (n - 1) * (total - 1)
    except Exception:
        return None
    return Trial(whole, engine, *memory())


def memory() -> tuple[int, int]:
    """Bytes of this process: its own, and those that it shares with the process it was forked from."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        from rnnlab.sweeps.worker import memory as held

        return held(), 0
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return private, sizes["Rss"] - private
