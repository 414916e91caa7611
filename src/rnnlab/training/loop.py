"""Lightning's loops for a run in which nobody uses `self.log`: the same hooks in the same order, and little else.

Of the 1.8 ms that an epoch with a validation takes in Lightning's own loops most goes into the results of
`self.log`, names for a profiler and asking every callback for every hook. rnnlab's tasks and callbacks log through
the recorder, so that none of it is needed for them. Where anything else is in play, such as a task or a callback of
the user's own that hears one of the hooks of a loop, another strategy, precision or profiler, or a restart in the
middle of a validation, each loop is Lightning's, unchanged.
"""

import time
from contextlib import nullcontext
from itertools import islice
from typing import Any, ClassVar

import torch
from lightning.fabric.utilities.data import _set_sampler_epoch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint, ModelSummary, Timer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.trainer.states import RunningStage, TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden

from rnnlab.data.loader import Loader

HOOKS = (
    *("on_train_epoch_start", "on_train_batch_start", "on_train_batch_end", "on_train_epoch_end"),
    *("on_validation_start", "on_validation_epoch_start", "on_validation_batch_start"),
    *("on_validation_batch_end", "on_validation_epoch_end", "on_validation_end"),
    *("on_test_start", "on_test_epoch_start", "on_test_batch_start"),
    *("on_test_batch_end", "on_test_epoch_end", "on_test_end"),
)  # of callbacks, in these loops
TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
# these read metrics and log none, and behind a batch only ask what time or step it is
STOCK = (EarlyStopping, ModelCheckpoint, ModelSummary, Timer)


class Unmeasured(PassThroughProfiler):
    """Lightning's own way of measuring nothing, without a generator for each of the 90 hooks of an epoch."""

    nothing: ClassVar = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


class Hearing:
    """Who hears what: the callbacks of a Trainer by the hooks that they have."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._callbacks: list[Callback] = []
        self._by_hook: dict[str, list[Any]] = {}
        self._plain: bool | None = None

    def call(self, hook: str, *args: Any, monitoring: bool | None = None) -> None:
        """Calls a hook of the callbacks; with `monitoring` of those alone that read metrics, or of the others."""
        trainer = self.trainer
        self._look()
        for callback, heard in self._by_hook[hook]:
            if monitoring is None or monitoring == isinstance(callback, (EarlyStopping, Checkpoint)):
                heard(trainer, trainer.lightning_module, *args)

    @property
    def tests_unheard(self) -> bool:
        """Whether a test may do without the Trainer: nobody hears of it."""
        return self.plain and not any(
            is_overridden(hook, callback, parent=Callback)
            for callback in self._callbacks
            if type(callback) not in STOCK
            for hook in ("setup", "teardown", *(hook for hook in HOOKS if hook.startswith("on_test")))
        )

    @property
    def plain(self) -> bool:
        """Whether nothing is in play but what is known to do without Lightning's bookkeeping."""
        self._look()
        if self._plain is None:
            self._plain = self._is_plain()
        return self._plain

    def _look(self) -> None:
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        if self._callbacks != callbacks:
            self._callbacks, self._plain = list(callbacks), None
            self._by_hook = {
                hook: [(c, getattr(c, hook)) for c in callbacks if is_overridden(hook, c, parent=Callback)]
                for hook in HOOKS
            }

    def _is_plain(self) -> bool:
        trainer, task = self.trainer, self.trainer.lightning_module
        heard = {type(callback) for found in self._by_hook.values() for callback, _ in found}
        return (
            type(task).__module__.startswith("rnnlab.tasks.")
            and all(kind in STOCK or kind.__module__.startswith("rnnlab.") for kind in heard)
            and type(trainer.profiler) is Unmeasured  # type: ignore[attr-defined]
            and type(trainer.strategy) is SingleDeviceStrategy
            and trainer.strategy.root_device.type == "cpu"
            and trainer.strategy.model is task
            and type(trainer.precision_plugin) is Precision
            and not any(
                is_overridden(hook, source)
                for hook in TRANSFERS
                for source in (task, trainer.datamodule)  # type: ignore[attr-defined]
                if source is not None
            )
        )


class Evaluation(_EvaluationLoop):
    """A validation within the training, or a test."""

    hearing: Hearing

    def run(self) -> list[Any]:
        self.setup_data()
        if not self._is_plain():
            return super().run()
        if not self.skip:
            with torch.inference_mode() if self.inference_mode else torch.no_grad():
                self._evaluate()
        return []

    def _is_plain(self) -> bool:
        if not self.hearing.plain or self.restarting or self.trainer.sanity_checking:
            return False
        loaders = self._combined_loader.flattened if self._combined_loader is not None else []
        return len(loaders) == 1 and isinstance(loaders[0], Loader)

    def _evaluate(self) -> None:
        trainer, progress, call = self.trainer, self.batch_progress, self.hearing.call
        task = trainer.lightning_module
        stem = "test" if trainer.testing else "validation"
        step, modules = getattr(task, f"{stem}_step"), [(m, m.training) for m in task.modules()]
        progress.reset_on_run()
        assert self._combined_loader is not None
        (loader,), limit = self._combined_loader.flattened, int(self._max_batches[0])
        if not trainer.testing:
            _set_sampler_epoch(loader, trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        getattr(task, f"on_{stem}_model_eval")()
        for hook in (f"on_{stem}_start", f"on_{stem}_epoch_start"):
            call(hook)
            getattr(task, hook)()
        started, ended = f"on_{stem}_batch_start", f"on_{stem}_batch_end"
        for index, batch in enumerate(islice(loader, limit)):
            progress.is_last_batch = index + 1 >= limit
            progress.increment_ready()
            call(started, batch, index)
            getattr(task, started)(batch, index)
            progress.increment_started()
            output = step(batch, index)
            progress.increment_processed()
            call(ended, output, batch, index)
            getattr(task, ended)(output, batch, index)
            progress.increment_completed()
            if trainer.received_sigterm and not progress.is_last_batch:
                raise SIGTERMException
        self._has_run = True
        for hook in (f"on_{stem}_epoch_end", f"on_{stem}_end"):
            call(hook)
            getattr(task, hook)()
        for module, training in modules:
            module.training = training
        trainer._last_val_time = time.monotonic()  # type: ignore[attr-defined]


class Epoch(_TrainingEpochLoop):
    """The batches of an epoch, and the validations between them."""

    hearing: Hearing
    plain = False  # of this epoch

    def on_run_start(self, data_fetcher: Any) -> None:
        self.plain = self.hearing.plain and not self.restarting
        super().on_run_start(data_fetcher)

    def advance(self, data_fetcher: Any) -> None:
        if not self.plain:
            return super().advance(data_fetcher)
        task, progress = self.trainer.lightning_module, self.batch_progress
        batch, _, _ = next(data_fetcher)
        index = progress.current.ready
        progress.is_last_batch = data_fetcher.done
        progress.increment_ready()
        self.hearing.call("on_train_batch_start", batch, index)
        task.on_train_batch_start(batch, index)
        progress.increment_started()
        if not self._gradients_are_torchs():
            output = {"loss": task.training_step(batch, index)}
        else:
            output = self.manual_optimization.run(self._build_kwargs({}, batch, index))  # type: ignore[arg-type]
        progress.increment_processed()
        self.hearing.call("on_train_batch_end", output, batch, index)
        task.on_train_batch_end(output, batch, index)
        progress.increment_completed()

    def on_advance_end(self, data_fetcher: Any) -> None:
        if not self.plain or self._skip_next_val:
            return super().on_advance_end(data_fetcher)
        trainer = self.trainer
        if self._should_check_val_fx(data_fetcher):
            trainer.validating = True
            if not self._should_accumulate() and self._gradients_are_torchs():
                trainer.lightning_module.on_validation_model_zero_grad()
            self.val_loop.run()
            trainer.training = True
        if not self._should_accumulate():
            self._batches_that_stepped += 1
        self._save_loggers_on_train_batch_end()
        if not self._is_training_done and trainer.received_sigterm:
            raise SIGTERMException

    def _gradients_are_torchs(self) -> bool:
        """Whether autograd makes them; the kernels' own lie in one buffer for good."""
        return getattr(self.trainer.lightning_module, "kernels", None) is None


class Fit(_FitLoop):
    """The epochs."""

    hearing: Hearing
    epoch_loop: Epoch

    def on_advance_start(self) -> None:
        restarted = self.restarted_mid_epoch or self.restarted_on_epoch_end or self.restarted_on_epoch_start
        if restarted or not self.hearing.plain:
            return super().on_advance_start()
        self.setup_data()
        assert self._combined_loader is not None
        for loader in self._combined_loader.flattened:
            _set_sampler_epoch(loader, self.epoch_progress.current.processed)  # type: ignore[attr-defined]
        self.epoch_progress.increment_ready()
        self.hearing.call("on_train_epoch_start")
        self.trainer.lightning_module.on_train_epoch_start()
        self.epoch_progress.increment_started()

    def on_advance_end(self) -> None:
        if not self.epoch_loop.plain or self.restarting:
            return super().on_advance_end()
        self.epoch_progress.increment_processed()
        self.hearing.call("on_train_epoch_end", monitoring=False)
        self.trainer.lightning_module.on_train_epoch_end()
        self.hearing.call("on_train_epoch_end", monitoring=True)
        self.epoch_progress.increment_completed()
        if self.trainer.received_sigterm:
            raise SIGTERMException


def lean(trainer: Trainer) -> None:
    """Gives a fresh Trainer these loops."""
    hearing, old = Hearing(trainer), trainer.fit_loop
    fit = Fit(trainer, old.min_epochs, old.max_epochs)
    fit.epoch_loop = Epoch(trainer, old.epoch_loop.min_steps, old.epoch_loop.max_steps)
    fit.epoch_loop.val_loop = Evaluation(
        trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False
    )
    test = Evaluation(
        trainer, TrainerFn.TESTING, RunningStage.TESTING, inference_mode=trainer.test_loop.inference_mode
    )
    for loop in (fit, fit.epoch_loop, fit.epoch_loop.val_loop, test):
        loop.hearing = hearing
    trainer.fit_loop, trainer.test_loop = fit, test
