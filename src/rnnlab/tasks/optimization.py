"""`Optimization`: optimizer, schedule, clipping and accumulation of a training."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import SWALR

from rnnlab.cells.choice import check_choice
from rnnlab.errors import UserError


@dataclass
class Optimization:
    """The settings of a training step, from the configs `optimizer`, `scheduler` and `trainer`.

    `optimizer` is called with the parameters, `scheduler` with the optimizer. The schedule advances at each `interval`:
    an optimizer step, an epoch, or a validation (which gives a schedule that asks for it the value of `monitor`).
    """

    optimizer: Callable[..., torch.optim.Optimizer]
    scheduler: Callable[..., Any] | None = None
    interval: Literal["step", "epoch", "validation"] = "step"
    monitor: str = "loss/val"
    clip_val: float | None = None
    clip_algorithm: Literal["norm", "value"] = "norm"
    accumulate: int = 1
    copied_rate: float = 1.0
    """The learning rate of the parameters copied from another run (all but the head) is this times that of the head."""
    made: type | None = None
    """The class of the schedule, once there is one."""

    def take_settings(self, trainer: Any) -> None:
        """Takes over the clipping and accumulation that a callback has set on the Trainer, from the next step on, as in
        a stock training.

        The settings in use are written back to a Trainer of rnnlab, but not to a stock one: with a `gradient_clip_val`,
        a stock Trainer refuses the next training with manual optimization.
        """
        before = vars(trainer).get("settings_taken", (None, None, 1))
        if trainer.gradient_clip_val != before[0]:
            asked = trainer.gradient_clip_val
            # as Lightning, which clips nothing at 0 or below
            self.clip_val = asked if asked and asked > 0 else None
        if trainer.gradient_clip_algorithm != before[1]:
            algorithm: Any = trainer.gradient_clip_algorithm or "norm"
            check_choice("trainer.gradient_clip_algorithm", algorithm, ("norm", "value"))
            self.clip_algorithm = algorithm
        if trainer.accumulate_grad_batches != before[2]:
            self.accumulate = trainer.accumulate_grad_batches
        if hasattr(trainer.fit_loop, "hooks"):
            trainer.gradient_clip_val, trainer.gradient_clip_algorithm = self.clip_val, self.clip_algorithm
        now = trainer.gradient_clip_val, trainer.gradient_clip_algorithm, trainer.accumulate_grad_batches
        trainer.settings_taken = now

    def configure(self, module: nn.Module) -> dict[str, Any]:
        """The result of Lightning's `configure_optimizers`, so that stock callbacks see optimizer and schedule."""
        optimizer = self.optimizer(module.parameters() if self.copied_rate == 1.0 else self.groups(module))
        if self.copied_rate != 1.0:
            optimizer.param_groups[1]["lr"] *= self.copied_rate
        configured: dict[str, Any] = {"optimizer": optimizer}
        if self.scheduler is not None:
            # Lightning advances nothing under manual optimization; it saves, restores and shows the schedule
            schedule = self.scheduler(optimizer)
            self.made = type(schedule)
            configured["lr_scheduler"] = {"scheduler": schedule}
            if self.copied_rate != 1.0:
                self._refuse_other_rates(optimizer)
        return configured

    def _refuse_other_rates(self, optimizer: torch.optim.Optimizer) -> None:
        """Raises UserError where the schedule has set rates in another ratio than `copied_rate`, as OneCycleLR does."""
        head, copied = (float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups)
        if self.made is not None and not math.isclose(copied, head * self.copied_rate, rel_tol=1e-6):
            raise UserError(
                f"model.init_from_rate={self.copied_rate:g}: {self.made.__name__} sets rates of its own; give it two, "
                "for the head and for the copied parameters, such as "
                f"scheduler.max_lr=[0.01,{0.01 * self.copied_rate:g}]"
            )

    def interval_of(self, schedule: Any) -> str:
        """When a schedule advances. One that Lightning's StochasticWeightAveraging has put in the place of the config's
        counts epochs, whatever the config's `interval`.
        """
        return "epoch" if isinstance(schedule, SWALR) and self.made is not SWALR else self.interval

    def advance(self, scheduler: Any, values: Mapping[str, float]) -> None:
        """Advances a schedule after a validation that has measured these values."""
        taken = list(inspect.signature(scheduler.step).parameters)
        if taken[:1] in ([], ["epoch"]):  # torch would take a value for the number of the step
            scheduler.step()
        elif self.monitor in values:
            scheduler.step(values[self.monitor])

    def groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """The two parameter groups: the head, which has the run's learning rate, and the copied parameters."""
        named = list(module.named_parameters())
        return [
            {"params": [p for name, p in named if name.startswith("head.") is head]} for head in (True, False)
        ]

    def clip(self, parameters: list[Tensor]) -> Tensor:
        """Clips the gradients in place; returns their total 2-norm before the clipping, a 0-d tensor."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.clip_val is not None:
            if self.clip_algorithm == "norm":
                nn.utils.clip_grads_with_norm_(parameters, self.clip_val, norm)
            else:
                nn.utils.clip_grad_value_(parameters, self.clip_val)
        return norm
