"""Runs to workers: longest first, nobody waits for anybody, whatever becomes of one run costs only that run."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from rnnlab.runs.files import write_whole
from rnnlab.runs.run import now
from rnnlab.signals import listening
from rnnlab.sweeps.forkserver import LEFT, Nursery
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.worker import Job, Outcome

REVISIT = 1.0  # seconds between two looks at a run that another process has


class View(Protocol):
    """Whoever shows a sweep."""

    def began(self, planned: Planned) -> None: ...
    def ended(self, planned: Planned, outcome: Outcome) -> None: ...
    def at(self, planned: Planned, step: int) -> None: ...
    def tick(self) -> None: ...


@dataclass(frozen=True)
class Staff:
    """How many workers each accelerator has, and how much memory one may gain before it is replaced."""

    workers: dict[str, int]
    gpus: int = 0
    renew_bytes: float = 1e9
    max_failures: int | None = None
    pictures: bool = False


@dataclass
class Desk:
    """A worker as the conductor sees it."""

    pid: int
    connection: Connection
    kind: str
    gpu: int | None = None
    job: int | None = None
    ended: str | None = None  # when the job's run had finished before, where it had
    memory: int = 0  # after its first run


@dataclass
class Conductor:
    nursery: Nursery
    staff: Staff
    view: View
    command: list[str]
    desks: list[Desk] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    stopping: str = ""  # why no further run is begun
    _resumed: set[int] = field(default_factory=set)  # runs whose worker alone was told to stop
    _signals: list[int] = field(default_factory=list)
    _obeyed: int = 0  # of these
    _failures: int = 0

    def conduct(self, due: Sequence[Planned], afresh: bool = False) -> dict[int, Outcome]:
        """Trains the runs; what came of each, by its place in `due`. Those that were not begun are missing."""
        self.due, self.afresh = list(due), afresh
        self.waiting = {kind: deque[int]() for kind in {p.accelerator for p in due}}
        for i, planned in enumerate(due):
            self.waiting[planned.accelerator].append(i)
        self.elsewhere: dict[int, float] = {}  # runs that another process has, and when to look again
        with self._listening():
            try:
                self._hire()
                while any(desk.job is not None for desk in self.desks) or self._left():
                    self._obey()
                    self._assign()
                    ready = wait([desk.connection for desk in self.desks], timeout=0.1)
                    for desk in [d for d in self.desks if d.connection in ready]:
                        self._hear(desk)
                    self.view.tick()
                self._obey()  # also what came with the last outcome: whoever asks for more runs must know
            finally:
                self._dismiss()
        return self.outcomes

    def _left(self) -> bool:
        return not self.stopping and (any(self.waiting.values()) or bool(self.elsewhere))

    # ------------------------------------------------------------------ workers

    def _hire(self) -> None:
        for kind, queue in self.waiting.items():
            for i in range(min(self.staff.workers.get(kind, 1), len(queue))):
                self._open(kind, i % self.staff.gpus if kind == "gpu" and self.staff.gpus else None)

    def _open(self, kind: str, gpu: int | None) -> Desk:
        pid, connection = self.nursery.worker()
        desk = Desk(pid, connection, kind, gpu)
        if gpu is not None:
            connection.send({"CUDA_VISIBLE_DEVICES": visible(gpu)})
        self.desks.append(desk)
        return desk

    def _close(self, desk: Desk) -> None:
        self.desks.remove(desk)
        desk.connection.close()  # at which the worker leaves
        self.nursery.end_of(desk.pid)

    def _dismiss(self) -> None:
        for desk in list(self.desks):
            if desk.job is not None:
                kill(desk.pid, signal.SIGKILL)
            self._close(desk)

    def _assign(self) -> None:
        if self.stopping:
            return
        for number, when in list(self.elsewhere.items()):
            if time.monotonic() > when:
                del self.elsewhere[number]
                self.waiting[self.due[number].accelerator].append(number)
        for desk in self.desks:
            if desk.job is None and (queue := self.waiting[desk.kind]):
                number = queue.popleft()
                planned = self.due[number]
                job = Job(number, planned.config(), planned.place, planned.overrides,
                          [*self.command, *planned.overrides], self.afresh and planned.status == "finished",
                          self.staff.pictures)  # fmt: skip
                desk.job = number
                desk.ended = planned.run.known.get("ended") if planned.status == "finished" else None
                try:
                    desk.connection.send(job)
                except OSError:  # it is gone; `_hear` says so
                    continue
                self.view.began(planned)

    def _hear(self, desk: Desk) -> None:
        try:
            said: Any = desk.connection.recv()
        except (EOFError, OSError):
            self._lost(desk)
            return
        if isinstance(said, tuple) and said[0] == "at":
            self.view.at(self.due[said[1]], said[2])
        elif isinstance(said, Outcome):
            desk.job = None
            if said.status == "claimed" and not self.stopping:
                self.elsewhere[said.number] = time.monotonic() + REVISIT
            elif said.status == "stopped" and not self.stopping:
                self._interrupted(desk, said)
                return
            else:
                self._settle(said)
            desk.memory = desk.memory or said.memory
            if said.memory > desk.memory + self.staff.renew_bytes and not self.stopping:
                self._close(desk)
                self._open(desk.kind, desk.gpu)

    def _interrupted(self, desk: Desk, said: Outcome) -> None:
        """A worker alone was told to stop, or the signal for us is still to come: its run goes on elsewhere, once."""
        self._close(desk)
        if said.number in self._resumed:
            self._settle(replace(said, status="failed", record=self._cut_off(said.number, said.why)))
        else:
            self._resumed.add(said.number)
            self.waiting[desk.kind].appendleft(said.number)
        self._open(desk.kind, desk.gpu)

    def _lost(self, desk: Desk) -> None:
        self.desks.remove(desk)
        desk.connection.close()
        why = self.nursery.end_of(desk.pid)
        if desk.job is not None:
            run = self.due[desk.job].run
            record = run.known
            if record.get("status") == "finished" and record.get("ended") != desk.ended:
                self._settle(Outcome(desk.job, "finished", "", record))  # all but the word that it has
            elif self.stopping:
                with suppress(OSError):
                    if run.is_there and record.get("status") not in ("finished", "failed"):
                        run.update(status="stopped", ended=now(), why=why)
                self._settle(Outcome(desk.job, "stopped", why, run.known))
            elif why == LEFT and desk.job not in self._resumed:  # before it had begun this run
                self._resumed.add(desk.job)
                self.waiting[desk.kind].appendleft(desk.job)
            else:
                self._settle(Outcome(desk.job, "failed", why, self._cut_off(desk.job, why)))
        if not self.stopping:
            self._open(desk.kind, desk.gpu)

    def _cut_off(self, number: int, why: str) -> dict[str, Any]:
        """The record of a run that failed through no fault of its own: it can go on from its checkpoint.

        Where its folder is gone, or on a full disk, it is told here alone.
        """
        run = self.due[number].run
        if run.known.get("status") in ("finished", "failed"):
            return run.known
        failed = {"status": "failed", "ended": now(), "why": why, "can_go_on": True}
        try:
            if run.is_there:
                write_whole(run.folder / "traceback.txt", f"{why}\n".encode())
                run.update(**failed, traceback="traceback.txt")
                from rnnlab.training.failures import show_failure  # rarely needed, and not for nothing

                show_failure(run)
                return run.known
        except OSError:
            pass
        return run.known | failed

    def _settle(self, outcome: Outcome) -> None:
        self.outcomes[outcome.number] = outcome
        self.view.ended(self.due[outcome.number], outcome)
        if outcome.status == "failed":
            self._failures += 1
            if self._failures == self.staff.max_failures:
                self.stop(f"sweep.max_failures={self._failures}")

    # ------------------------------------------------------------------ stopping

    def stop(self, why: str) -> None:
        """Begins no further run; those under way write a checkpoint and leave."""
        self.stopping = self.stopping or why
        for desk in self.desks:
            if desk.job is not None:
                kill(desk.pid, signal.SIGTERM)

    def _signalled(self, number: int, frame: Any) -> None:
        """Only notes it: a run that is just being handed out would not be told to stop."""
        if not (number == signal.SIGHUP and self._signals):  # the terminal and the shell in it each send one
            self._signals.append(number)

    def _obey(self) -> None:
        """Does what the signals since the last look ask for."""
        while self._obeyed < len(self._signals):
            number = self._signals[self._obeyed]
            self._obeyed += 1
            # the second interrupts a run at once; who asks once more does not want to wait
            if self._obeyed > 2:
                for desk in self.desks:
                    kill(desk.pid, signal.SIGKILL)
            self.stop(signal.Signals(number).name)

    def _listening(self) -> AbstractContextManager[None]:
        in_main = threading.current_thread() is threading.main_thread()
        return listening(self._signalled) if in_main else nullcontext()


def kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def visible(gpu: int) -> str:
    """The name of the n-th GPU that this process may use."""
    allowed = [g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g]
    return allowed[gpu] if gpu < len(allowed) else str(gpu)
