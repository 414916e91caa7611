"""Workers as actors of a Ray cluster: an existing one, or one that is started on this machine.

Workers and driver share the file system with the runs, and a mailbox, which is an actor on the driver's node.
"""

import asyncio
import os
import platform
import signal
import socket
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.config.run_config import SweepConfig
from rnnlab.errors import UserError
from rnnlab.runs.files import write_whole
from rnnlab.runs.run import Run
from rnnlab.sweeps.job import DataSets, Job, Listener, Outcome, train_job
from rnnlab.sweeps.pack import refuse_others, surroundings
from rnnlab.sweeps.pool import LOST, Heard, WorkerHandle
from rnnlab.sweeps.worker import HEARTBEAT, Step, ToWorker, Validated

if TYPE_CHECKING:
    from lightning import Trainer

Letter = tuple[int, Step | Validated]  # from a worker of this number

LATE = 10.0  # seconds after a worker's end, by which Ray reports the end of its node
SILENT = 90.0  # seconds by which Ray gives up a node that does not answer: 20 to 70 by Ray's defaults


def cluster_devices(options: SweepConfig) -> dict[str, str]:
    """The accelerators of a worker, best first."""
    cpu = {"cpu": "the cluster's cores"}
    return {"gpu": "the cluster's GPUs"} | cpu if options["ray"]["gpus"] else cpu


