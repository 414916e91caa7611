"""The results of a run: scores of its best weights, of the baselines and of the floor."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

from rnnlab.cells.size import size_of
from rnnlab.data.loader import Loader
from rnnlab.data.module import SPLITS
from rnnlab.tasks.evaluation import evaluate
from rnnlab.tasks.task import Task
from rnnlab.tasks.trainer import callbacks_of
from rnnlab.training.checkpoints import world_of
from rnnlab.training.generators import gives
from rnnlab.training.hooks import Hooks
from rnnlab.training.native_steps import Kernels
from rnnlab.training.passes import are_there


def assess(
    trainer: Trainer,
    task: LightningModule,
    data: Any,
    best_weights: dict[str, torch.Tensor] | None,
    validated: bool,
) -> dict[str, Any]:
    """Scores the best weights on the test part; adds the baselines and the floor of the parts that were scored.

    Where nothing was `validated`, the last weights count as the best, and are also scored on the training part.
    """
    results: dict[str, Any] = {}
    if isinstance(task, Task):
        parameters = sum(p.numel() for p in task.parameters())
        results |= {"parameters": parameters, "multiplications": size_of(task.stack).multiplications}
    if best_weights is not None:
        task.load_state_dict(best_weights)
    test = data.test_dataloader() if gives(data, "test_dataloader") else None
    hooks: Hooks = trainer.fit_loop.hooks  # type: ignore[attr-defined]
    heard = any(hooks.kinds(stem) for stem in ("on_test", "setup", "teardown"))
    if (world := world_of(task)) is not None:  # all ranks must take the same branch
        heard = bool(world.first("heard" * heard)[0])
    limit = trainer.limit_test_batches  # 1 is one batch, 1.0 all
    unheard = limit == 1.0 and isinstance(limit, float) and trainer.fit_loop.own and not heard  # type: ignore[attr-defined]
    if isinstance(task, Task) and isinstance(test, Loader) and unheard:
        kernels = next((c for c in callbacks_of(trainer) if isinstance(c, Kernels)), None)
        if kernels is not None and kernels.score(trainer, task, test, "test", len(test)):
            loss, metrics = task.evaluation_metrics()
            results["test"] = {"loss": loss} | metrics
        else:
            results["test"] = evaluate(task, test)
    elif are_there(test) and is_overridden("test_step", task):
        trainer.test(task, datamodule=data, verbose=False)
        logged = {k.removeprefix("test/"): float(v) for k, v in trainer.callback_metrics.items()}
        results["test"] = getattr(task, "evaluated", None) or logged
    if not validated and isinstance(task, Task):
        results["train"] = evaluate(task, data.loader("train"))
    for split in [s for s in SPLITS if s in results or (s == "val" and validated)]:
        for key in ("baselines", "floor", "facts"):
            if hasattr(data, key):  # a user-defined data set may have none of them
                results.setdefault(key, {})[split] = getattr(data, key)(split)
    return results
