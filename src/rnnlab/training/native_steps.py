"""The native engine inside Lightning: one training step of Lightning is many optimizer steps.

The kernels take whole optimizer steps in C. One call takes all steps up to the next point where Python code needs the
weights: the epoch's end, the next validation, the next checkpoint, or `max_steps`. Lightning's counters are then
advanced by as many, so that `global_step`, loggers, schedules, checkpoints and limits are as if it had counted each.
"""

import time
from collections.abc import Callable
from operator import is_
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.optim.lr_scheduler import LambdaLR

from rnnlab import native
from rnnlab.data.loader import Loader
from rnnlab.data.module import Split
from rnnlab.data.windows import Windowed
from rnnlab.native.engine import torch_in_one_thread
from rnnlab.native.flat import Flat
from rnnlab.native.sources import Pairs, Sequences, Source
from rnnlab.native.spec import obstacle
from rnnlab.runs.metrics import Scalars
from rnnlab.tasks.task import Task
from rnnlab.tasks.trainer import callbacks_of, data_of
from rnnlab.training import schedules
from rnnlab.training.checkpoints import Checkpoints
from rnnlab.training.hooks import STOCK
from rnnlab.training.interventions import Interventions, changed, refusal, same, same_bits, surroundings
from rnnlab.training.loop import Loop
from rnnlab.training.native_obstacles import PER_GRADIENT, another_parameter, code_of

CALL_S = 0.1  # seconds that a call should take: a signal, the bar and a timed checkpoint wait for its end
PER_BATCH = ("on_train_batch_start", "on_train_batch_end")


def optimizer_of(task: LightningModule) -> torch.optim.Optimizer:
    """The optimizer that a step of the task would take."""
    return cast(LightningOptimizer, task.optimizers()).optimizer


