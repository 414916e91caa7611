"""`Task`, the base class of all tasks: the training step, and scores summed over an evaluation."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from rnnlab.errors import UserError
from rnnlab.native.engine import torch_in_one_thread
from rnnlab.native.scoring import Head, Scale, are_readable, exact_heads, scores
from rnnlab.recurrence.initialisation import initialise
from rnnlab.recurrence.outline import Outline
from rnnlab.recurrence.stack import Stack
from rnnlab.runs.metrics import Scalars
from rnnlab.tasks.optimization import Optimization
from rnnlab.tasks.trainer import callbacks_of

if TYPE_CHECKING:
    from typing_extensions import Self

Scores = Mapping[str, tuple[Tensor | float, int]]

# attributes that a subclass may override without changing a training step or a score
OVERRIDABLE = frozenset((
    "kind", "metrics", "reported", "commands", "of_characters", "forecasts", "probed", "end_loss", "panels",
    "text_sample", "parse", "meaning", "loss_units", "predict_step", "predict_given", "predicted_along", "__init__",
))  # fmt: skip
# attributes that Python itself gives every class
OF_A_CLASS = frozenset((
    "__module__", "__doc__", "__dict__", "__weakref__", "__slots__", "__annotations__", "__abstractmethods__",
    "_abc_impl", "__parameters__", "__firstlineno__", "__static_attributes__",
))  # fmt: skip


class Probe(NamedTuple):
    """Sequences with which instruments look into a model: `x` (B, T, I) or (B, T) for its stack, `y` the truth."""

    x: Tensor
    y: Tensor
    subtracted: Tensor | None = None  # (B, I), the value that was subtracted from every step of x


class Panel(NamedTuple):
    """One panel of a finished run's learning curves."""

    metric: str
    factor: float | None
    """loss/train times this factor is the metric; None where loss/train is not the metric in other units."""
    log: bool = True


