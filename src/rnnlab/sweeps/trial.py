"""The first steps of a run, trained to see how fast they are and what memory they take, and thrown away."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rnnlab.errors import RunFailed
from rnnlab.runs.run_path import Place
from rnnlab.sweeps import cost
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.probe import Scout

LONG = 0.15  # seconds of training that are measured
BUDGET = 1.0  # seconds of trials behind the first, after which no other is begun
PATIENCE = 15.0  # seconds that one may take, its data included


@dataclass
class Trial:
    seconds: float  # of the whole run, by some of its steps
    engine: str
    private: int  # bytes of the worker's own
    shared: int  # bytes that it shares with the others
    guessed: float = 0.0  # seconds
    guessed_bytes: float = 0.0


def trials(kinds: Sequence[tuple[Planned, dict[str, Any]]], scout: Scout, just_one: bool) -> list[Trial]:
    """Of the hungriest run, and then the longest and the shortest on each engine, while the budget lasts."""
    order = [max(kinds, key=lambda one: cost.memory(one[1]))]
    if not just_one:
        alike: dict[tuple[str, ...], list[tuple[Planned, dict[str, Any]]]] = {}
        for planned, config in kinds:
            named = (config["model"].get(key) for key in ("_target_", "cell", "engine"))
            alike.setdefault((planned.accelerator, *map(str, named)), []).append((planned, config))
        for choose in (max, min):
            order += [choose(some, key=lambda one: one[0].cost) for some in alike.values()]
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
        if not found:
            begin = time.monotonic()  # the first has waited for a worker, and warmed it
        trial.guessed, trial.guessed_bytes = planned.cost, cost.memory(config)
        found.append(trial)
    return found


def attempt(config: dict[str, Any]) -> Trial | None:
    """In a worker: trains some steps in a folder that is thrown away; None where that cannot be."""
    from rnnlab.data.corpora import CORPORA
    from rnnlab.training.train import load_data, train_config

    name = "" if config["data"].get("path") else config["data"].get("corpus", "")
    if name in CORPORA and not CORPORA[name].file(name, Path(config["data"]["folder"])).exists():
        return None  # a trial downloads nothing
    plain = {"callbacks": {}, "logger": {}, "checkpoint": {"every_n_steps": None, "every_seconds": None}}
    try:
        data = load_data(config)

        def steps(n: int) -> tuple[float, int, str]:
            trainer = config["trainer"] | {"max_steps": n, "fast_dev_run": False}
            with tempfile.TemporaryDirectory() as folder:
                place = Place(Path(folder) / "trial" / "run", "trial", "trial", "")
                run = train_config(config | plain | {"trainer": trainer}, place, [], command=[], verbose=False,
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
