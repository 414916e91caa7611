"""Gives runs to workers, the longest first. A run that fails does not affect other runs."""

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Generic, TypeVar

from rnnlab.errors import RunFailed, UserError, warn
from rnnlab.runs.files import write_whole
from rnnlab.runs.lock import is_locked, lock
from rnnlab.runs.record import ENDED, Record
from rnnlab.runs.run import now
from rnnlab.signals import listening
from rnnlab.sweeps.due_run import DueRun
from rnnlab.sweeps.forkserver import LEFT
from rnnlab.sweeps.interning import Interner
from rnnlab.sweeps.job import Job, Outcome
from rnnlab.sweeps.pool import LOST, MOVED, Ending, Pool, WorkerHandle
from rnnlab.sweeps.visible_gpus import least_used, names_of
from rnnlab.sweeps.worker import FromWorker, Step, Validated, Waits

MOST_LOST = 3  # how often a run may lose its worker's node before it counts as failed
SHORT = 5.0  # seconds: in longer runs, waiting for the disk is too small a part to be worth another worker
RETRY_LOCKED = 1.0  # seconds after which a run that another process trains is tried again

R = TypeVar("R", bound=DueRun)


class View(Generic[R]):
    """Is told the progress of a sweep. This base class shows nothing; a subclass overrides what it needs."""

    def added(self, planned: R) -> None: ...
    def started(self, planned: R) -> None: ...
    def progressed(self, planned: R, step: int) -> None: ...
    def ended(self, planned: R, outcome: Outcome) -> None: ...
    def tick(self) -> None: ...