class Task(lightning.LightningModule):
    """A recurrent model with its loss.

    Optimization is manual in Lightning's sense: `training_step` is a whole step, so that an engine may run
    many of them in one call. `optimization` is set before fitting; `spec` describes the data (see
    `SequenceData.spec`) and is saved in every checkpoint. `scalars` holds the values that steps have measured, perhaps
    tensors on the device, until a recorder takes them. Raises UserError for a `spec` of another kind of data.
    """

    _jit_is_scripting = True  # without a Trainer, `trainer` is None and no error: torch.jit.trace reads it

    kind: ClassVar[str]
    spec: Mapping[str, Any]
    metrics: ClassVar[tuple[str, ...]]
    """The names that `reported` returns; a validation records them as metric/NAME, beside loss/val."""

    made_with: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    """The constructor's arguments: a run's config needs them, and a stack does not keep its own."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Self":
        task = super().__new__(cls)
        task.__dict__["made_with"] = args, kwargs
        return task

    def __init__(self, spec: Mapping[str, Any], seed: int = 0) -> None:
        super().__init__()
        if "kind" not in spec:
            raise UserError(
                f"{type(self).__name__}: spec has no key `kind`; a data set has its spec after setup()"
            )
        if spec["kind"] != self.kind:
            raise UserError(f"{type(self).__name__} needs {self.kind} data, and this is {spec['kind']} data")
        self.automatic_optimization = False
        self.spec, self.seed = spec, seed
        self.optimization = Optimization(torch.optim.Adam)
        self.scalars: list[Scalars] = []
        self.evaluated: dict[str, float] = {}  # results of the last validation or test, in double precision
        self._sums: dict[str, tuple[Tensor | float, int]] = {}
        self._micro_losses: list[Tensor] = []
        self._grad_norm: Tensor | None = None
        self.kernels: Any = None  # set while an engine takes whole steps
        self.world: Any = None  # set while several processes train it: a `rnnlab.training.distributed.World`
        self.stack: Stack

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets this twice in every hook; torch's own __setattr__ would spend time on it
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or a saved module, is without the kernels and the processes that train the original."""
        return super().__getstate__() | {"kernels": None, "world": None}

    # ------------------------------------------------------------------ what a task must define, and what engines use

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """The training loss of a batch, a 0-d tensor."""

    @abstractmethod
    def scores(self, batch: Any) -> Scores:
        """Sums of the scores that are averaged over a part, with the number of terms in each: {name: (sum, n)}.

        "loss" must be among them: the training loss, without dropout.
        """

    def scoring(self) -> Scale | None:
        """The units in which the kernels score an evaluation; None where they cannot.

        Where it is not None, `output_and_truth` and `scores_from_sums` are needed, too.
        """
        return None

    def output_and_truth(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The model's output for a batch, and the truth, as `rnnlab.native.scoring.scores` takes them."""
        raise NotImplementedError

    def scores_from_sums(self, sums: Sequence[float], places: int) -> Scores:
        """The scores of a batch, or of a whole part, from the kernels' sums over `places` outputs of the stack."""
        raise NotImplementedError

    def rank(self, said: Tensor, truth: Tensor) -> None:
        """Collects a batch, or a whole part, for metrics that are not means (such as AUROC)."""

    ranks: ClassVar[bool] = False
    """Whether `rank` collects anything."""

    def stack_input(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The stack's input for a batch's x, and the value (B, 1, I) that was subtracted from it, or None."""
        return x, None

    def in_its_units(self, batch: Any) -> tuple[Tensor, ...]:
        """A batch in the units in which the kernels work; they differ only where each window has its own scale."""
        return tuple(batch)

    def probed(self, x: Tensor, y: Tensor) -> Probe:
        """A `Probe` for `end_loss`, from sequences x and the target y at the end of each."""
        seen, subtracted = self.stack_input(x)
        return Probe(seen, y, None if subtracted is None else subtracted[:, 0])

    def outline(self) -> Outline | None:
        """The model's description for the kernels and TensorBoard's graph; None if it is not a stack and a linear head.

        With an outline TensorBoard draws the model, and the kernels run whole training steps. A subclass that overrides
        `forward` or the loss must override `outline`, too; if not, its steps run in Python.
        """
        return None

    def loss_units(self) -> tuple[str | None, float]:
        """(metric, factor) where the loss times the factor is that metric; (None, 1) where it is not."""
        return None, 1.0

    # ------------------------------------------------------------------ optional: for figures, instruments, commands

    commands: ClassVar[tuple[tuple[str, str], ...]] = (("evaluate", "rnnlab evaluate {run}"),)
    """(name, command) for each use of a finished run; {run} in the command stands for the run's folder."""

    @property
    def of_characters(self) -> dict[str, int]:
        """{parameter: dimension} for each parameter in which this dimension counts the characters of a vocabulary."""
        return {}

    forecasts: ClassVar[bool] = False
    """Whether figures of a finished run show forecasts and the truth; this needs the methods of `Forecaster`."""

    def end_loss(self, y: Tensor, probe: Probe) -> Tensor:
        """The loss at the end of each sequence of a probe, from the outputs y (B, T, output) of the stack."""
        raise NotImplementedError

    def panels(self) -> tuple[Panel, ...]:
        """The panels of a finished run's learning curves; the last one gives the figure its name."""
        metric, factor = self.loss_units()
        return (Panel(metric or self.metrics[0], factor if metric else None),)

    def text_sample(self, data: Any) -> str | None:
        """A sample of the text that a finished model writes; None for a model that writes no text."""
        return None

    def parse(self, text: str) -> tuple[Tensor, list[str]]:
        """A sequence from typed text: x (T, I) or (T,), and a word for each step. Raises UserError for wrong text."""
        raise UserError(f"{type(self).__name__} reads nothing that can be typed: it has no parse(text)")

    def meaning(self, y: Tensor, subtracted: Tensor | None) -> str:
        """The head's output y (output,) at one step, in words; `subtracted` (1, I) comes from `stack_input`."""
        return ""

    # ------------------------------------------------------------------ what a task reports

    def reported(self, means: dict[str, float]) -> dict[str, float]:
        """The metrics of a part, from the means of its scores; a task may add metrics that derive from them."""
        return {name: value for name, value in means.items() if name != "loss"}

    # ------------------------------------------------------------------ training

    def initialise(
        self, heads: Sequence[torch.nn.Linear | torch.nn.Embedding], options: dict[str, Any]
    ) -> None:
        """Draws every weight from the run's "init" stream; `options` are the config's init keys."""
        initialise(
            self.stack,
            heads,
            scheme=options["init"],
            scale=options["init_scale"],
            forget_bias=options["forget_bias"],
            seed=self.seed,
        )

    @property
    def dropout_at(self) -> tuple[int, ...]:
        """The place in the "dropout" stream at which the current batch draws its masks: (seed, batch number). The batch
        number is the optimizer steps done, times the batches that each accumulates, plus the batches since. Where
        several processes share a batch, a third number is the row at which this process's part begins.
        """
        place = self.seed, self.global_step * self.optimization.accumulate + len(self._micro_losses)
        return place if self.world is None else (*place, self.world.first_row)

    def configure_optimizers(self) -> Any:
        return self.optimization.configure(self)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.kernels is not None:
            return self.kernels.steps(self.trainer, self, batch, batch_idx)
        how, optimizer = self.optimization, cast(LightningOptimizer, self.optimizers())
        how.take_settings(self.trainer)
        share = 1.0
        if self.world is not None:
            batch, share = self.world.rows(batch)
        loss = of_rows = self.loss(batch)
        if self.world is not None:  # weighted by the share of rows: the sum over processes is the mean
            loss = of_rows * share
        if not self._micro_losses:
            for callback in callbacks_of(self.trainer):
                callback.on_before_zero_grad(self.trainer, self, optimizer)  # type: ignore[arg-type]
            self.on_before_zero_grad(optimizer)  # type: ignore[arg-type]
            optimizer.zero_grad()
        self.manual_backward(loss / how.accumulate if how.accumulate > 1 else loss)
        self._micro_losses.append(loss.detach())
        if len(self._micro_losses) >= how.accumulate or self.trainer.is_last_batch:
            mean = self._micro_losses[0]
            if len(self._micro_losses) > 1:
                mean = torch.stack(self._micro_losses).mean()
            if self.world is not None:
                mean = self.world.add_up(list(self.parameters()), mean)
            measured = {"loss/train": mean, "optim/lr": optimizer.param_groups[0]["lr"]}
            optimizer.step()
            self._micro_losses.clear()
            measured["optim/grad_norm"] = self._grad_norm
            self.record(measured)
            if (schedule := self.schedule_at("step")) is not None:
                schedule.step()
        return of_rows

    def record(self, values: Mapping[str, Any]) -> None:
        """Records scalars {name: value} of the current step for metrics.csv and the loggers; None is left out."""
        self.scalars.append(Scalars.of(self.global_step, values))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # here and not in training_step: under 16-bit precision Lightning has unscaled the gradients by now
        self.optimization.take_settings(self.trainer)
        self._grad_norm = self.optimization.clip([p for g in optimizer.param_groups for p in g["params"]])

    def on_train_start(self) -> None:
        self._micro_losses.clear()  # of a training that was broken off between two optimizer steps

    def on_train_epoch_end(self) -> None:
        if not self.trainer.is_last_batch:
            return  # max_steps ended the training inside this epoch: a resumed training is still in it
        if (schedule := self.schedule_at("epoch")) is not None:
            schedule.step()

    def schedule_at(self, interval: Literal["step", "epoch", "validation"]) -> LRScheduler | None:
        """The schedule, if it advances at this interval. A subclass's `configure_optimizers` may have made none."""
        how = self.optimization
        schedule = None if how.scheduler is None else cast(LRScheduler | None, self.lr_schedulers())
        return schedule if schedule is not None and how.interval_of(schedule) == interval else None

    # ------------------------------------------------------------------ prediction

    predicted_along: ClassVar[int] = 0
    """The dimension along which the predictions of batches are joined."""

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The prediction for a batch in `Trainer.predict` and `Run.predict`: here the output for `batch[0]`."""
        return self(batch[0])

    def predict_given(self, x: Tensor) -> Tensor:
        """The prediction for sequences x that the user passes, in the units of the data."""
        return self(x)

    # ------------------------------------------------------------------ evaluation

    def on_validation_model_zero_grad(self) -> None:
        """Lightning frees the gradients before a validation; gradients that are being accumulated must stay."""
        if not self._micro_losses:
            super().on_validation_model_zero_grad()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.world is not None:
            batch, share = self.world.rows(batch)
            if not share:
                return
        native = getattr(self, "stack", None) is not None and self.stack.choice.engine == "native"
        # a run with the native engine uses all threads, and torch's sums would depend on their number
        with torch_in_one_thread() if native else nullcontext():
            scale = self.scoring() if native and self.is_stock else None
            if scale is not None and not self._is_readable(batch):
                scale = None
            self.add(self.scores(batch) if scale is None else self._scored(batch, scale))

    @property
    def is_stock(self) -> bool:
        """Whether this object trains and scores exactly as rnnlab's own task: no subclass overrides how, and no method
        or head was replaced on the object.
        """
        cls: Any = type(self)
        own = {name for name in redefined(cls) if not name.startswith("on_")} - OVERRIDABLE
        return not own and not vars(self).keys() & _methods(cls) and type(getattr(self, "head", None)) is Head

    def _is_readable(self, batch: Any) -> bool:
        """Whether the kernels can score a batch. A data set of the user's own may hold what only torch can: labels of
        -100, which it ignores, or other types of numbers.
        """
        model = self.outline()
        assert model is not None
        classes = 2 if model.loss == "binary_cross_entropy" else model.head.out_features
        return are_readable(model.loss, batch[1] if self.kind == "series" else batch.y, classes)

    def _scored(self, batch: Any, scale: Scale) -> Scores:
        """The scores of a batch, bit for bit those of the kernels when they score a whole part in one call."""
        with exact_heads(self.stack.precision or "32-true"):
            said, truth = self.output_and_truth(batch)
        model = self.outline()
        assert model is not None
        self.rank(said, truth)
        places = truth.numel() if model.reads == "every" else len(truth)
        return self.scores_from_sums(scores(model.loss, said, truth, scale, model.huber_delta), places)

    def forget(self) -> None:
        """Drops the sums that an interrupted evaluation has left, so that the next one begins with none."""
        self._sums = {}

    def on_validation_epoch_start(self) -> None:
        self.forget()

    on_test_epoch_start = on_validation_epoch_start

    def add(self, scores: Scores) -> None:
        """Adds the scores of a batch to those of the part that is being evaluated."""
        for name, (total, n) in scores.items():
            if isinstance(total, Tensor) and total.device.type != "mps":  # MPS has no float64
                total = total.double()
            if name in self._sums:
                before, m = self._sums[name]
                total, n = before + total, m + n
            self._sums[name] = (total, n)

    test_step = validation_step

    def evaluation_metrics(self) -> tuple[float, dict[str, float]]:
        """The loss and the metrics of the part that was just evaluated; resets the sums."""
        if self.world is not None:  # added in the order of the ranks, so that all ranks get the same bits
            of_ranks = self.world.gather({name: (float(total), n) for name, (total, n) in self._sums.items()})
            self._sums = {}
            for sums in of_ranks:
                self.add(sums)
        means = {name: float(total) / n for name, (total, n) in self._sums.items()}
        self._sums = {}
        return means["loss"], self.reported(means)

    def on_validation_epoch_end(self) -> None:
        loss, metrics = self.evaluation_metrics()
        values = {"loss/val": loss} | {f"metric/{name}": value for name, value in metrics.items()}
        self.evaluated = values
        self.announce(values)
        if not self.trainer.sanity_checking:
            self.record(values)
            if (schedule := self.schedule_at("validation")) is not None:
                self.optimization.advance(schedule, values)

    def on_test_epoch_end(self) -> None:
        loss, metrics = self.evaluation_metrics()
        self.evaluated = {"loss": loss} | metrics
        self.announce({f"test/{name}": value for name, value in self.evaluated.items()})

    def announce(self, values: dict[str, float]) -> None:
        """Puts values where early stopping and stock checkpoints read them; loggers get them from the recorder.

        `self.log` would take half a millisecond for each value and round it to single precision.
        """
        if not hasattr(self.trainer.fit_loop, "hooks"):  # a stock Trainer has no recorder for `scalars`
            self.log_dict(values)
            return
        tensors = torch.tensor(list(values.values()), dtype=torch.float64).unbind()
        self.trainer.callback_metrics.update(zip(values, tensors, strict=True))

    # ------------------------------------------------------------------ checkpoints

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **options: Any,
    ) -> Any:
        """The model in a run's checkpoint, in evaluation mode, on the CPU or `map_location`.

        In a run's folder, the constructor's options come from the run's config; for a file elsewhere, pass them as
        `options`. With `strict` False, weights that one side lacks are left out. `weights_only` is always true. Raises
        UserError where the checkpoint holds another kind of model, and for an `hparams_file`.
        """
        if hparams_file is not None:
            raise UserError(
                "hparams_file: the model's options are in the run's config.yaml; or pass them by name"
            )
        from rnnlab.runs.load import from_checkpoint

        model = from_checkpoint(cls, Path(checkpoint_path), options, strict is not False)
        return model if map_location is None else model.to(map_location)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spec"] = self.spec


def given_ids(x: Tensor, size: int, named: str) -> Tensor:
    """The ids x (rows, steps) that a user passes, of any type of whole numbers, as int64. Raises UserError for another
    shape or type, and for ids that are not below `size`.
    """
    if x.dim() != 2 or x.is_floating_point():
        kind = str(x.dtype).removeprefix("torch.")
        raise UserError(
            f"predict: x must be {named} of shape (rows, steps), and is {kind} of shape {tuple(x.shape)}"
        )
    x = x.long()
    if x.numel() and (x.min() < 0 or x.max() >= size):
        raise UserError(
            f"predict: x must be {named} from 0 to {size - 1}, and holds {int(x.min())} to {int(x.max())}"
        )
    return x


def redefined(cls: type, base: type | None = None) -> frozenset[str]:
    """The attributes of `base` that a class overrides; the default `base` is the nearest ancestor in rnnlab.tasks."""
    kinds = cls.__mro__
    base = base or next(kind for kind in kinds if kind.__module__.startswith("rnnlab.tasks."))
    names = {name for kind in kinds[: kinds.index(base)] for name in vars(kind)}
    return frozenset(name for name in names - OF_A_CLASS if hasattr(base, name))


@cache
def _methods(cls: Any) -> frozenset[str]:
    return frozenset(name for name in dir(cls) if callable(getattr(cls, name, None)))
