"""Evaluates a task on batches, without a Trainer."""

from collections.abc import Iterable
from typing import Any

import torch

from rnnlab.tasks.task import Task


@torch.inference_mode()
def evaluate(task: Task, batches: Iterable[Any]) -> dict[str, float]:
    """The loss and the metrics that `trainer.test` would report, {"loss": ..., metric: ...}.

    Batches must be on the task's device. Dropout is off; afterwards the task has its former mode again.
    """
    was_training = task.training
    task.eval()
    task.forget()
    try:
        for i, batch in enumerate(batches):
            task.validation_step(batch, i)
        loss, metrics = task.evaluation_metrics()
    finally:
        task.train(was_training)
    return {"loss": loss} | metrics
