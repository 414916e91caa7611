"""One run on several devices: one process per device (distributed data parallel); all take the same steps together.

Rank 0 is the process that was asked to train: only rank 0 holds the lock and writes. It starts the others
(training/leader.py), which follow it (training/follower.py). Each rank takes its rows of every batch. Gradients and
losses are summed, weighted by each rank's share of the rows, so that a step equals the step of one process on the
whole batch.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import _abort_process_group

from rnnlab.config.run_config import TrainerConfig
from rnnlab.errors import RunFailed, UserError

LATEST = timedelta(minutes=30)  # the longest time that one rank waits for another in a step


def settle(trainer: TrainerConfig) -> None:
    """Raises UserError for `devices=auto` or -1 on a machine with several GPUs: their number decides a run's numbers,
    and so must be in its config.
    """
    asked = trainer["devices"]
    if asked not in ("auto", -1):
        return
    there = torch.cuda.device_count() if trainer["accelerator"] == "gpu" else 1
    if there > 1:
        raise UserError(
            f"trainer.devices={asked}: this machine has {there} GPUs, and a run's results depend on how many it uses; "
            f"set trainer.devices={there} or 1"
        )


@contextmanager
def ungrouped() -> Iterator[None]:
    """Destroys the process group that some of Lightning's strategies leave: otherwise the next run could form none."""
    formed = distributed.is_initialized()
    try:
        yield
    finally:
        if not formed and distributed.is_initialized():
            distributed.destroy_process_group()


# ---------------------------------------------------------------------- communication between ranks


class World:
    """The processes that train one run, seen from one of them."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.first_row = 0
        """The first row of this rank in the last batch that `rows` divided."""

    def part(self, rows: int) -> tuple[int, int]:
        """The range of this rank in a batch of `rows` rows: (first, last + 1)."""
        return rows * self.rank // self.size, rows * (self.rank + 1) // self.size

    def rows(self, batch: Any) -> tuple[Any, float]:
        """The rows of this rank in a batch (a tuple of tensors (B, ...) and flags), and their share of all rows.

        Where there are fewer rows than ranks, a rank without rows gets the first row, with a share of 0.
        """
        rows = next(len(one) for one in batch if isinstance(one, Tensor))
        first, end = self.part(rows)
        share = (end - first) / rows
        if not share:
            first, end = 0, 1
        self.first_row = first
        taken = [one[first:end] if isinstance(one, Tensor) else one for one in batch]
        return (type(batch)(*taken) if hasattr(batch, "_fields") else tuple(taken)), share

    def add_up(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Replaces the parameters' gradients by their sums over all ranks; returns the summed loss (a 0-d tensor)."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        kind = torch.promote_types(gradients[0].dtype if gradients else loss.dtype, torch.float32)
        flat = torch.cat([one.reshape(-1).to(kind) for one in (*gradients, loss)])
        distributed.all_reduce(flat)
        for gradient, total in zip(gradients, flat[:-1].split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))
        return flat[-1].to(loss.dtype)

    def gather(self, thing: Any) -> list[Any]:
        """The `thing` of each rank, in the order of ranks."""
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, thing)
        return found

    def first(self, *said: str) -> tuple[str, ...]:
        """For each text the value of the first rank whose text is not empty; "" where all are empty."""
        any_said = torch.tensor([any(said)], dtype=torch.uint8)
        distributed.all_reduce(any_said, distributed.ReduceOp.MAX)
        if not any_said.item():
            return said
        return tuple(next(filter(None, words), "") for words in zip(*self.gather(said), strict=True))

    def any(self, said: bool) -> bool:
        """Whether `said` is true on any rank."""
        found = torch.tensor([said], dtype=torch.uint8)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return bool(found.item())

    def align(self, module: torch.nn.Module, step: int) -> None:
        """Copies rank 0's buffers to all ranks. Raises RunFailed on every rank where their parameters differ."""
        for buffer in module.buffers():
            distributed.broadcast(buffer.data, 0)
        digest = hashlib.sha256()
        for parameter in module.parameters():
            # flattened, because a single number cannot be viewed as bytes
            values = parameter.detach().cpu().flatten().contiguous()
            digest.update(values.view(torch.uint8).numpy().tobytes())
        if len(set(self.gather(digest.hexdigest()))) > 1:
            raise RunFailed(
                f"the weights differ between the {self.size} processes at step {step}: something draws or changes them "
                "differently in each; trainer.devices=1 trains it"
            )

    def connect(self, store: str, accelerator: str) -> None:
        """Joins the process group: gloo on the loopback interface for CPUs, and NCCL for GPUs."""
        name, hook = "GLOO_SOCKET_IFNAME", sys.excepthook
        given = os.environ.get(name)
        os.environ[name] = given or ("lo" if sys.platform == "linux" else "lo0")
        try:
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if accelerator == "gpu" else "gloo",
                store=distributed.FileStore(store, self.size),
                rank=self.rank,
                world_size=self.size,
                timeout=LATEST,
            )
        finally:
            sys.excepthook = hook  # torch's own puts "[rank0]:" before each line of an error
            if given is None:
                del os.environ[name]

    def disconnect(self) -> None:
        """Leaves the process group after all ranks have ended in the same way."""
        distributed.destroy_process_group()

    def give_up(self) -> None:
        """Aborts the process group after a rank has died: pending operations would wait for it."""
        with suppress(Exception):
            _abort_process_group()
        with suppress(Exception):
            distributed.destroy_process_group()


# ---------------------------------------------------------------------- Lightning


class Ranks(ClusterEnvironment):
    """Tells Lightning the rank of this process, and that the other processes are started already."""

    creates_processes_externally = True
    main_address = ""  # not used: the processes are connected already
    main_port = 0

    def __init__(self, world: World) -> None:
        self.world = world

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.world.size

    def global_rank(self) -> int:
        return self.world.rank

    def local_rank(self) -> int:
        return self.world.rank

    def node_rank(self) -> int:
        return 0

    def set_world_size(self, size: int) -> None:
        assert size == self.world.size

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.world.rank


class Together(DDPStrategy):
    """Lightning's DDPStrategy, except that it launches no process, and that the task sums the gradients itself.

    So parameters may be frozen and unfrozen during training, and accumulated gradients are exchanged once a step.
    """

    def __init__(self, world: World) -> None:
        super().__init__(cluster_environment=Ranks(world))

    def _configure_launcher(self) -> None:
        """Launches nothing: the processes are started already."""

    def configure_ddp(self) -> None:
        """Copies rank 0's weights to all ranks, as torch's DistributedDataParallel does."""
        assert self.model is not None
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            distributed.broadcast(tensor.data, 0)


def is_of_connection(error: BaseException) -> bool:
    """Whether an error means that another rank does not answer."""
    words = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "process group")
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )
