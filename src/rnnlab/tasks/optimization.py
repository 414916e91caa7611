"""How a task's loss becomes steps: optimizer, schedule, clipping, accumulation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn


@dataclass
class Optimization:
    """What the configs `optimizer`, `scheduler` and `trainer` say about a training step.

    `optimizer` takes the parameters, `scheduler` the optimizer. `interval` is when the schedule advances: at
    every optimizer step, every epoch, or (given the value of `monitor`) every validation.
    """

    optimizer: Callable[..., torch.optim.Optimizer]
    scheduler: Callable[..., Any] | None = None
    interval: Literal["step", "epoch", "validation"] = "step"
    monitor: str = "loss/val"
    clip_val: float | None = None
    clip_algorithm: Literal["norm", "value"] = "norm"
    accumulate: int = 1
    copied_rate: float = 1.0
    """What is copied of another run's model, all but its head, has so many times the rate of the rest."""

    def heed(self, trainer: Any) -> None:
        """What a callback has set on the Trainer holds from the next step on, as it does in a stock training.

        A Trainer of rnnlab shows what holds, too. A stock one does not: with `gradient_clip_val` it would refuse
        another training by hand.
        """
        before = vars(trainer).get("heeded", (None, None, 1))
        if trainer.gradient_clip_val != before[0]:
            self.clip_val = trainer.gradient_clip_val or None  # Lightning clips nothing at 0
        if trainer.gradient_clip_algorithm != before[1]:
            self.clip_algorithm = trainer.gradient_clip_algorithm or "norm"
        if trainer.accumulate_grad_batches != before[2]:
            self.accumulate = trainer.accumulate_grad_batches
        if hasattr(trainer.fit_loop, "hooks"):
            trainer.gradient_clip_val, trainer.gradient_clip_algorithm = self.clip_val, self.clip_algorithm
        now = trainer.gradient_clip_val, trainer.gradient_clip_algorithm, trainer.accumulate_grad_batches
        trainer.heeded = now

    def configure(self, module: nn.Module) -> dict[str, Any]:
        """What Lightning's `configure_optimizers` returns, so that stock callbacks see optimizer and schedule."""
        optimizer = self.optimizer(module.parameters() if self.copied_rate == 1.0 else self.groups(module))
        if self.copied_rate != 1.0:
            optimizer.param_groups[1]["lr"] *= self.copied_rate
        configured: dict[str, Any] = {"optimizer": optimizer}
        if self.scheduler is not None:
            # Lightning advances nothing under manual optimization; it saves, restores and shows the schedule
            configured["lr_scheduler"] = {"scheduler": self.scheduler(optimizer)}
        return configured

    def groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """The head, whose rate is the run's, and what was copied."""
        named = list(module.named_parameters())
        return [
            {"params": [p for name, p in named if name.startswith("head.") is head]} for head in (True, False)
        ]

    def clip(self, parameters: list[Tensor]) -> Tensor:
        """Clips the gradients in place as asked; returns their total 2-norm before, a 0-d tensor."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.clip_val is not None:
            if self.clip_algorithm == "norm":
                nn.utils.clip_grads_with_norm_(parameters, self.clip_val, norm)
            else:
                nn.utils.clip_grad_value_(parameters, self.clip_val)
        return norm
