"""The hooks of a Trainer's callbacks: which callback implements which hook, and their calls."""

from contextlib import nullcontext
from typing import Any, ClassVar

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint, ModelSummary, Timer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.model_helpers import is_overridden

from rnnlab.tasks.trainer import callbacks_of

# these read metrics and log none; after a batch they only look at the time or the step
STOCK = (EarlyStopping, ModelCheckpoint, ModelSummary, Timer)


def hears(callback: Callback, hook: str) -> bool:
    """Whether a callback implements a hook, in its class or as an attribute of the instance."""
    # cheap, whereas `is_overridden` is slow
    own = hook in vars(callback) or getattr(type(callback), hook) is not getattr(Callback, hook)
    return own and is_overridden(hook, callback, parent=Callback)


class Unmeasured(PassThroughProfiler):
    """Measures nothing, as PassThroughProfiler, but makes no context manager for each of the 90 hooks of an epoch."""

    nothing: ClassVar = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


class Hooks:
    """Maps each hook to the callbacks that implement it."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._callbacks: list[Callback] = []
        self._found: dict[str, list[Any]] = {}
        self._kinds: dict[str, set[type]] = {}

    def of(self, hook: str) -> list[Any]:
        """The callbacks that implement a hook, in the Trainer's order; the list may change during training."""
        callbacks = self._look_again()
        if hook not in self._found:
            self._found[hook] = [c for c in callbacks if hears(c, hook)]
        return self._found[hook]

    def _look_again(self) -> list[Callback]:
        callbacks = callbacks_of(self.trainer)
        if self._callbacks != callbacks:
            self._callbacks, self._found, self._kinds = list(callbacks), {}, {}
        return callbacks

    def call(self, hook: str, *args: Any, monitoring: bool | None = None, whole: bool = True) -> None:
        """Calls a hook of all callbacks, or only of those that read metrics (`monitoring=True`) or do not (False). An
        EarlyStopping is left out at the end of an epoch that is not `whole`: a longer run does not end there.
        """
        if not (heard := self.of(hook)):
            return
        trainer = self.trainer
        task: Any = trainer.lightning_module
        for callback in heard:
            if not whole and isinstance(callback, EarlyStopping):
                continue
            if monitoring is None or monitoring == isinstance(callback, (EarlyStopping, Checkpoint)):
                vars(task)["_current_fx_name"] = hook  # `self.log` reads from which hook it is called
                getattr(callback, hook)(trainer, task, *args)
        task._current_fx_name = None

    def kinds(self, stem: str) -> set[type]:
        """The classes, without STOCK, of the callbacks that implement a hook whose name begins with `stem`."""
        self._look_again()
        if stem not in self._kinds:
            names = [name for name in vars(Callback) if name.startswith(stem)]
            found = {type(callback) for name in names for callback in self.of(name)}
            self._kinds[stem] = found.difference(STOCK)
        return self._kinds[stem]

    def may_log(self, stem: str) -> bool:
        """Whether a user-defined callback has such a hook and so may call `self.log`; rnnlab's callbacks never do."""
        return any(not kind.__module__.startswith("rnnlab.") for kind in self.kinds(stem))
