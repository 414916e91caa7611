"""Forecasting the next values of a series from a window of it."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rnnlab.errors import UserError
from rnnlab.recurrence.outline import Outline
from rnnlab.recurrence.stack import Stack
from rnnlab.tasks.task import Panel, Probe, Scores, Task

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": nn.functional.mse_loss,
    "mae": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}
SHOWN = 3  # steps ahead that are put into words


class Forecaster(Task):
    """A stack over the window, and a linear head on its last output for all `horizon` steps at once.

    forward: x (B, window, inputs) -> (B, horizon, targets), both in scaled units. With `subtract_last` the
    window's last value is taken from every input and added to every forecast (NLinear, Zeng et al. 2023).
    Losses are in scaled units, metrics (mse, mae, rmse) in those of the data.
    """

    kind = "series"
    metrics = ("mse", "mae", "rmse")
    commands = (("forecast", "rnnlab forecast {run} --horizon 200"), *Task.commands)
    forecasts = True
    target_index: Tensor  # where each target stands among the inputs
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        spec: dict[str, Any],
        seed: int = 0,
        *,
        loss: Literal["mse", "mae", "huber"] = "mse",
        huber_delta: float = 1.0,
        subtract_last: bool = False,
        init: str = "uniform",
        init_scale: float | None = None,
        forget_bias: float | None = None,
        **recurrence: Any,
    ) -> None:
        super().__init__(spec, seed)
        self.loss_name, self.huber_delta, self.subtract_last = loss, huber_delta, subtract_last
        self.horizon, self.targets = spec["horizon"], spec["targets"]
        self.stack = Stack(input_size=spec["inputs"], **recurrence)
        self.head = nn.utils.skip_init(nn.Linear, self.stack.output_size, self.horizon * self.targets)
        if subtract_last and None in spec["target_index"]:
            raise UserError(
                "model.subtract_last needs every target among the inputs; add it to data.columns, or set it to false"
            )
        index = [0 if i is None else i for i in spec["target_index"]]
        self.register_buffer("target_index", torch.tensor(index), persistent=False)
        self.register_buffer("scale", torch.tensor(spec["target_scale"]), persistent=False)
        self.register_buffer("shift", torch.tensor(spec["target_shift"]), persistent=False)
        self.initialise([self.head], {"init": init, "init_scale": init_scale, "forget_bias": forget_bias})

    def forward(self, x: Tensor) -> Tensor:
        seen, last = self.stack_input(x)
        y, _ = self.stack(seen, dropout_at=self.dropout_at)
        return self.forecast(y[:, -1], last)

    def stack_input(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        last = x[:, -1:, :]
        return (x - last, last) if self.subtract_last else (x, None)

    def forecast(self, y: Tensor, last: Tensor | None) -> Tensor:
        """(B, horizon, targets) from the stack's last output y (B, output)."""
        forecast = self.head(y).view(-1, self.horizon, self.targets)
        return forecast if last is None else forecast + last[..., self.target_index]

    def outline(self) -> Outline:
        return Outline(
            stack=self.stack,
            head=self.head,
            reads="last",
            loss=self.loss_name,
            target=(self.horizon, self.targets),
            seed=self.seed,
            huber_delta=self.huber_delta,
            subtracted=self.target_index if self.subtract_last else None,
        )

    def criterion(self, forecast: Tensor, y: Tensor) -> Tensor:
        options = {"delta": self.huber_delta} if self.loss_name == "huber" else {}
        return LOSSES[self.loss_name](forecast, y, **options)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return self.criterion(self(x), y)

    def scores(self, batch: tuple[Tensor, Tensor]) -> Scores:
        x, y = batch
        forecast, n = self(x), y.numel()
        error = (forecast - y) * self.scale
        return {
            "loss": (self.criterion(forecast, y) * n, n),
            "mse": (error.square().sum(), n),
            "mae": (error.abs().sum(), n),
        }

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Forecasts (B, horizon, targets) in the units of the data."""
        return self.unscaled(self(batch[0]))

    def predict_given(self, x: Tensor) -> Tensor:
        """Inputs x (B, T, inputs) and the forecasts (B, horizon, targets) are in the units of the data."""
        if x.dim() != 3 or x.shape[2] != self.spec["inputs"]:
            raise UserError(f"predict: x is {tuple(x.shape)}; (rows, steps, {self.spec['inputs']}) fits")
        return self.unscaled(self(self.scaled(x.to(self.scale))))

    def loss_units(self) -> tuple[str | None, float]:
        scales = set(self.spec["target_scale"])
        if len(scales) != 1 or self.loss_name == "huber":
            return None, 1.0
        scale = float(scales.pop())
        return self.loss_name, scale if self.loss_name == "mae" else scale**2

    def end_loss(self, y: Tensor, probe: Probe) -> Tensor:
        last = probe.subtracted
        return self.criterion(self.forecast(y[:, -1], None if last is None else last[:, None]), probe.y)

    def panels(self) -> tuple[Panel, ...]:
        metric, factor = self.loss_units()
        return (Panel("mae" if self.loss_name == "mae" else "mse", factor if metric else None),)

    def parse(self, text: str) -> tuple[Tensor, list[str]]:
        """Rows of a series in its own units: steps apart by spaces, the columns of a step by commas."""
        try:
            rows = [[float(value) for value in step.split(",")] for step in text.split()]
        except ValueError as error:
            raise UserError(f"{str(error).rpartition(': ')[2]} is not a number") from None
        inputs = self.spec["inputs"]
        for row in rows:
            if len(row) != inputs:
                names = ",".join(self.spec["input_names"])
                raise UserError(f"each step has {inputs} values ({names}), and one has {len(row)}")
        return self.scaled(torch.tensor(rows).reshape(-1, inputs)), text.split()

    def meaning(self, y: Tensor, subtracted: Tensor | None) -> str:
        scaled = y.view(self.horizon, self.targets)
        if subtracted is not None:
            scaled = scaled + subtracted[self.target_index]
        steps = "; ".join(
            ", ".join(f"{v:.4g}" for v in step) for step in self.unscaled(scaled)[:SHOWN].tolist()
        )
        return f"forecast: {steps}{' ...' if self.horizon > SHOWN else ''}"

    def reported(self, means: dict[str, float]) -> dict[str, float]:
        return super().reported(means) | {"rmse": math.sqrt(means["mse"])}

    @torch.no_grad()
    def free_run(self, window: Tensor, steps: int) -> Tensor:
        """Forecasts `steps` steps by feeding forecasts back; window (B, window, inputs) -> (B, steps, targets).

        Raises UserError where an input is no target: nothing would stand for its future.
        """
        fed_by = [self.spec["target_index"].index(i) if i in self.spec["target_index"] else None
                  for i in range(self.spec["inputs"])]  # fmt: skip
        if None in fed_by and steps > self.horizon:
            missing = ", ".join(n for n, f in zip(self.spec["input_names"], fed_by, strict=True) if f is None)
            raise UserError(
                f"a free-running forecast needs the future of {missing}, which the model does not forecast; "
                f"it can go {self.horizon} steps ahead, or train it with these columns among data.target"
            )
        forecasts, done = [], 0
        while done < steps:
            y = self(window)
            forecasts.append(y)
            done += self.horizon
            if done < steps:
                window = torch.cat([window, y[..., fed_by]], dim=1)[:, -window.shape[1] :]
        return torch.cat(forecasts, dim=1)[:, :steps]

    def scaled(self, x: Tensor) -> Tensor:
        """Inputs (..., inputs) in the units of the data, as the model reads them."""
        shift, scale = (torch.tensor(self.spec[key]).to(x) for key in ("input_shift", "input_scale"))
        return (x - shift) / scale

    def unscaled(self, y: Tensor) -> Tensor:
        """Scaled targets (..., targets) in the units of the data."""
        return y * self.scale + self.shift
