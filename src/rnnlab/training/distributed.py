"""One run on several devices: a process for each (distributed data parallel), which take the same steps together.

Rank 0 is the process that was asked to train: it alone holds the lock and writes. It starts the others
(training/leader.py), which follow it (training/follower.py). Each takes its rows of every batch; gradients and losses
are added up with the weights of these rows, so that a step is the step of one process on the whole batch.
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

from rnnlab.config.checked import TrainerConfig
from rnnlab.errors import RunFailed, UserError

LATEST = timedelta(minutes=30)  # that one rank waits for another in a step


def settle(trainer: TrainerConfig) -> None:
    """Makes `devices` of a Trainer's config a number that any machine reads alike. Raises UserError where it cannot."""
    asked = trainer["devices"]
    if asked not in ("auto", -1):
        return
    there = torch.cuda.device_count() if trainer["accelerator"] == "gpu" else 1
    if there > 1:
        raise UserError(
            f"trainer.devices={asked}: this machine has {there}, and the number decides a run's numbers; "
            f"set trainer.devices={there}, or 1"
        )


@contextmanager
def ungrouped() -> Iterator[None]:
    """Ends the group that one of Lightning's strategies forms and leaves behind: the next run could form none."""
    formed = distributed.is_initialized()
    try:
        yield
    finally:
        if not formed and distributed.is_initialized():
            distributed.destroy_process_group()


# ---------------------------------------------------------------------- what a rank does with the others


class World:
    """The processes that train one run, seen from one of them."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.first_row = 0
        """Where this rank's rows begin in the batch last taken."""

    def part(self, rows: int) -> tuple[int, int]:
        """Which of so many rows are this rank's: from the first to the one behind the last."""
        return rows * self.rank // self.size, rows * (self.rank + 1) // self.size

    def rows(self, batch: Any) -> tuple[Any, float]:
        """Of a batch, a tuple of tensors (B, ...) and flags, the rows of this rank, and their share of all.

        Where there are fewer rows than ranks, one that gets none is given the first, with a share of 0.
        """
        rows = next(len(one) for one in batch if isinstance(one, Tensor))
        first, behind = self.part(rows)
        share = (behind - first) / rows
        if not share:
            first, behind = 0, 1
        self.first_row = first
        taken = [one[first:behind] if isinstance(one, Tensor) else one for one in batch]
        return (type(batch)(*taken) if hasattr(batch, "_fields") else tuple(taken)), share

    def add_up(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Gives the parameters the sum of all ranks' gradients, and returns that of their losses (a 0-d tensor)."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        kind = torch.promote_types(gradients[0].dtype if gradients else loss.dtype, torch.float32)
        flat = torch.cat([one.reshape(-1).to(kind) for one in (*gradients, loss)])
        distributed.all_reduce(flat)
        for gradient, total in zip(gradients, flat[:-1].split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))
        return flat[-1].to(loss.dtype)

    def gather(self, thing: Any) -> list[Any]:
        """What each rank gives, in their order."""
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, thing)
        return found

    def first(self, *said: str) -> tuple[str, ...]:
        """Of each word what the first rank says that has something to say; "" where none has."""
        any_said = torch.tensor([any(said)], dtype=torch.uint8)
        distributed.all_reduce(any_said, distributed.ReduceOp.MAX)
        if not any_said.item():
            return said
        return tuple(next(filter(None, words), "") for words in zip(*self.gather(said), strict=True))

    def any(self, said: bool) -> bool:
        """Whether any of the ranks says so."""
        found = torch.tensor([said], dtype=torch.uint8)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return bool(found.item())

    def align(self, module: torch.nn.Module, step: int) -> None:
        """Gives all ranks rank 0's buffers. Raises RunFailed on each where their weights are no longer the same."""
        for buffer in module.buffers():
            distributed.broadcast(buffer.data, 0)
        digest = hashlib.sha256()
        for parameter in module.parameters():
            digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        if len(set(self.gather(digest.hexdigest()))) > 1:
            raise RunFailed(
                f"the weights of the {self.size} processes have parted by step {step}: something draws or changes them "
                "differently on each; trainer.devices=1 trains it"
            )

    def connect(self, store: str, accelerator: str) -> None:
        """Lets the ranks hear each other: CPUs through gloo on this machine's own address, GPUs through NCCL."""
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
            sys.excepthook = hook  # torch has put "[rank0]:" before each line of an error
            if given is None:
                del os.environ[name]

    def disconnect(self) -> None:
        """When all have come to the same end."""
        distributed.destroy_process_group()

    def give_up(self) -> None:
        """When one has gone, for which what was begun would wait."""
        with suppress(Exception):
            _abort_process_group()
        with suppress(Exception):
            distributed.destroy_process_group()


# ---------------------------------------------------------------------- Lightning


class Ranks(ClusterEnvironment):
    """Tells Lightning which rank this process is, and that the others are there."""

    creates_processes_externally = True
    main_address = ""  # nobody asks: the processes are connected before
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
    """Lightning's strategy, but that nothing is launched, and that a task adds up its gradients itself.

    So parameters may be frozen and thawed on the way, and accumulated batches are exchanged once a step.
    """

    def __init__(self, world: World) -> None:
        super().__init__(cluster_environment=Ranks(world))

    def _configure_launcher(self) -> None:
        """The processes are there."""

    def configure_ddp(self) -> None:
        """All ranks begin with rank 0's weights, as under torch's DistributedDataParallel."""
        assert self.model is not None
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            distributed.broadcast(tensor.data, 0)


def is_of_connection(error: BaseException) -> bool:
    """Whether an error says that another rank does not answer."""
    words = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "process group")
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )
