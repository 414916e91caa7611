"""Measures the cost of each part of a sweep, with up to a million runs on a thousand workers that only pretend to
train.

    python scripts/simulate.py [runs=1000,10000,100000] [workers=1000] [folder=FOLDER] [write=false]

The planner, the scheduler, the view, the runs' folders and the leaderboard are real. The workers are simulated: they
take time on a simulated clock, write run.json and manifest.json of their runs, and sometimes fail, die, or are lost
with their nodes. First half of the runs is trained; then a second sweep finds half of them finished and trains the
rest. With write=false the workers write no files, and all runs are trained at once.

For each part it shows CPU time, the files opened for reading and for writing, and the folders listed.
"""

import heapq
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from options import parsed

GRID = ("experiment=sine", "trainer.max_steps=500", "trainer.max_epochs=-1", "trainer.accelerator=cpu",
        "model.hidden_size=16,32", "model.num_layers=1,2", "optimizer.lr=1e-3,2e-3,3e-3,5e-3,1e-2")  # fmt: skip
KINDS = 20  # points of the grid; the seeds give the rest
FATES = {"failed": 0.01, "died": 0.002, "lost": 0.005, "locked": 0.005}  # shares of the runs; the rest finish
SECONDS = 1.0  # of a run, on the simulated clock
COUNTED = ("reads", "writes", "listed")


class Cost(Counter[str]):
    """CPU seconds (`seconds`), files opened for reading and for writing, folders listed."""


class Parts:
    """Counts, while open, the costs of the parts of a program, each without the parts inside it."""

    def __init__(self) -> None:
        self.of: dict[str, Cost] = {}
        self._open: list[Cost] = []
        self._put: list[tuple[Any, str, Any]] = []
        self._since = 0.0

    def put(self, label: str, owner: Any, *names: str) -> None:
        for name in names:
            inner = getattr(owner, name)
            self._put.append((owner, name, inner))
            setattr(owner, name, self._measured(label, inner))

    def _measured(self, label: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any, **more: Any) -> Any:
            with self.part(label):
                return inner(*args, **more)

        return outer

    @contextmanager
    def part(self, label: str) -> Iterator[None]:
        self._tick()
        self._open.append(self.of.setdefault(label, Cost()))
        try:
            yield
        finally:
            self._tick()
            self._open.pop()

    def _tick(self) -> None:
        now = time.process_time()
        if self._open:
            self._open[-1]["seconds"] += now - self._since
        self._since = now

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit hook of Python's."""
        if self._open and event == "open" and isinstance(args[0], str):
            self._open[-1]["writes" if args[2] & 3 else "reads"] += 1
        elif self._open and event == "os.scandir":
            self._open[-1]["listed"] += 1

    @contextmanager
    def measuring(self) -> Iterator["Parts"]:
        active = [self]
        sys.addaudithook(lambda event, args: active[0].see(event, args) if active else None)
        try:
            yield self
        finally:
            active.clear()  # an audit hook cannot be removed
            for owner, name, inner in reversed(self._put):
                setattr(owner, name, inner)


