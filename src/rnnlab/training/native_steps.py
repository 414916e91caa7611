"""The native engine inside Lightning: a training step that is many optimizer steps.

The kernels take whole steps in C, as many in one call as nobody needs to look between: up to the epoch's end, the
next validation, the next checkpoint, `max_steps`. Lightning's own counters are then moved on by as many, so that
`global_step`, loggers, schedules, checkpoints and limits come out as if it had counted each.
"""

import time
from collections.abc import Callable
from operator import is_
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.optim.lr_scheduler import LambdaLR

from rnnlab import native
from rnnlab.data.loader import Loader
from rnnlab.data.module import Split
from rnnlab.native.engine import torch_in_one_thread
from rnnlab.native.flat import Flat
from rnnlab.native.sources import Pairs, Sequences, Source
from rnnlab.native.spec import obstacle
from rnnlab.runs.metrics import Scalars
from rnnlab.tasks.task import Task
from rnnlab.training import schedules
from rnnlab.training.checkpoints import Checkpoints
from rnnlab.training.hooks import STOCK
from rnnlab.training.interventions import Interventions, changed, refusal, same, same_bits, surroundings
from rnnlab.training.loop import Loop
from rnnlab.training.native_obstacles import PER_GRADIENT, another_parameter, code_of

CALL_S = 0.1  # how long a call should take: a signal, the bar and a timed checkpoint wait for its end
PER_BATCH = ("on_train_batch_start", "on_train_batch_end")


def optimizer_of(task: LightningModule) -> torch.optim.Optimizer:
    """The optimizer that a step of the task would take."""
    found: Any = task.optimizers()
    return found.optimizer