def require_answer(address: str | None) -> None:
    """Raises UserError where nothing listens at HOST:PORT, because Ray would retry for many minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or "/" in host or not port.isdecimal():  # auto, local, ray://...: Ray checks these
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"sweep.ray.address={address}: no cluster answers there: {error}") from None


def first_line(error: Exception) -> str:
    """The first line of an error's message; its class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class Mailbox:
    """Passes messages ("letters") of workers to the driver, and its answers. An actor with concurrent calls."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.come = asyncio.Event()
        self.answers: dict[int, asyncio.Future[str]] = {}
        self.stopped: set[int] = set()

    async def tell(self, worker: int, step: Step) -> bool:
        """Posts a step; returns whether the worker must stop."""
        self._post(worker, step)
        return worker in self.stopped

    async def ask(self, worker: int, validated: Validated) -> str:
        self.answers[worker] = asyncio.get_running_loop().create_future()
        self._post(worker, validated)
        return await self.answers[worker]

    async def answer(self, worker: int, why: str) -> None:
        if worker in self.answers and not self.answers[worker].done():
            self.answers[worker].set_result(why)

    async def stop(self, worker: int) -> None:
        self.stopped.add(worker)

    async def take(self) -> list[Letter]:
        """All letters; waits until there is one."""
        await self.come.wait()
        self.come.clear()
        letters, self.letters = self.letters, []
        return letters

    def _post(self, worker: int, message: Step | Validated) -> None:
        self.letters.append((worker, message))
        self.come.set()


class RayWorker(Listener):
    """A warm worker, as a Ray actor with its own process."""

    def __init__(self, number: int, mailbox: Any) -> None:
        import ray
        import torch

        torch.set_num_threads(1)
        self.ray, self.worker, self.mailbox = ray, number, mailbox
        self.data_sets, self.job = DataSets(), -1
        self.trainer: Trainer | None = None
        self.leaving = False
        threading.Thread(target=self.heartbeat, daemon=True).start()

    def begin(self, about: dict[str, str], here: str, path: list[str]) -> str:
        """Takes over the driver's working folder and sys.path; returns this node's id. Raises UserError where this node
        cannot train the driver's runs.
        """
        try:
            os.chdir(here)
        except OSError:
            raise UserError(
                f"{platform.node()} has no folder {here}; driver and workers need one file system"
            ) from None
        sys.path[:] = [*path, *(p for p in sys.path if p not in path)]
        refuse_others(about, surroundings())
        return self.ray.get_runtime_context().get_node_id()

    def train(self, job: Job) -> Outcome:
        if not job.place.folder.parent.is_dir():
            raise UserError(
                f"{platform.node()} has no folder {job.place.folder.parent}; driver and workers need one file system"
            )
        self.job, self.trainer, printed = job.number, None, StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            outcome = train_job(job, self.data_sets, self, lambda: self.leaving)
        self.job = -1
        with suppress(OSError):
            if printed.getvalue() and (run := Run(job.place.folder)).is_there:
                write_whole(run.folder / "output.txt", printed.getvalue().encode())
        return outcome

    def heartbeat(self) -> None:
        while True:
            time.sleep(HEARTBEAT)
            number, trainer = self.job, self.trainer
            if number >= 0 and trainer is not None:
                told = self.mailbox.tell.remote(self.worker, Step(number, trainer.global_step))
                self.leaving = self.leaving or self.ray.get(told)

    # ------------------------------------------------------------------ while a job is trained

    def began(self, trainer: "Trainer") -> None:
        self.trainer = trainer

    def validated(self, step: int, value: float) -> str:
        return self.ray.get(self.mailbox.ask.remote(self.worker, Validated(self.job, step, value)))

    def stop(self) -> str:
        return "the sweep was stopped" if self.leaving else ""


@dataclass
class RayPool:
    """Workers in a Ray cluster. `options` is the `sweep` section. Raises UserError where Ray is not installed, or where
    the cluster cannot be reached.
    """

    options: SweepConfig
    cores_each: int = 1  # cores of a run
    gpus_each: int = 1
    actors: dict[int, Any] = field(default_factory=dict)
    nodes: dict[int, str] = field(default_factory=dict)  # {worker: its node}, once `begin` has returned it
    greetings: dict[Any, int] = field(default_factory=dict)  # {pending call of `begin`: worker}
    trainings: dict[Any, int] = field(default_factory=dict)
    died: dict[int, str] = field(default_factory=dict)
    unsure: dict[int, float] = field(default_factory=dict)  # {dead worker: how long to wait for its node}

    def __post_init__(self) -> None:
        self.asked = self.options["ray"]
        try:
            import ray
        except ImportError as error:
            raise UserError("sweep.pool=ray: needs Ray: pip install 'rnnlab[ray]'") from error
        self.ray = ray
        self.own = not ray.is_initialized()
        if self.own:
            require_answer(self.asked["address"])
            try:
                ray.init(address=self.asked["address"], log_to_driver=False, logging_level="error",
                         include_dashboard=False if self.asked["address"] is None else None)  # fmt: skip
            except Exception as error:
                raise UserError(f"sweep.ray.address={self.asked['address']}: {first_line(error)}") from error
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self.mailbox: Any = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        self.letters = self.mailbox.take.remote()
        self.about = surroundings()

    def room(self, kind: str) -> int:
        """How many workers fit on the nodes that are alive now."""
        amounts = self._share(kind)
        found = 0
        for node in self.ray.nodes():
            if node["Alive"]:
                has = {
                    "num_cpus": node["Resources"].get("CPU", 0),
                    "num_gpus": node["Resources"].get("GPU", 0),
                }
                found += int(min((has[key] + 1e-6) / amount for key, amount in amounts.items()))
        return found

    def _share(self, kind: str) -> dict[str, float]:
        if kind == "gpu":
            each = self.gpus_each if self.gpus_each > 1 else 0
            return {"num_cpus": self.asked["cpus"], "num_gpus": max(self.asked["gpus"], each)}
        return {"num_cpus": max(self.asked["cpus"], self.cores_each if self.cores_each > 1 else 0)}

    def needs(self, kind: str) -> str:
        return ", ".join(f"{key[4:]} {amount:g}" for key, amount in self._share(kind).items())

    def open(self, kind: str, gpu: str | None = None) -> WorkerHandle:
        number = len(self.actors)
        actor = self.ray.remote(RayWorker).options(**self._share(kind)).remote(number, self.mailbox)
        self.actors[number] = actor
        self.greetings[actor.begin.remote(self.about, str(Path.cwd()), sys.path)] = number
        return WorkerHandle(number, kind)

    def send(self, worker: WorkerHandle, message: ToWorker) -> None:
        if isinstance(message, Job):
            self.trainings[self.actors[worker.pid].train.remote(message)] = worker.pid
        else:
            self.mailbox.answer.remote(worker.pid, message)

    def ready(self, workers: list[WorkerHandle], timeout: float) -> Heard:
        """As `Pool.ready`. Raises UserError where a node cannot train the driver's runs."""
        of = {worker.pid: worker for worker in workers}
        waiting = [self.letters, *self.greetings, *self.trainings]
        found, _ = self.ray.wait(waiting, num_returns=1, timeout=timeout)
        found, _ = self.ray.wait(waiting, num_returns=len(waiting), timeout=0) if found else ([], [])
        heard: Heard = []
        for ref in found:
            if ref == self.letters:
                heard += [(of[n], letter) for n, letter in self.ray.get(ref) if n in of]
                self.letters = self.mailbox.take.remote()
                continue
            greeting = ref in self.greetings
            number = (self.greetings if greeting else self.trainings).pop(ref)
            try:
                answer = self.ray.get(ref)
            except self.ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise error.cause from None
                raise
            except self.ray.exceptions.RayError as error:
                silent = isinstance(error, self.ray.exceptions.ActorUnavailableError)
                self.died.setdefault(number, LOST if silent else first_line(error))
                self.unsure.setdefault(number, time.monotonic() + (SILENT if silent else LATE))
                continue
            if greeting:
                self.nodes[number] = answer
            elif number in of:
                heard.append((of[number], answer))
        return heard + [(of[number], None) for number in self._gone() if number in of]

    def _gone(self) -> list[int]:
        """Workers that have died or do not answer, as soon as it is known whether their node is lost."""
        now = time.monotonic()
        found = [n for n, until in self.unsure.items() if now > until or self._on_lost_node(n)]
        for number in found:
            del self.unsure[number]
        return found

    def _on_lost_node(self, number: int) -> bool:
        """Whether a worker's node is lost; also true for an unknown node, where the worker died before it had begun."""
        return self.nodes.get(number) not in {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}

    def stop(self, worker: WorkerHandle, by: int = signal.SIGTERM) -> None:
        if by == signal.SIGKILL or worker.pid not in self.nodes:  # it cannot hear before it has begun
            self.ray.kill(self.actors[worker.pid])
        else:
            self.mailbox.stop.remote(worker.pid)
        if worker.pid in self.unsure:  # do not wait for news of the node
            self.unsure[worker.pid] = 0.0

    def close(self, worker: WorkerHandle) -> str:
        """As `Pool.close`: LOST where the worker's node is lost."""
        number = worker.pid
        for refs in (self.greetings, self.trainings):
            for ref in [ref for ref, of in refs.items() if of == number]:
                del refs[ref]
        self.unsure.pop(number, None)
        self.ray.kill(self.actors[number])
        if number not in self.died:
            return "it was let go"
        return LOST if number in self.nodes and self._on_lost_node(number) else self.died[number]

    def end(self) -> None:
        """Leaves the cluster; a cluster that was started for this sweep ends."""
        if self.own:
            self.ray.shutdown()
