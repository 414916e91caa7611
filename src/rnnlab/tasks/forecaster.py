"""`Forecaster`: forecasts the next values of a series from a window of it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rnnlab.cells.choice import check_choice
from rnnlab.data.per_window import PerWindow
from rnnlab.data.spec import SeriesSpec
from rnnlab.errors import UserError, counted
from rnnlab.native.scoring import ABSOLUTES, BETWEEN, LOSS, MAX_LEVELS, SPREAD, SQUARES, Head, Scale
from rnnlab.recurrence.outline import Outline
from rnnlab.recurrence.stack import Stack
from rnnlab.tasks.distribution import Distribution, Quantiles, StudentT, scores
from rnnlab.tasks.task import Panel, Probe, Scores, Task

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": nn.functional.mse_loss,
    "mae": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}
SHOWN = 3  # the first steps ahead that `meaning` names


class Forecaster(Task):
    """A stack over the window, and a linear head on its last output for all `horizon` steps at once.

    forward: x (B, window, inputs) -> (B, horizon, targets), both in scaled units. With `subtract_last` the
    window's last value is subtracted from every input and added to every forecast (NLinear, Zeng et al. 2023). A
    scale of each window (`data.scaling`) is undone in the forecast, too. Losses are in the units of the stack's
    inputs, metrics (mse, mae, rmse) in the units of the data and in double precision. With loss="quantile" or
    "student_t" the forecast is the centre of a distribution: `quantiles` gives its quantiles, and the metrics pinball,
    crps and coverage score them. Raises UserError for an unknown `loss`, and for options that exclude each other or do
    not fit the data.
    """

    kind = "series"
    spec: SeriesSpec
    metrics: tuple[str, ...] = ("mse", "mae", "rmse")  # type: ignore[misc]  # a distribution has more
    commands = (("forecast", "rnnlab forecast {run}"), *Task.commands)
    forecasts = True
    target_index: Tensor  # (targets,): the position of each target among the inputs
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        spec: SeriesSpec,
        seed: int = 0,
        *,
        loss: Literal["mse", "mae", "huber", "quantile", "student_t"] = "mse",
        huber_delta: float = 1.0,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        subtract_last: bool = False,
        init: str = "uniform",
        init_scale: float | None = None,
        forget_bias: float | Literal["auto"] | None = None,
        **recurrence: Any,
    ) -> None:
        super().__init__(spec, seed)
        if type(self).criterion is Forecaster.criterion:  # a subclass with its own may have other names
            check_choice("model.loss", loss, (*LOSSES, "quantile", "student_t"))
        self.loss_name, self.huber_delta, self.subtract_last = loss, huber_delta, subtract_last
        self.horizon, self.targets = spec["horizon"], spec["targets"]
        self.stack = Stack(input_size=spec["inputs"], **recurrence)
        self.distribution: Distribution | None = None
        if loss in ("quantile", "student_t"):
            self.distribution = Quantiles(quantiles) if loss == "quantile" else StudentT()
            self.metrics = (*type(self).metrics, "pinball", "crps", "coverage")
            if spec.get("per_window") == "difference":
                raise UserError(
                    f"model.loss={loss}: quantiles of differences cannot be added up to those of values; take another "
                    "data.scaling than difference"
                )
        width = self.distribution.width if self.distribution else 1
        outputs = self.horizon * self.targets * width
        self.head = nn.utils.skip_init(Head, self.stack.output_size, outputs)
        if subtract_last and None in spec["target_index"]:
            raise UserError(
                "model.subtract_last needs every target among the inputs; add it to data.columns, or set it to false"
            )
        mode = spec.get("per_window")
        if subtract_last and mode == "difference":
            raise UserError(
                "model.subtract_last: data.scaling=difference leaves nothing to subtract; set it to false"
            )
        index = [0 if i is None else i for i in spec["target_index"]]
        self.per_window = None
        if mode is not None:
            self.per_window = PerWindow(
                mode, torch.tensor(index), spec.get("plain", 0), spec["season"], self.horizon
            )
        self.register_buffer("target_index", torch.tensor(index), persistent=False)
        self.register_buffer("scale", torch.tensor(spec["target_scale"]), persistent=False)
        self.register_buffer("shift", torch.tensor(spec["target_shift"]), persistent=False)
        self.initialise([self.head], {"init": init, "init_scale": init_scale, "forget_bias": forget_bias})

    def forward(self, x: Tensor) -> Tensor:
        seen, units = self.stack_input(x)
        y, _ = self.stack(seen, dropout_at=self.dropout_at)
        return self.forecast(y[:, -1], units)

    def stack_input(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The stack's input, and the units that undo it in the forecast: None, the value that was subtracted from each
        window (B, 1, I), or the shift and scale of each window (B, 1, 2 I), see `PerWindow.seen`.
        """
        if self.per_window is None:
            last = x[:, -1:, :]
            return (x - last, last) if self.subtract_last else (x, None)
        seen, units = self.per_window.seen(x)
        if self.subtract_last:
            shift, scale = units.chunk(2, -1)
            seen, units = seen - seen[:, -1:], torch.cat([shift + scale * seen[:, -1:], scale], -1)
        return seen, units

    def head_output(self, y: Tensor) -> Tensor:
        """The head's output (B, horizon, targets) for the stack's last output y (B, output).

        Of a distribution it is (B, horizon, targets, width).
        """
        width = (self.distribution.width,) if self.distribution else ()
        said: Tensor = self.head(y).view(-1, self.horizon, self.targets, *width)
        return said

    def forecast(self, y: Tensor, units: Tensor | None) -> Tensor:
        """The forecast (B, horizon, targets) for the stack's last output y (B, output); a distribution's centre."""
        said = self.head_output(y)
        return self.restored(self.distribution.point(said) if self.distribution else said, units)

    def restored(self, said: Tensor, units: Tensor | None) -> Tensor:
        """Forecasts in scaled units, from the head's output in the units of each window."""
        if units is None:
            return said
        if self.per_window is None:
            return said + units[..., self.target_index]
        return self.per_window.restored(said, units)

    def head_target(self, y: Tensor, units: Tensor) -> Tensor:
        """The head's target for y (B, horizon, targets): the output with which the forecast is y."""
        return (
            y - units[..., self.target_index]
            if self.per_window is None
            else self.per_window.head_target(y, units)
        )

    def in_its_units(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The x and y of a batch, in the scale of each window where there is one: the loss is in these units."""
        x, y = batch[:2]
        if self.per_window is None:
            return x, y
        x, units = self.per_window.seen(x)
        return x, self.per_window.head_target(y, units)

    def quantiles(self, x: Tensor) -> Tensor:
        """The quantiles (B, horizon, targets, levels) of a distribution at its `levels`, in scaled units."""
        seen, units = self.stack_input(x)
        return self._quantiles(self.head_output(self.stack(seen)[0][:, -1]), units)

    def _quantiles(self, said: Tensor, units: Tensor | None) -> Tensor:
        assert self.distribution is not None
        each = self.distribution.quantiles(said).unbind(-1)
        return torch.stack([self.restored(values, units) for values in each], -1)

    def probed(self, x: Tensor, y: Tensor) -> Probe:
        seen, units = self.stack_input(x)
        if units is not None and (self.per_window is not None or self.distribution is not None):
            y = self.head_target(y, units)
        return Probe(seen, y, None if units is None else units[:, 0])

    def outline(self) -> Outline | None:
        if self.loss_name == "student_t":
            return None  # the kernels have no Student's t: its steps run in Python
        return Outline(
            stack=self.stack,
            head=self.head,
            reads="last",
            loss="pinball" if self.loss_name == "quantile" else self.loss_name,
            target=(self.horizon, self.targets),
            seed=self.seed,
            huber_delta=self.huber_delta,
            levels=self.distribution.levels if self.distribution else (),
            subtracted=self.target_index if self.subtract_last else None,
        )

    def criterion(self, forecast: Tensor, y: Tensor) -> Tensor:
        """The loss; of a distribution, `forecast` is the head's output and y its target."""
        if self.distribution is not None:
            return self.distribution.loss(forecast, y)
        options = {"delta": self.huber_delta} if self.loss_name == "huber" else {}
        return LOSSES[self.loss_name](forecast, y, **options)

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        if self.per_window is None and self.distribution is None:
            x, y = batch[:2]
            return self.criterion(self(x), y)
        return self.judged(batch)[0]

    def judged(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor | None]:
        """The loss of a batch, its forecast, and its quantiles (None without a distribution), from one pass of the
        stack.
        """
        x, y = batch[:2]
        if self.per_window is None and self.distribution is None:
            forecast = self(x)
            return self.criterion(forecast, y), forecast, None
        seen, units = self.stack_input(x)
        last = self.stack(seen, dropout_at=self.dropout_at)[0][:, -1]
        forecast = self.forecast(last, units)
        if self.distribution is not None:
            said = self.head_output(last)
            wanted = y if units is None else self.head_target(y, units)
            return self.criterion(said, wanted), forecast, self._quantiles(said, units)
        if self.per_window is None or units is None:
            return self.criterion(forecast, y), forecast, None
        return self.criterion(self.head_output(last), self.head_target(y, units)), forecast, None

    def scores(self, batch: tuple[Tensor, ...]) -> Scores:
        loss, forecast, quantiles = self.judged(batch)
        n = batch[1].numel()
        error = self.errors(forecast, batch)
        found = {"loss": (loss * n, n), "mse": (error.square().sum(), n), "mae": (error.abs().sum(), n)}
        if self.distribution is not None and quantiles is not None:
            y, units = batch[1], batch[2:]
            raw = torch.stack([self.unscaled(q, *units) for q in quantiles.unbind(-1)], -1)
            spread = scores(raw, self.distribution.levels, self.unscaled(y, *units))
            found |= {name: (total, n) for name, total in spread.items()}
        return found

    def scoring(self) -> Scale | None:
        own = self.per_window is not None or self.spec.get("log") or "series" in self.spec
        levels = self.distribution.levels if self.distribution else ()
        if own or self.loss_name == "student_t" or len(levels) > MAX_LEVELS:
            return None
        return Scale(self.spec["target_scale"], self.spec["target_shift"], levels)

    def output_and_truth(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        if self.distribution is None:
            return self(batch[0]), batch[1]
        seen, units = self.stack_input(batch[0])
        said = self.head_output(self.stack(seen)[0][:, -1])
        if units is not None:
            said = said + units[..., self.target_index].view(-1, 1, self.targets, *(1,) * (said.dim() - 3))
        return said, batch[1]

    def scores_from_sums(self, sums: Sequence[float], places: int) -> Scores:
        n = places * self.horizon * self.targets
        levels = len(self.distribution.levels) if self.distribution else 1
        found = {"loss": (sums[LOSS], n * levels), "mse": (sums[SQUARES], n), "mae": (sums[ABSOLUTES], n)}
        if self.distribution:
            found["pinball"] = sums[SPREAD], n * levels
            found["crps"] = 2 * sums[SPREAD], n * levels
            found["coverage"] = sums[BETWEEN], n
        return found

    def errors(self, forecast: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        """Forecast minus truth (B, horizon, targets), in the units of the data."""
        y, units = batch[1], batch[2:]
        if self.spec.get("log") or units:
            return self.unscaled(forecast, *units) - self.unscaled(y, *units)
        return (precise(forecast) - precise(y)) * self.precise_scale(forecast)

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Forecasts (B, horizon, targets) in the units of the data."""
        return self.unscaled(self(batch[0]), *batch[2:])

    def predict_given(self, x: Tensor) -> Tensor:
        """Forecasts (B, horizon, targets) for inputs x (B, T, inputs), both in the units of the data."""
        if x.dim() != 3 or x.shape[2] != self.spec["inputs"]:
            raise UserError(
                f"predict: x has the shape {tuple(x.shape)}; it must be (rows, steps, {self.spec['inputs']})"
            )
        if self.spec.get("log") or "series" in self.spec:
            raise UserError(
                "predict: give data.path=FILE instead of x: this model was trained with data.log=true or on several "
                "series, each with a scale of its own"
            )
        if self.per_window and x.shape[1] <= self.per_window.back:
            raise UserError(
                f"predict: x has {x.shape[1]} steps; the run's data.scaling={self.per_window.mode} needs more than "
                f"{self.per_window.back}"
            )
        if x.shape[1] <= (back := self.per_window.back if self.per_window else 0):
            raise UserError(f"predict: x has {x.shape[1]} steps; at least {back + 1} are needed")
        return self.unscaled(self(self.scaled(x)))

    def loss_units(self) -> tuple[str | None, float]:
        scales = set(self.spec["target_scale"])
        own = self.per_window is not None and self.spec["per_window"] not in ("window_last", "window_mean")
        if (
            len(scales) != 1
            or self.loss_name not in ("mse", "mae")
            or own
            or self.spec.get("log")
            or "series" in self.spec
        ):
            return None, 1.0
        scale = float(scales.pop())
        return self.loss_name, scale if self.loss_name == "mae" else scale**2

    def end_loss(self, y: Tensor, probe: Probe) -> Tensor:
        if self.per_window is not None or self.distribution is not None:
            return self.criterion(self.head_output(y[:, -1]), probe.y)
        last = probe.subtracted
        return self.criterion(self.forecast(y[:, -1], None if last is None else last[:, None]), probe.y)

    def panels(self) -> tuple[Panel, ...]:
        metric, factor = self.loss_units()
        return (Panel("mae" if self.loss_name == "mae" else "mse", factor if metric else None),)

    def parse(self, text: str) -> tuple[Tensor, list[str]]:
        """Rows of a series in its own units: steps are separated by spaces, the columns of a step by commas."""
        try:
            rows = [[float(value) for value in step.split(",")] for step in text.split()]
        except ValueError as error:
            raise UserError(f"{str(error).rpartition(': ')[2]} is not a number") from None
        if odd := [value for row in rows for value in row if not math.isfinite(value)]:
            raise UserError(f"{odd[0]} is not a number that a model can read")
        inputs = self.spec["inputs"]
        for row in rows:
            if len(row) != inputs:
                names = ",".join(self.spec["input_names"])
                raise UserError(f"each step has {counted(inputs, 'value')} ({names}), and one has {len(row)}")
        if self.spec.get("log"):
            raise UserError(
                "typed values cannot be read by a model trained with data.log=true; rnnlab forecast RUN --data FILE "
                "reads a file"
            )
        of_each = self.spec.get("series", {"input_shift": [0.0], "input_scale": [1.0]})
        if torch.tensor(of_each["input_shift"]).any() or (torch.tensor(of_each["input_scale"]) != 1).any():
            raise UserError(
                "each series of the data has a scale of its own, and what is typed belongs to none; rnnlab forecast "
                "RUN --data FILE reads a file"
            )
        return self.scaled(torch.tensor(rows, dtype=torch.float64).reshape(-1, inputs)), text.split()

    def meaning(self, y: Tensor, subtracted: Tensor | None) -> str:
        said = y.view(
            1, self.horizon, self.targets, *((self.distribution.width,) if self.distribution else ())
        )
        scaled = self.distribution.point(said) if self.distribution else said
        scaled = self.restored(scaled, None if subtracted is None else subtracted[None])
        scaled = scaled[0]
        steps = "; ".join(
            ", ".join(f"{v:.4g}" for v in step) for step in self.unscaled(scaled)[:SHOWN].tolist()
        )
        return f"forecast: {steps}{' ...' if self.horizon > SHOWN else ''}"

    def reported(self, means: dict[str, float]) -> dict[str, float]:
        found = super().reported(means) | {"rmse": math.sqrt(means["mse"])}
        return {name: found[name] for name in self.metrics}

    def scaled(self, x: Tensor) -> Tensor:
        """Inputs x (..., inputs) in the units of the data, scaled for the model. As for the data this is done in double
        precision, except on MPS, so that a small spread beside a large level is not lost.
        """
        x = precise(x)
        shift, scale = (
            torch.tensor(self.spec[key], dtype=x.dtype, device=x.device)
            for key in ("input_shift", "input_scale")
        )
        return ((x - shift) / scale).to(self.scale)

    def precise_scale(self, like: Tensor) -> Tensor:
        return torch.tensor(self.spec["target_scale"], dtype=precise(like).dtype, device=like.device)

    def unscaled(self, y: Tensor, shift: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        """Scaled targets y (..., targets) in the units of the data, in double precision except on MPS.

        `shift` and `scale` (B, 1, targets) are those of each window's series, where the data has several series.
        """
        # an exported model stays in single precision
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            raw = y * self.scale + self.shift
        else:
            shift_of = torch.tensor(self.spec["target_shift"], dtype=precise(y).dtype, device=y.device)
            raw = precise(y) * self.precise_scale(y) + shift_of
        if shift is not None and scale is not None:
            raw = raw * scale.to(raw) + shift.to(raw)  # a data set gives them on the CPU
        return raw.exp() if self.spec.get("log") else raw


def precise(y: Tensor) -> Tensor:
    return y if y.device.type == "mps" else y.double()  # MPS has no float64