def other_options(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The options of the first parameter group, without the learning rate."""
    return {key: value for key, value in optimizer.param_groups[0].items() if key not in ("params", "lr")}


class Kernels(Callback):
    """Runs a task's optimizer steps in C.

    `steps_per_call`: the largest number of steps in one call; "auto" takes as many as last about a tenth of a second.
    Where a callback has hooks for batches or gradients, each call takes one step, with the same bits.
    """

    def __init__(self, checkpoints: Checkpoints, steps_per_call: int | Literal["auto"] = "auto") -> None:
        self.checkpoints, self.steps_per_call = checkpoints, steps_per_call
        self.seconds_per_step: float | None = None
        self.taken = 1  # steps of the last call
        self.flat: Flat | None = None
        self.built = False
        self.carried: Any = None  # the carry that the task was given last, and the states of its cells
        # the data's series, and a copy of it as it was when the source was made; None where the source is no copy
        self.copied: tuple[torch.Tensor, torch.Tensor] | None = None
        self.looked = False
        self.undisturbed = False  # whether no code outside rnnlab takes part, which could change the model
        self.whole: bool | None = None  # whether the kernels' parameters are all of the task's state_dict

    def move(self, task: LightningModule) -> None:
        """Moves the parameters into the kernels' buffer, before a callback keeps a reference to their values."""
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
        data = data_of(trainer)
        if code_of(loader.fetch) is not code_of(data.loader("train", shuffle=True).fetch):
            raise refusal(task.stack, "the loader fetches other batches than the data's own")
        self.source = data.native_source("train")
        if isinstance(data, Windowed) and data.per_window is not None:
            self.copied = data.series, data.series.clone()
        self.build(trainer, task)
        task.kernels = self
        self.listen(trainer)

    def build(self, trainer: Trainer, task: Task) -> None:
        """Makes the program for the present memory of the parameters and the present optimizer."""
        model, optimizer = task.outline(), optimizer_of(task)
        assert model is not None
        # not checked before: a callback may have changed the model since the engine was chosen
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
        """Finds the callbacks that want to see batches or gradients."""
        self.callbacks = list(callbacks_of(trainer))
        self.batches_are_seen = any(asks(c, PER_BATCH) for c in self.callbacks)
        others = [trainer.lightning_module, *self.callbacks, *trainer.loggers, data_of(trainer)]
        self.undisturbed = self.looked and all(
            type(one).__module__.startswith("rnnlab.") or type(one) in STOCK for one in others
        )
        self.gradients_are_seen = any(asks(c, PER_GRADIENT) for c in self.callbacks)

    def other_step(self, index: int) -> str | None:
        """`Interventions.other_step`, where this is the first batch of an epoch or the call takes many steps."""
        single = self.batches_are_seen or self.gradients_are_seen
        return None if single and index else self.interventions.other_step()

    def copy_again(self, trainer: Trainer) -> None:
        """Makes the source anew where it is a copy of a series that a callback has edited in place since."""
        if self.copied is not None and not same_bits(*self.copied):
            data = data_of(trainer)
            self.copied = self.copied[0], self.copied[0].clone()
            self.source = self.program.source = data.native_source("train")

    def share_carry(self, task: Any, first: bool = False) -> None:
        """Makes the task's carry a view of the kernels' carry, so that checkpoints hold it. A carry that a callback or
        a checkpoint has put there is copied to the kernels, except before an epoch's `first` segment, which begins
        with the initial state.
        """
        if self.program.carry is None:
            return
        state = task.carry.state
        if self.carried is not None and state is self.carried[0] and all(map(is_, state, self.carried[1])):
            return
        if first:
            pass
        elif state:  # put there by a callback or a checkpoint
            self.program.load_carry([tuple(t.clone() for t in cell) for cell in state])
        elif self.carried is not None:
            if any(cell.initial is not None for cell in task.stack.layers):
                raise refusal(task.stack, "the carry was emptied")
            self.program.carry.zero_()
        task.carry.state = self.program.carried
        self.carried = task.carry.state, list(task.carry.state)

    # ------------------------------------------------------------------ steps

    def steps(self, trainer: Trainer, task: Task, batch: Any, index: int) -> torch.Tensor:
        """Trains the batches from `index` on, as many as one call may take; returns the last loss, a 0-d tensor.

        `batch` is the first of these batches, perhaps edited by callbacks. Raises UserError before a step that would
        ignore a change that was made through torch.
        """
        if self.callbacks != callbacks_of(trainer):
            self.listen(trainer)
        if not self.undisturbed:
            task.optimization.take_settings(trainer)
            if why := self.interventions.unseen() or self.other_step(index):
                raise refusal(task.stack, why)
            if self.interventions.moved():
                self.build(trainer, task)
            self.copy_again(trainer)
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
            losses, norms = self.one_hooked_step(trainer, task, optimizer, batches[0], source)
            rates = self.rates(task, optimizer, 1)
        else:
            before = other_options(optimizer)
            rates = self.rates(task, optimizer, n)
            after, n = other_options(optimizer), len(rates)
            self.taken = n
            optimizer.param_groups[0].update(before)  # a schedule may have advanced the momentum, too
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

    def one_hooked_step(
        self,
        trainer: Trainer,
        task: Task,
        optimizer: torch.optim.Optimizer,
        batch: Any,
        source: Source | None,
    ) -> tuple[Any, Any]:
        """One step in two halves, gradients and update, with the hooks for gradients around them. Returns losses (1,)
        and gradient norms (1,).

        Where parameters have hooks or are frozen, autograd accumulates the gradients. Gradients that callbacks set are
        used. Torch makes the update where the kernels do not know the optimizer or where a gradient is missing.
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
            with torch_in_one_thread():  # the number of threads would change the norm's last bits
                task.on_before_optimizer_step(optimizer)  # clips
            norm = float(task._grad_norm if task._grad_norm is not None else 0.0)
            left = {id(p) for group in optimizer.param_groups for p in group["params"]}
            for parameter in parameters:
                if id(parameter) not in left:  # a callback has removed it from the optimizer
                    optimizer.state.pop(parameter, None)
            if np.isfinite(loss):
                optimizer.step()
        else:
            task.optimization.take_settings(trainer)
            program.flat.take()
            program.clip_val, program.clip_algorithm = (
                task.optimization.clip_val,
                task.optimization.clip_algorithm,
            )
            norm = program.update(float(optimizer.param_groups[0]["lr"]))
        return np.array([loss]), np.array([norm])

    def accumulate(self) -> None:
        """Puts the kernels' gradients through autograd: hooks are called, and frozen parameters get none."""
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
        """The batch as a source for the kernels, where callbacks or the data module have changed it; else None.

        Raises UserError for a changed batch that the kernels cannot read.
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
        """The learning rates of the next n steps; advances the schedule by as many steps.

        Fewer than n where the schedule changes another option of the optimizer, as OneCycleLR changes the momentum: the
        steps after that need a new call.
        """
        group = optimizer.param_groups[0]
        optimizer._opt_called = True  # type: ignore[attr-defined]  # else torch warns of a schedule without steps
        scheduler = task.schedule_at("step")
        if scheduler is None:
            return [float(group["lr"])] * n
        if type(scheduler) is LambdaLR and scheduler.lr_lambdas[0].__module__ == schedules.__name__:
            # rnnlab's schedules are functions of the step: the rates need no call of `step()` each
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
        """How many steps one call may take; 1 where Lightning's loop counts the batches."""
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
        """Scores the first `limit` batches of a part in one call. Returns False where the kernels cannot: then Python
        must score batch by batch, which gives the same bits.
        """
        if not self.built or not task.is_stock:  # no training took place, or a subclass scores in its own way
            return False
        if not (self.undisturbed and trainer.state.fn == "fit") and (
            self.interventions.unseen(training=False)
            or self.interventions.moved()
            or self.interventions.other_step()
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
        task.add(task.scores_from_sums(sums, part.places))
        return True

    def weights(self, task: Task) -> Callable[[], dict[str, torch.Tensor]] | None:
        """Copies the weights, and returns a function that splits the copy by name; None where the task's state_dict
        holds more than these weights, or code outside rnnlab takes part.
        """
        flat = self.program.flat
        if not self.undisturbed or (self.whole is None and list(task.state_dict()) != flat.names):
            return None
        self.whole = True
        copy = flat.parameters.clone()
        return lambda: {name: v.clone() for name, v in zip(flat.names, flat.split(copy), strict=True)}

    def part(
        self, trainer: Trainer, task: Task, loader: Loader, split: Split, limit: int
    ) -> native.Part | None:
        """The first `limit` batches as the kernels read them; None where they cannot."""
        data = data_of(trainer)
        own = type(data).__module__.startswith("rnnlab.data.")
        if not own or (scale := task.scoring()) is None:
            return None
        if (stock := data.loader(split)) is None or code_of(stock.fetch) is not code_of(loader.fetch):
            return None
        if not all(same(loader.fetch(batch), stock.fetch(batch)) for batch in loader.batches[:1]):
            return None  # a callback has replaced the data
        try:
            return self.program.part(loader.batches[:limit], data.native_source(split), scale)
        except ValueError:  # for example sequences that are longer than those of training
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
    """Whether a callback implements one of these hooks and cannot wait until a call of the kernels ends."""
    if getattr(callback, "patient", False):
        return False
    stock = next((kind for kind in STOCK if isinstance(callback, kind)), Callback)
    return any(is_overridden(hook, callback, parent=stock) for hook in hooks)