class Clock:
    """Replaces the module `time`: the clock advances only when a worker sends a message."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = time = monotonic


class PretendedPool:
    """A pool whose workers train nothing. The fate of a run depends only on its number."""

    def __init__(self, clock: Clock, workers: int, write: bool) -> None:
        self.clock, self.workers, self.write = clock, workers, write
        self.said: list[tuple[float, int, Any, Any]] = []  # (time, order, worker, message)
        self.why: dict[int, str] = {}
        self.opened, self.sent, self.met = 0, 0, set[int]()
        self.died = Counter[str]()

    def room(self, kind: str) -> int:
        return self.workers

    def open(self, kind: str, gpu: str | None = None) -> Any:
        from rnnlab.sweeps.pool import WorkerHandle

        self.opened += 1
        return WorkerHandle(self.opened, kind, gpu)

    def send(self, worker: Any, job: Any) -> None:
        from rnnlab.sweeps.job import Outcome
        from rnnlab.sweeps.pool import LOST
        from rnnlab.sweeps.worker import Step

        self.sent += 1
        number, share = job.number, (job.number * 2654435761 % 1_000_003) / 1_000_003
        fate = "finished"
        for name, part in FATES.items():
            share -= part
            if share < 0:
                fate = name
                break
        again = number in self.met and fate in ("lost", "locked")  # the second attempt succeeds
        self.met.add(number)
        fate = "finished" if again else fate
        end = self.clock.now + SECONDS * (0.5 + (number * 40503 % 1009) / 1009)
        self._later(self.clock.now + SECONDS / 2, worker, Step(number, 250))
        if fate in ("lost", "died"):
            self.why[worker.pid] = (
                LOST if fate == "lost" else "its worker was killed (SIGKILL); out of memory?"
            )
            self._later(end, worker, None)
        elif fate == "locked":
            self._later(end, worker, Outcome(number, "locked"))
        else:
            record = record_of(job, fate)
            if self.write:
                write_run(job, record)
            self._later(end, worker, Outcome(number, fate, record.get("why", ""), record, 0.04, 10**8))
        self.died[fate] += 1

    def _later(self, when: float, worker: Any, what: Any) -> None:
        heapq.heappush(self.said, (when, self.sent * 2 + (not hasattr(what, "step")), worker, what))

    def ready(self, workers: list[Any], timeout: float) -> list[tuple[Any, Any]]:
        """The next message of a worker. The clock does not advance while the scheduler works."""
        if not self.said or self.said[0][0] > self.clock.now + timeout:
            self.clock.now += timeout
            return []
        self.clock.now = max(self.clock.now, self.said[0][0])
        _, _, worker, what = heapq.heappop(self.said)
        return [(worker, what)]

    def stop(self, worker: Any, by: int = signal.SIGTERM) -> None: ...

    def close(self, worker: Any) -> str:
        return self.why.get(worker.pid, "")


def write_run(job: Any, record: dict[str, Any]) -> None:
    """The files of a run that a sweep reads."""
    from rnnlab.runs.files import write_json
    from rnnlab.runs.sources import files, sources

    job.place.folder.mkdir(parents=True, exist_ok=True)
    write_json(job.place.folder / "run.json", record)
    write_json(job.place.folder / "manifest.json", sources(job.config) | {"files": files(job.config)})


def record_of(job: Any, status: str) -> dict[str, Any]:
    """The content of run.json."""
    value = 0.01 + (job.number * 7919 % 10_007) / 1e6
    scores = {name: value * by for name, by in (("mse", 1.0), ("mae", 8.0), ("rmse", 10.0))}
    beside = {name: {"mse": at, "mae": at, "rmse": at} for name, at in (("persistence", 0.02), ("mean", 0.5))}
    measured = {"loss/val": value} | {f"metric/{name}": score for name, score in scores.items()}
    best = {"step": 484, "epoch": 22, "metrics": measured, "value": value, "monitor": "loss/val"}
    record = {
        "id": job.place.id, "group": job.place.group, "label": job.place.label, "experiment": "sine",
        "status": status, "created": "2026-01-01T00:00:00+0000", "started": "2026-01-01T00:00:00+0000",
        "engine": {"name": "native", "why": "auto: the fastest", "steps": "native"}, "seconds": 0.04,
        "ended": "2026-01-01T00:00:01+0000", "why": "" if status == "finished" else "UserError: the loss is nan",
    }  # fmt: skip
    if status == "finished":
        record["results"] = {
            "parameters": 1153, "multiplications": 1056, "test": {"loss": value} | scores,
            "baselines": {"val": beside, "test": beside}, "floor": {"val": {"mse": 0.0106}, "test": {"mse": 0.0106}},
            "facts": {"val": {"realised_noise": 0.01}, "test": {"realised_noise": 0.01}}, "steps": 500,
            "best": best, "last": {key: best[key] for key in ("step", "epoch", "metrics")},
        }  # fmt: skip
    return pickle.loads(pickle.dumps(record))  # as if sent by a worker


def swept(runs: int, workers: int, folder: str, write: bool = True) -> dict[str, Cost]:
    """{part of a sweep: what it cost}."""
    from rnnlab.config import base_config, check, compose
    from rnnlab.sweeps import chosen_pool, live, scheduler, session, sweep
    from rnnlab.sweeps.grid import grid
    from rnnlab.sweeps.job import memory
    from rnnlab.sweeps.plan import Plan
    from rnnlab.sweeps.planner import Planner

    points = grid(
        [*GRID, f"paths.outputs={folder}", f"seed=range(0,{runs // KINDS})"], {"experiment"}.__contains__
    )
    options = check(compose(["experiment=sine"]))["sweep"] | {"workers": workers}
    clock, parts = Clock(), Parts()
    pool = PretendedPool(clock, workers, write)
    before = memory()
    put: list[tuple[Any, str, Any]] = [
        (chosen_pool, "LocalPool", lambda server: pool),
        (scheduler, "time", clock),
        (live, "time", clock),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in put]
    for owner, name, value in put:
        setattr(owner, name, value)
    sweep.console.quiet, was_quiet = True, sweep.console.quiet
    parts.put("plan", Planner, "plan")
    parts.put("check classes and runs", Plan, "check_classes", "check_runs")
    parts.put("check classes and runs", session, "stacks")
    parts.put("statuses", Plan, "read_statuses")
    parts.put("schedule", scheduler.Scheduler, "run")
    parts.put("view", live.LiveView, "__init__", "started", "progressed", "ended", "tick", "compare")
    parts.put("(the pretended workers)", PretendedPool, "open", "send", "ready", "close")
    parts.put("leaderboard", sweep, "report")
    try:
        with parts.measuring(), parts.part("the rest"):
            done = sweep.sweep(
                points, options, compose, lambda o: base_config(o, choices=True), command=["rnnlab"]
            )
    finally:
        sweep.console.quiet = was_quiet
        for owner, name, value in kept:
            setattr(owner, name, value)
    counts = Counter(outcome.status for _, outcome in done.outcomes)
    parts.of["whole"] = whole = sum(parts.of.values(), Cost())
    whole["MB"] = (memory() - before) // 10**6
    assert len(done.plan.runs) == runs, (len(done.plan.runs), runs)
    print(
        f"    {runs:,} runs: {dict(counts)}; {pool.opened:,} workers started, {pool.sent:,} runs sent",
        flush=True,
    )
    return parts.of


def table(found: dict[str, Cost], runs: int) -> list[str]:
    lines = []
    for label, cost in found.items():
        counted = ", ".join(f"{cost[name]:,} {name}" for name in COUNTED if cost[name])
        lines.append(
            f"    {label:26} {cost['seconds']:8.2f} s {1e6 * cost['seconds'] / runs:8.1f} us a run  {counted}"
        )
    return [
        *lines,
        f"    memory: {found['whole']['MB']:,} MB, {1e3 * found['whole']['MB'] / runs:,.1f} kB a run",
    ]


def main(arguments: list[str]) -> int:
    options, _ = parsed(__doc__, arguments, "runs workers folder write one")
    if "one" in options:  # a separate process, to measure its memory
        write = options["write"] == "true"
        for runs in [int(options["one"]) // 2] * write + [int(options["one"])]:
            found = swept(runs, int(options["workers"]), options["folder"], write)
            print(*table(found, runs), sep="\n", flush=True)
        return 0
    if "folder" in options and not Path(options["folder"]).is_dir():
        sys.exit(f"folder={options['folder']}: no such folder")
    for runs in map(int, options.get("runs", "1000,10000,100000").split(",")):
        folder = tempfile.mkdtemp(dir=options.get("folder"))
        print(f"{runs:,} runs", flush=True)
        asked = [f"one={runs}", f"workers={options.get('workers', 1000)}", f"folder={folder}",
                 f"write={options.get('write', 'true')}"]  # fmt: skip
        try:
            subprocess.run([sys.executable, __file__, *asked], check=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