def other_options(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The options of its first group that are no rates."""
    return {key: value for key, value in optimizer.param_groups[0].items() if key not in ("params", "lr")}


class Kernels(Callback):
    """Gives a task its steps in C.

    `steps_per_call`: at most so many steps in one call; "auto" takes as many as last about a tenth of a second.
    A callback with hooks for batches or gradients makes the kernels run one by one, with the same bits.
    """

    def __init__(self, checkpoints: Checkpoints, steps_per_call: int | Literal["auto"] = "auto") -> None:
        self.checkpoints, self.steps_per_call = checkpoints, steps_per_call
        self.seconds_per_step: float | None = None
        self.taken = 1  # by the last call
        self.flat: Flat | None = None
        self.built = False
        self.carried: Any = None  # the task's carry as it was shared, and the states of its cells
        self.looked = False
        self.undisturbed = False  # whether nobody is there to change the model on the way
        self.whole: bool | None = None  # whether the kernels' parameters are all of the task's state

    def move(self, task: LightningModule) -> None:
        """Moves the parameters before a callback holds on to their values."""
        kinds = {(p.dtype, p.device.type) for p in task.parameters()}
        if kinds == {(torch.float32, "cpu")} and changed(task) is None:
            self.flat = native.flatten(task)
            task.zero_grad()

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        assert isinstance(task, Task)
        loader = trainer.train_dataloader
        assert isinstance(loader, Loader)
        self.loader = loader
        self.fetch = loader.fetch
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if code_of(loader.fetch) is not code_of(data.loader("train", shuffle=True).fetch):
            raise refusal(task.stack, "the loader fetches other batches than the data's own")
        self.source = data.native_source("train")
        self.build(trainer, task)
        task.kernels = self
        self.listen(trainer)

    def build(self, trainer: Trainer, task: Task) -> None:
        """The program for the parameters where they are, and the optimizer as it is, now."""
        model, optimizer = task.outline(), optimizer_of(task)
        assert model is not None
        # a callback has been here
        if why := changed(task) or another_parameter(task, model) or obstacle(model, optimizer):
            raise refusal(task.stack, why)
        if self.flat is None or not self.flat.holds(task):
            self.flat = native.flatten(task)
        flat = self.flat
        self.program = native.Program(
            model,
            flat,
            optimizer,
            self.source,
            rows=self.source.largest(self.loader.batches),
            clip_val=task.optimization.clip_val,
            clip_algorithm=task.optimization.clip_algorithm,
        )
        self.interventions, self.carried = Interventions(task, flat, optimizer), None
        self.parts: dict[tuple[str, int], tuple[native.Part | None, Any]] = {}
        self.built = True
        self.share_carry(task)

    def listen(self, trainer: Trainer) -> None:
        """Finds out who wants to see batches or gradients."""
        self.callbacks = list(trainer.callbacks)  # type: ignore[attr-defined]
        self.batches_are_seen = any(asks(c, PER_BATCH) for c in self.callbacks)
        others: list[Any] = [trainer.lightning_module, *self.callbacks, *trainer.loggers, trainer.datamodule]  # type: ignore[attr-defined]
        self.undisturbed = self.looked and all(
            type(one).__module__.startswith("rnnlab.") or type(one) in STOCK for one in others
        )
        self.gradients_are_seen = any(asks(c, PER_GRADIENT) for c in self.callbacks)

    def share_carry(self, task: Any, first: bool = False) -> None:
        """The task's carry becomes a view of the kernels', which checkpoints then find where they look. What another
        put there is taken, but not for an epoch's `first` segment, which begins with the initial state.
        """
        if self.program.carry is None:
            return
        state = task.carry.state
        if self.carried is not None and state is self.carried[0] and all(map(is_, state, self.carried[1])):
            return
        if first:
            pass
        elif state:  # a callback's, or a checkpoint's
            self.program.load_carry([tuple(t.clone() for t in cell) for cell in state])
        elif self.carried is not None:
            if any(cell.initial is not None for cell in task.stack.layers):
                raise refusal(task.stack, "the carry was emptied")
            self.program.carry.zero_()
        task.carry.state = self.program.carried
        self.carried = task.carry.state, list(task.carry.state)

    # ------------------------------------------------------------------ steps

    def steps(self, trainer: Trainer, task: Task, batch: Any, index: int) -> torch.Tensor:
        """Runs the batches from `index` on, as many as may be in one call; returns the last loss, a 0-d tensor.

        `batch` is the first of them as callbacks left it. Raises UserError before a step that would leave out what
        has been changed through torch.
        """
        if self.callbacks != trainer.callbacks:  # type: ignore[attr-defined]
            self.listen(trainer)
        if not self.undisturbed:
            task.optimization.heed(trainer)
            if why := self.interventions.unseen():
                raise refusal(task.stack, why)
            if self.interventions.moved():
                self.build(trainer, task)
            if not self.looked:
                self.looked = True
                self.listen(trainer)
        how, optimizer = task.optimization, optimizer_of(task)
        if self.loader.fetch is not self.fetch:
            raise refusal(task.stack, "the loader's fetch was replaced")
        self.share_carry(task, first=index == 0)
        source = self.edited(trainer, task, batch, index)
        alone = source is not None or self.gradients_are_seen or self.interventions.on_gradients
        alone = alone or self.interventions.on_update(optimizer)
        n = self.taken = 1 if alone else self.room(trainer)
        batches = self.loader.batches[index : index + n]
        step, begin = trainer.global_step, time.perf_counter()
        if alone:
            losses, norms = self.looked_at(trainer, task, optimizer, batches[0], source)
            rates = self.rates(task, optimizer, 1)
        else:
            before = other_options(optimizer)
            rates = self.rates(task, optimizer, n)
            after, n = other_options(optimizer), len(rates)
            self.taken = n
            optimizer.param_groups[0].update(before)  # a schedule that cycles the momentum has moved it on
            self.program.clip_val, self.program.clip_algorithm = how.clip_val, how.clip_algorithm
            done = self.program.run(batches[:n], rates, dropout_step=step)
            optimizer.param_groups[0].update(after)
            losses, norms = done.losses.numpy()[: done.done + 1], done.norms.numpy()[: done.done + 1]
        self.measure(n, time.perf_counter() - begin)
        taken = len(losses)  # fewer than n where a loss is not finite
        measured = {"loss/train": losses, "optim/lr": rates[:taken], "optim/grad_norm": norms}
        task.scalars.append(Scalars(range(step + 1, step + 1 + taken), measured))
        progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for count in (progress.total, progress.current):
            count.ready += n
            count.completed += n
        return torch.tensor(losses[-1])

    def looked_at(
        self,
        trainer: Trainer,
        task: Task,
        optimizer: torch.optim.Optimizer,
        batch: Any,
        source: Source | None,
    ) -> tuple[Any, Any]:
        """One step in its two halves, with the hooks for gradients around them.

        Gradients go through autograd's own accumulation where parameters have hooks or are frozen. Those that
        callbacks put in place are taken; the update is torch's where the optimizer or a gradient asks for it.
        """
        import numpy as np

        call, program = trainer.fit_loop.hooks.call, self.program  # type: ignore[attr-defined]
        seen = any(map(trainer.fit_loop.hooks.of, PER_GRADIENT[:2]))  # type: ignore[attr-defined]
        weights = program.flat.parameters.clone() if seen else None
        call("on_before_zero_grad", optimizer)
        if source is None:
            loss = program.gradients(batch, dropout_step=trainer.global_step)
        else:
            every = torch.arange(len(source.kept[0]))
            loss = program.gradients(every, dropout_step=trainer.global_step, source=source)
        call("on_before_backward", torch.tensor(loss))
        if weights is not None and not same_bits(program.flat.parameters, weights):
            raise refusal(task.stack, "weights were changed between a loss and its gradient")
        if self.interventions.on_gradients:
            self.accumulate()
        call("on_after_backward")
        call("on_before_optimizer_step", optimizer)
        if why := surroundings():
            raise refusal(task.stack, why)
        parameters = program.flat.views
        if self.interventions.on_update(optimizer) or any(p.grad is None for p in parameters):
            with torch_in_one_thread():  # their number would change the norm's last bits
                task.on_before_optimizer_step(optimizer)  # clips
            norm = float(task._grad_norm if task._grad_norm is not None else 0.0)
            left = {id(p) for group in optimizer.param_groups for p in group["params"]}
            for parameter in parameters:
                if id(parameter) not in left:  # a callback has taken it out
                    optimizer.state.pop(parameter, None)
            if np.isfinite(loss):
                optimizer.step()
        else:
            task.optimization.heed(trainer)
            program.flat.take()
            program.clip_val, program.clip_algorithm = (
                task.optimization.clip_val,
                task.optimization.clip_algorithm,
            )
            norm = program.update(float(optimizer.param_groups[0]["lr"]))
        return np.array([loss]), np.array([norm])

    def accumulate(self) -> None:
        """The kernels' gradients as autograd would leave them: hooks called, frozen parameters left out."""
        flat = self.program.flat
        for parameter in flat.views:
            parameter.grad = None
        gradients = zip(flat.views, flat.split(flat.gradients), strict=True)
        trained = {
            parameter: gradient.clone() for parameter, gradient in gradients if parameter.requires_grad
        }
        if trained:
            torch.autograd.backward(list(trained), list(trained.values()))

    def edited(self, trainer: Trainer, task: Task, batch: Any, index: int) -> Source | None:
        """A batch that callbacks or the data module have changed, as a source; None where it is as it lies in memory.

        Raises UserError for one that the kernels cannot be given.
        """
        loop = trainer.fit_loop
        own = isinstance(loop, Loop) and loop.own
        if own and not self.batches_are_seen:
            return None
        if same(batch, self.loader.fetch(self.loader.batches[index])):
            return None
        try:
            if task.kind == "series":
                return Pairs(*(part.contiguous() for part in task.in_its_units(batch)))
            if task.kind == "labelled":
                return Sequences(*(part.contiguous() for part in batch))
        except (ValueError, TypeError, AttributeError):
            pass
        raise refusal(task.stack, "the batch was changed")

    def rates(self, task: Task, optimizer: torch.optim.Optimizer, n: int) -> list[float]:
        """The learning rates of the next n steps; the schedule is moved on behind them.

        Fewer than n where the schedule changes another option of the optimizer, such as OneCycleLR the momentum: the
        steps behind that have it.
        """
        group, how = optimizer.param_groups[0], task.optimization
        optimizer._opt_called = True  # type: ignore[attr-defined]  # else torch warns of a schedule without steps
        if how.scheduler is None or how.interval != "step":
            return [float(group["lr"])] * n
        scheduler: Any = task.lr_schedulers()
        if scheduler is None:  # a task's own `configure_optimizers` made none
            return [float(group["lr"])] * n
        if type(scheduler) is LambdaLR and scheduler.lr_lambdas[0].__module__ == schedules.__name__:
            # a function of the step alone: no need to walk there
            factor, base, first = scheduler.lr_lambdas[0], scheduler.base_lrs[0], scheduler.last_epoch
            rates = [float(group["lr"]), *(float(base * factor(first + i)) for i in range(1, n))]
            scheduler.last_epoch += n - 1
            scheduler._step_count += n - 1
            scheduler.step()
            return rates
        rates, others = list[float](), other_options(optimizer)
        while len(rates) < n and other_options(optimizer) == others:
            rates.append(float(group["lr"]))
            scheduler.step()
        return rates

    def room(self, trainer: Trainer) -> int:
        """How many steps may go into one call; one where Lightning's loop counts the batches."""
        loop, step = trainer.fit_loop, trainer.global_step
        if self.batches_are_seen or self.gradients_are_seen or not isinstance(loop, Loop) or not loop.own:
            return 1
        room = [loop.batches_ahead()]
        if self.checkpoints.every_n_steps is not None:
            room.append(self.checkpoints.due_at - step)
        if self.steps_per_call != "auto":
            room.append(self.steps_per_call)
        elif self.seconds_per_step is None:
            room.append(8)
        else:
            room.append(int(CALL_S / self.seconds_per_step))
        return max(1, min(room))

    # ------------------------------------------------------------------ evaluation

    def score(
        self,
        trainer: Trainer,
        task: Task,
        loader: Loader,
        split: Split,
        limit: int,
        between: Callable[[], Any] = lambda: None,
    ) -> bool:
        """Scores the first `limit` batches of a part in one call; False where the model, or its data, must be asked
        batch by batch, which gives the same bits.
        """
        if not self.built or not task.is_stock:  # nothing was to be trained, or the task has ideas of its own
            return False
        if not (self.undisturbed and trainer.state.fn == "fit") and (
            self.interventions.unseen(training=False) or self.interventions.moved()
        ):
            return False
        key, given = (split, limit), (loader.fetch, loader.batches)
        if key not in self.parts or not all(map(is_, self.parts[key][1], given)):
            self.parts[key] = self.part(trainer, task, loader, split, limit), given
        part, _ = self.parts[key]
        if part is None:
            return False
        sums, said = self.program.score(part, outputs=task.ranks, between=between)
        if said is not None:
            with torch_in_one_thread():
                task.rank(said.squeeze(-1), part.source.kept[2][part.index])
        task.add(task.named(sums, part.places))
        return True

    def weights(self, task: Task) -> Callable[[], dict[str, torch.Tensor]] | None:
        """A copy of the weights, taken apart when it is asked for; None where they are not all that the task holds."""
        flat = self.program.flat
        if not self.undisturbed or (self.whole is None and list(task.state_dict()) != flat.names):
            return None
        self.whole = True
        copy = flat.parameters.clone()
        return lambda: {name: v.clone() for name, v in zip(flat.names, flat.split(copy), strict=True)}

    def part(
        self, trainer: Trainer, task: Task, loader: Loader, split: Split, limit: int
    ) -> native.Part | None:
        """The batches as the kernels read them; None where they cannot."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        own = type(data).__module__.startswith("rnnlab.data.")
        if not own or (scale := task.scoring()) is None:
            return None
        if (stock := data.loader(split)) is None or code_of(stock.fetch) is not code_of(loader.fetch):
            return None
        if not all(same(loader.fetch(batch), stock.fetch(batch)) for batch in loader.batches[:1]):
            return None  # a callback has put other data in
        try:
            return self.program.part(loader.batches[:limit], data.native_source(split), scale)
        except ValueError:  # longer sequences than those of training, say
            return None

    def measure(self, n: int, seconds: float) -> None:
        self.seconds_per_step = max(seconds / n, 1e-7)

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.let_go(task)

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self.let_go(task)

    def let_go(self, task: Any) -> None:
        if getattr(task, "kernels", None) is self:
            task.kernels = None


def asks(callback: Callback, hooks: tuple[str, ...]) -> bool:
    """Whether a callback wants to be called at one of these hooks, and is none that can wait."""
    if getattr(callback, "patient", False):
        return False
    stock = next((kind for kind in STOCK if isinstance(callback, kind)), Callback)
    return any(is_overridden(hook, callback, parent=stock) for hook in hooks)
