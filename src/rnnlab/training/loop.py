"""The training loop of a run: epochs, batches, and the validations between them.

`Loop` replaces the `fit_loop` of a Trainer. It runs the training itself where a task and a loader of rnnlab train on
CPUs. Everything else (a user-defined module, another strategy, precision or profiler) runs in Lightning's loops,
unchanged. `Loop` keeps Lightning's own counters up to date, so that callbacks, loggers and limits see the usual values.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden

from rnnlab.data.loader import Loader
from rnnlab.tasks.task import OVERRIDABLE, Task, redefined
from rnnlab.tasks.trainer import callbacks_of, data_of
from rnnlab.training.checkpoints import world_of
from rnnlab.training.distributed import Together
from rnnlab.training.hooks import Hooks, Unmeasured

TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Loop(_FitLoop):
    """Trains from the first batch, or from a checkpoint, to the end.

    `own`: this loop runs the training, and not Lightning's. Before each batch, when the previous batch and its
    validation are complete, it calls `between_batches(trainer, task)` of each callback that has this method. A
    checkpoint taken there repeats nothing and skips nothing on a resume.
    """

    own = False
    hooks: Hooks
    epoch_progress: Any
    """Lightning's counters of epochs: `total` and `current`, each ready, started, processed and completed."""

    def run(self) -> None:
        self.setup_data()
        if isinstance(task := self.trainer.lightning_module, Task):
            task.optimization.take_settings(self.trainer)
        self.own = self._is_ours()
        if not self.own:
            return super().run()
        if self.skip:
            return
        trainer, hooks = self.trainer, self.hooks
        batches: Any = self.epoch_loop.batch_progress
        torch.set_grad_enabled(True)
        self.on_run_start()  # calls on_train_start
        while not self.done:
            self.setup_data()  # makes the loaders anew where `trainer.reload_dataloaders_every_n_epochs` says so
            loader, epoch = cast(Loader, trainer.train_dataloader), self.epoch_progress.current.processed
            loader.set_epoch(epoch)
            if self.epoch_progress.current.started == epoch:  # false where a run resumes within this epoch
                self.epoch_progress.increment_ready()
                hooks.call("on_train_epoch_start")
                task.on_train_epoch_start()
                self.epoch_progress.increment_started()
                batches.reset_on_run()
                self.epoch_loop.val_loop.batch_progress.total.reset()  # counts within an epoch
            while batches.current.completed < self.max_batches and not self._is_over():
                self._between_batches()
                self._train(loader)
                self._agree_to_stop()
                if self._validation_is_due():
                    self._align()
                    with self._validating():
                        self._validate()
                    self._agree_to_stop()
                self.epoch_loop._batches_that_stepped += 1  # the step that `self.log` writes
            with self._logging_epoch():
                self.epoch_progress.increment_processed()
                hooks.call("on_train_epoch_end", monitoring=False)
                task.on_train_epoch_end()
                hooks.call("on_train_epoch_end", monitoring=True, whole=batches.is_last_batch)
            self.epoch_progress.increment_completed()
            self._agree_to_stop()
        self._align()
        self.on_run_end()  # calls on_train_end

    def setup_data(self) -> None:
        super().setup_data()
        every: int = getattr(self.trainer, "reload_dataloaders_every_n_epochs", 0)
        if every:  # a resumed run reloads at the same epochs as an uninterrupted one
            self._last_train_dl_reload_epoch -= self._last_train_dl_reload_epoch % every

    def _train(self, loader: Loader) -> None:
        """Trains the next batch, or, where the native engine takes whole steps, as many batches as one call takes."""
        task: Any = self.trainer.lightning_module
        hooks, logs = self.hooks, self._logs()
        progress: Any = self.epoch_loop.batch_progress
        index = progress.current.completed
        loader.position = index + 1
        gathers = task.kernels is not None and not task.kernels.batches_are_seen  # the kernels read the data
        batch = loader.batches[index] if gathers else loader.fetch(loader.batches[index])
        progress.is_last_batch = index + 1 >= self.max_batches
        progress.increment_ready()
        logs and logs.on_batch_start(batch)
        hooks.call("on_train_batch_start", batch, index)
        task.on_train_batch_start(batch, index)
        progress.increment_started()
        if task.kernels is not None:
            output, taken = {"loss": task.training_step(batch, index)}, task.kernels.taken
        else:
            output, taken = self.epoch_loop.manual_optimization.run({"batch": batch, "batch_idx": index}), 1  # type: ignore[arg-type]
        progress.increment_processed()
        if taken > 1:
            for count in (progress.total, progress.current):
                count.ready += taken - 1
                count.started += taken - 1
                count.processed += taken - 1
                count.completed += taken - 1
            self.epoch_loop._batches_that_stepped += taken - 1
            loader.position += taken - 1
            progress.is_last_batch = progress.current.ready >= self.max_batches
        hooks.call("on_train_batch_end", output, batch, index)
        task.on_train_batch_end(output, batch, index)
        logs and logs.on_batch_end()
        progress.increment_completed()
        logs and logs.update_train_step_metrics()

    def batches_ahead(self) -> int:
        """Batches, including this one, until something needs the weights: the epoch's end, a validation, a limit, or a
        ModelCheckpoint.
        """
        trainer, done = self.trainer, self.epoch_loop.batch_idx  # this batch is counted as ready already
        ahead = [int(self.max_batches) - done]
        if trainer.max_steps >= 0:
            ahead.append(trainer.max_steps - trainer.global_step)
        if (every := trainer.val_check_batch) is not None and not math.isinf(every):
            across = trainer.check_val_every_n_epoch is None
            ahead.append(int(every) - (self.epoch_loop.total_batch_idx if across else done) % int(every))
        for callback in callbacks_of(trainer):
            if isinstance(callback, ModelCheckpoint) and (n := callback._every_n_train_steps) > 0:
                ahead.append(n - trainer.global_step % n)
        return min(ahead)

    def _between_batches(self) -> None:
        for callback in callbacks_of(self.trainer):
            if (heard := getattr(callback, "between_batches", None)) is not None:
                heard(self.trainer, self.trainer.lightning_module)

    def _agree_to_stop(self) -> None:
        """Where a callback of one process has set `should_stop`, all processes stop."""
        if (world := world_of(self.trainer.lightning_module)) is not None:
            self.trainer.should_stop = world.any(self.trainer.should_stop)

    def _align(self) -> None:
        if (world := world_of(self.trainer.lightning_module)) is not None:
            world.align(self.trainer.lightning_module, self.trainer.global_step)

    def _is_over(self) -> bool:
        trainer = self.trainer
        return 0 <= trainer.max_steps <= trainer.global_step or (trainer.should_stop and self._may_stop())

    def _may_stop(self) -> bool:
        """Whether `trainer.min_epochs` and `trainer.min_steps` are reached, so that `should_stop` counts."""
        epochs, steps = self.epoch_progress.current.processed, self.trainer.global_step
        return epochs >= (self.min_epochs or 0) and steps >= (self.min_steps or 0)

    # ------------------------------------------------------------------ validation

    def _validation_is_due(self) -> bool:
        trainer, progress = self.trainer, self.epoch_loop.batch_progress
        epochs = trainer.check_val_every_n_epoch
        if not trainer.enable_validation or (epochs and (trainer.current_epoch + 1) % epochs):
            return False
        if trainer.should_stop and self._may_stop():
            return True
        if math.isinf(trainer.val_check_batch):  # type: ignore[arg-type]
            return progress.is_last_batch
        return (progress.current if epochs else progress.total).completed % trainer.val_check_batch == 0  # type: ignore[operator]

    @contextmanager
    def _validating(self) -> Iterator[None]:
        trainer = self.trainer
        task: Any = trainer.lightning_module
        trainer.validating = True
        if task.kernels is None or not task.kernels.undisturbed:  # else no code reads the gradients
            task.on_validation_model_zero_grad()
        yield
        trainer.training = True

    def _validate(self) -> None:
        """Validates as Lightning's loop does. Lightning's own runs where a user's callback has a hook of the validation
        and so may log.
        """
        trainer, hooks, loop = self.trainer, self.hooks, self.epoch_loop.val_loop
        task, progress = trainer.lightning_module, loop.batch_progress
        loop.setup_data()
        loader = trainer.val_dataloaders
        if hooks.may_log("on_validation") or not isinstance(loader, Loader):
            loop.run()
            return
        if loop.skip:
            return
        limit, modules = int(loop.max_batches[0]), [(m, m.training) for m in task.modules()]
        progress.reset_on_run()
        with torch.no_grad():
            loader.set_epoch(self.epoch_progress.current.processed)
            task.on_validation_model_eval()
            for hook in ("on_validation_start", "on_validation_epoch_start"):
                hooks.call(hook)
                getattr(task, hook)()
            for index, batch in () if self._scored(loader, limit) else enumerate(islice(loader, limit)):
                progress.is_last_batch = index + 1 >= limit
                progress.increment_ready()
                hooks.call("on_validation_batch_start", batch, index)
                progress.increment_started()
                output = task.validation_step(batch, index)
                progress.increment_processed()
                hooks.call("on_validation_batch_end", output, batch, index)
                progress.increment_completed()
            for hook in ("on_validation_epoch_end", "on_validation_end"):
                hooks.call(hook)
                getattr(task, hook)()
        for module, training in modules:
            vars(module)["training"] = training  # nn.Module.__setattr__ is slow: it looks for parameters

    def _scored(self, loader: Loader, limit: int) -> bool:
        """Scores the whole validation part in one call of the kernels. False where they cannot, or where a callback
        wants to see the batches.
        """
        task: Any = self.trainer.lightning_module
        heard = [*self.hooks.of("on_validation_batch_start"), *self.hooks.of("on_validation_batch_end")]
        if task.kernels is None or not all(getattr(callback, "patient", False) for callback in heard):
            return False

        def look() -> None:
            self.hooks.call("on_validation_batch_start", loader.batches[:1], 0)

        if not task.kernels.score(self.trainer, task, loader, "val", limit, look):
            return False
        progress: Any = self.epoch_loop.val_loop.batch_progress
        for count in (progress.total, progress.current):
            count.ready += limit
            count.started += limit
            count.processed += limit
            count.completed += limit
        progress.is_last_batch = True
        return True

    # ------------------------------------------------------------------ `self.log` of callbacks

    def _logs(self) -> Any:
        """Lightning's object that collects what callbacks log; None where no callback can log."""
        return self.trainer._logger_connector if self.hooks.may_log("on_train") else None

    @contextmanager
    def _logging_epoch(self) -> Iterator[None]:
        logs = self._logs()
        logs and logs.epoch_end_reached()
        yield
        if logs is not None:
            logs.on_epoch_end()
            self.epoch_loop._batches_that_stepped -= 1  # an epoch's metrics are logged at its last step
            logs.update_train_epoch_metrics()
            self.epoch_loop._batches_that_stepped += 1

    # ------------------------------------------------------------------ the position in a checkpoint

    @property
    def position(self) -> dict[str, Any]:
        """Where a resume continues: the epoch, whether it has begun, its completed batches, and those of all epochs."""
        epochs, batches = self.epoch_progress.current, cast(Any, self.epoch_loop.batch_progress)
        epoch, done, begun = epochs.processed, batches.current.completed, epochs.started > epochs.processed
        # whether the epoch was cut off; its length may be unknown
        cut = 0 < done < self.max_batches and not batches.is_last_batch
        if not begun and cut:  # counted as processed, but a longer run continues within it
            epoch, begun = epoch - 1, True
        return {
            "epoch": epoch,
            "begun": begun,
            "batch": done if begun else 0,
            "batches": batches.total.completed,
        }

    def on_save_checkpoint(self) -> dict[str, Any]:
        return super().on_save_checkpoint() | {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any], prefix: str = "") -> None:
        """Sets the counters from `position`: Lightning's own may have been saved within a batch or an epoch's end."""
        at, own = position_of(state_dict, prefix), state_dict[f"{prefix}state_dict"]
        loaders = [
            loader | {"epoch": at["epoch"], "position": at["batch"]} if "position" in loader else loader
            for loader in own.get("combined_loader", [])  # a loader with a position is rnnlab's
        ]
        super().load_state_dict(
            state_dict | {f"{prefix}state_dict": own | {"combined_loader": loaders}}, prefix
        )
        epochs, batches = self.epoch_progress, cast(Any, self.epoch_loop.batch_progress)
        for count in (epochs.total, epochs.current):
            count.ready = count.started = at["epoch"] + at["begun"]
            count.processed = count.completed = at["epoch"]
        for count, done in ((batches.total, at["batches"]), (batches.current, at["batch"])):
            count.ready = count.started = count.processed = count.completed = done
        batches.is_last_batch = False
        self.restarting = True

    # ------------------------------------------------------------------ which loop runs the training

    def _is_ours(self) -> bool:
        trainer, task = self.trainer, self.trainer.lightning_module
        return (
            isinstance(task, Task)
            # the task overrides no hook of Lightning that this loop does not call, and nothing that calls `self.log`
            and redefined(type(task)) <= OVERRIDABLE
            and isinstance(trainer.train_dataloader, Loader)
            and type(trainer.profiler) is Unmeasured  # type: ignore[attr-defined]
            and type(trainer.strategy) in (SingleDeviceStrategy, Together)
            and trainer.strategy.root_device.type == "cpu"
            and trainer.strategy.model is task
            and type(trainer.precision_plugin) is Precision
            and not any(
                is_overridden(hook, source)
                for hook in TRANSFERS
                for source in (task, data_of(trainer))
                if source is not None
            )
        )


def position_of(loop: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`Loop.position` from a checkpoint's `loops["fit_loop"]`. Older checkpoints lack it: there it follows from
    Lightning's counters.
    """
    if (found := loop[f"{prefix}state_dict"].get("position")) is not None:
        return found
    epochs, batches = loop[f"{prefix}epoch_progress"]["current"], loop[f"{prefix}epoch_loop.batch_progress"]
    begun = epochs["started"] > epochs["processed"]
    done = batches["current"]["completed"] if begun else 0
    return {
        "epoch": epochs["processed"],
        "begun": begun,
        "batch": done,
        "batches": batches["total"]["completed"],
    }


def install(trainer: Trainer) -> None:
    """Gives a new Trainer this loop."""
    theirs = trainer.fit_loop
    loop = Loop(trainer, theirs.min_epochs, theirs.max_epochs)
    loop.epoch_loop, loop.hooks = theirs.epoch_loop, Hooks(trainer)
    trainer.fit_loop = loop