class Source(Generic[R]):
    """Provides more runs while workers train. This base class provides none: all runs are known at the start."""

    judges = False  # whether `validated` is called

    def more(self, idle: int) -> list[R]:
        """Runs for `idle` workers; fewer, or none, where others must end first."""
        return []

    @property
    def open(self) -> bool:
        """Whether more runs may come, now or after those under way have ended."""
        return False

    def validated(self, planned: R, step: int, value: float) -> str:
        """Why a run is pruned after this validation; "" where it continues."""
        return ""

    def ended(self, planned: R, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class PoolOptions:
    """The number of workers for each accelerator, and what happens when workers grow or runs fail."""

    workers: dict[str, int]
    gpus: int = 0
    renew_bytes: float = 1e9  # a worker whose memory has grown by so much is replaced
    max_failures: int | None = None
    pictures: bool = False
    gpus_each: int = 1  # GPUs of each worker
    lends: bool = False  # while a worker's run waits for the disk, one more worker may use its core


@dataclass
class Scheduler(Generic[R]):
    pool: Pool
    options: PoolOptions
    view: View[R]
    command: list[str]
    source: Source[R] = field(default_factory=Source)
    workers: list[WorkerHandle] = field(default_factory=list)
    idle: list[WorkerHandle] = field(default_factory=list)  # workers without a run: few, even among thousands
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    stopping: str = ""  # why no further run is started; "" while runs are started
    _interner: Interner = field(default_factory=Interner)
    _kinds: Counter[str] = field(default_factory=Counter)  # workers of each kind
    # of these: those that train and do not lend their core
    _at_work: Counter[str] = field(default_factory=Counter)
    # kinds with fewer workers than asked for: none could be started
    _short: set[str] = field(default_factory=set)
    _moved: set[int] = field(default_factory=set)  # runs given to a second worker: the first was stopped
    # runs given to another worker after their training had begun
    _begun: set[int] = field(default_factory=set)
    _lost: Counter[int] = field(default_factory=Counter)  # {run: how often it has lost its worker's node}
    _signals: list[int] = field(default_factory=list)
    _handled: int = 0  # how many of these signals were handled
    _failures: int = 0

    def run(self, due: Sequence[R] = (), restart: bool = False) -> dict[int, Outcome]:
        """Trains the runs of `due` and of the source; returns {index: outcome}, without runs that were not started.
        Runs of the source get the indices after `due`.

        `restart` trains a finished run again from its start.
        """
        self.due, self.restart = list(due), restart
        self.waiting: dict[str, deque[int]] = {}
        for i, planned in enumerate(due):
            self.waiting.setdefault(planned.accelerator, deque()).append(i)
        self.locked: dict[int, float] = {}  # {run that another process trains: when to try again}
        self._ended = {i: ending(p.run.known) for i, p in enumerate(due) if p.status in ENDED}
        with self._listening():
            try:
                while len(self.workers) > len(self.idle) or self._runs_left():
                    self._handle_signals()
                    self._ask_for_more()
                    self._start_workers()
                    self._assign()
                    for worker, message in self.pool.ready(self.workers, timeout=0.1):
                        self._receive(worker, message)
                    self.view.tick()
                # a signal may arrive together with the last outcome, and the caller must learn of it
                self._handle_signals()
            finally:
                self._stop_workers()
        return self.outcomes

    def _runs_left(self) -> bool:
        return not self.stopping and (any(self.waiting.values()) or bool(self.locked) or self.source.open)

    def _ask_for_more(self) -> None:
        """Takes runs from the source when workers would be idle."""
        if self.stopping or not self.source.open:
            return
        busy = len(self.workers) - len(self.idle)
        idle = max(self.options.workers.values()) - busy - sum(map(len, self.waiting.values()))
        for planned in self.source.more(idle) if idle > 0 else ():
            self.waiting.setdefault(planned.accelerator, deque()).append(len(self.due))
            self.due.append(planned)
            self.view.added(planned)

    # ------------------------------------------------------------------ workers

    def _start_workers(self) -> None:
        """Starts as many workers of each kind as there may be, and no more than there are runs for them. One more for
        each worker that lends its core, but only a few, because each takes memory.
        """
        for kind, queue in () if self.stopping else self.waiting.items():
            idle = sum(worker.kind == kind for worker in self.idle)
            asked = self.options.workers.get(kind, 1)
            lent = min(self._kinds[kind] - idle - self._at_work[kind], max(2, asked // 4))
            most = min(asked + lent, self.pool.room(kind))
            wanted = min(most - self._kinds[kind], len(queue) - idle)
            for _ in range(wanted):
                names = names_of(self.options.gpus if kind == "gpu" else 0)
                gpu = least_used(names, self.options.gpus_each, (worker.gpu for worker in self.workers))
                if not self._start_worker(kind, gpu):
                    break

    def _start_worker(self, kind: str, gpu: str | None) -> bool:
        """Returns whether one more worker was started. Where none can be, the sweep goes on with those that there are;
        it raises RunFailed where there is none.
        """
        try:
            worker = self.pool.open(kind, gpu)
        except RunFailed as failed:
            if not self.workers:
                raise
            if kind not in self._short:
                warn(f"no more than {len(self.workers)} workers could be started: {failed.args[-1]}")
            self._short.add(kind)
            most = max(1, self._kinds[kind])
            self.options = replace(self.options, workers=self.options.workers | {kind: most}, lends=False)
            return False
        self.workers.append(worker)
        self.idle.append(worker)
        self._kinds[kind] += 1
        return True

    def _stop_worker(self, worker: WorkerHandle) -> str:
        self.workers.remove(worker)
        self._kinds[worker.kind] -= 1
        if worker in self.idle:
            self.idle.remove(worker)
        else:
            self._leave_core(worker)
        return self.pool.close(worker)

    def _stop_workers(self) -> None:
        for worker in list(self.workers):
            if worker.job is not None:
                self.pool.stop(worker, signal.SIGKILL)
            self._stop_worker(worker)

    def _assign(self) -> None:
        """Gives each idle worker the next run."""
        if self.stopping:
            return
        for number, when in list(self.locked.items()):
            if time.monotonic() > when:
                del self.locked[number]
                self.waiting[self.due[number].accelerator].append(number)
        over = not (self.locked or self.source.open)
        for worker in list(self.idle):
            queue = self.waiting[worker.kind]
            if not queue and over:
                self._stop_worker(worker)  # on a cluster, others may wait for its place
            elif queue and self._at_work[worker.kind] < self.options.workers.get(worker.kind, 1):
                number = queue.popleft()
                planned = self.due[number]
                now_ended, finished = ending(planned.run.known), planned.status in ENDED
                # also where another sweep has trained it since: it is not trained again for the same reason
                begun = number in self._begun or now_ended != self._ended.get(number, now_ended)
                config = planned.config | {"rerun": False} if begun else planned.config
                job = Job(number, config, planned.place, planned.overrides,
                          [*self.command, *planned.overrides], self.restart and finished and not begun,
                          self.options.pictures, self.source.judges)  # fmt: skip
                worker.job, worker.since, worker.lends = number, time.monotonic(), False
                self.idle.remove(worker)
                self._at_work[worker.kind] += 1
                worker.before = now_ended
                try:
                    self.pool.send(worker, job)
                except OSError:  # the worker is dead; `_receive` handles that
                    continue
                self.view.started(planned)

    def _receive(self, worker: WorkerHandle, message: FromWorker | None) -> None:
        if message is None:
            self._worker_died(worker)
            return
        if isinstance(message, Step):
            self.view.progressed(self.due[message.number], message.step)
            return
        if isinstance(message, Validated):
            planned = self.due[message.number]
            why = "" if self.stopping else self.source.validated(planned, message.step, message.value)
            with suppress(OSError):  # the worker is dead; the next `ready` reports it
                self.pool.send(worker, why)
            return
        if isinstance(message, Waits):
            if self.options.lends and worker.kind == "cpu" and time.monotonic() < worker.since + SHORT:
                self._leave_core(worker)
                worker.lends = True
            return
        self._leave_core(worker)
        worker.job, worker.lends = None, False
        self.idle.append(worker)
        if message.status == "locked" and not self.stopping:
            self.locked[message.number] = time.monotonic() + RETRY_LOCKED
        elif message.status == "stopped" and not self.stopping:
            self._worker_stopped(worker, message)
            return
        else:
            self._finish(message)
        worker.memory = worker.memory or message.memory
        if message.memory > worker.memory + self.options.renew_bytes and not self.stopping:
            self._stop_worker(worker)
            self._start_worker(worker.kind, worker.gpu)

    def _leave_core(self, worker: WorkerHandle) -> None:
        if not worker.lends:
            self._at_work[worker.kind] -= 1

    def _worker_stopped(self, worker: WorkerHandle, outcome: Outcome) -> None:
        """A signal has stopped a worker, but not (yet) the sweep: another worker resumes the run, but only once."""
        self._stop_worker(worker)
        if outcome.number in self._moved:
            record = self._record_failure(outcome.number, outcome.why)
            self._finish(replace(outcome, status="failed", record=record))
        else:
            self._moved.add(outcome.number)
            self._put_back(worker.kind, outcome.number)
        self._start_worker(worker.kind, worker.gpu)

    def _put_back(self, kind: str, number: int) -> None:
        """Makes a run that has lost its worker the next one. If its training had begun, it resumes, and does not begin
        again because of rerun=true or sweep.stale=rerun.
        """
        if self.due[number].run.known.get("status") not in ENDED:
            self._begun.add(number)
        self.waiting[kind].appendleft(number)

    def _worker_died(self, worker: WorkerHandle) -> None:
        why = self._stop_worker(worker)
        if worker.job is not None:
            run = self.due[worker.job].run
            record = run.known
            if record.get("status") in (*ENDED, "pruned") and ending(record) != worker.before:
                # the worker died after the run's end, before its message
                self._finish(Outcome(worker.job, record["status"], record.get("why", ""), record))
            elif self.stopping:
                with suppress(OSError):
                    untouched = record.get("status") not in (*ENDED, "failed") and not is_locked(run.folder)
                    if run.is_there and untouched:
                        run.update(status="stopped", ended=now(), why=why)
                self._finish(Outcome(worker.job, "stopped", why, run.known))
            elif why == LEFT and worker.job not in self._moved:  # it exited before it started this run
                self._moved.add(worker.job)
                self.waiting[worker.kind].appendleft(worker.job)
            elif why == MOVED:
                self._put_back(worker.kind, worker.job)
            elif why == LOST and self._lost[worker.job] < MOST_LOST:
                self._lost[worker.job] += 1
                self._put_back(worker.kind, worker.job)
            else:
                self._finish(Outcome(worker.job, "failed", why, self._record_failure(worker.job, why)))
        if not self.stopping and self._kinds[worker.kind] < self.pool.room(worker.kind):
            self._start_worker(worker.kind, worker.gpu)

    def _record_failure(self, number: int, why: str) -> Record:
        """Marks a run as failed for an outside reason, so that it can resume; returns its record.

        Where its folder was deleted, its disk is full, or another process trains it, only the returned record changes.
        """
        run = self.due[number].run
        if run.known.get("status") in (*ENDED, "failed"):
            return run.known
        failed: Record = {"status": "failed", "ended": now(), "why": why, "can_go_on": True}
        try:
            if run.is_there:
                with lock(run.folder):
                    write_whole(run.folder / "traceback.txt", f"{why}\n".encode())
                    run.update(**failed, traceback="traceback.txt")
                from rnnlab.tensorboard.event_files import show_failure  # slow to import and rarely needed

                show_failure(run)
                return run.known
        except (OSError, UserError):
            pass
        return run.known | failed

    def _finish(self, outcome: Outcome) -> None:
        outcome.record = self._interner.record(outcome.record)
        self.outcomes[outcome.number] = outcome
        self.view.ended(self.due[outcome.number], outcome)
        self.source.ended(self.due[outcome.number], outcome)
        if outcome.status == "failed":
            self._failures += 1
            if self._failures == self.options.max_failures:
                self.stop(f"sweep.max_failures={self._failures}")

    # ------------------------------------------------------------------ stopping

    def stop(self, why: str, by: int = signal.SIGTERM) -> None:
        """Starts no further run. Workers write a checkpoint of their run and exit; they get the signal `by`."""
        self.stopping = self.stopping or why
        for worker in self.workers:
            if worker.job is not None:
                self.pool.stop(worker, by)

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        """Only notes the signal: a job that is being sent at this moment would miss a stop."""
        if not (number == signal.SIGHUP and self._signals):  # the terminal and its shell both send it
            self._signals.append(number)

    def _handle_signals(self) -> None:
        while self._handled < len(self._signals):
            number = self._signals[self._handled]
            self._handled += 1
            # the second signal is sent to the workers, and interrupts their runs; the third ends them at once
            if self._handled > 2:
                for worker in self.workers:
                    self.pool.stop(worker, signal.SIGKILL)
            self.stop(signal.Signals(number).name, number)

    def _listening(self) -> AbstractContextManager[None]:
        in_main = threading.current_thread() is threading.main_thread()
        return listening(self._note_signal) if in_main else nullcontext()


def ending(record: Record) -> Ending:
    """What tells an end of a run from an earlier one, whose second may be the same."""
    return record.get("status"), record.get("ended"), record.get("results", {}).get("steps")
