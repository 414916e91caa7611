"""The predictions of a run's best weights, for a part of a data set or for given arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnlab.api.arguments import texts
from rnnlab.api.part import as_trained, part, plain_part, quietly, warn_of_changed_code
from rnnlab.errors import UserError
from rnnlab.runs.run import Run, out_of_memory


def predict(
    run: Run, overrides: Sequence[str] = (), split: str | None = None, trust: bool = False
) -> np.ndarray:
    """The predictions of the task's `predict_step` for all sequences of a part, in the order of the data.

    `overrides` and `split` are as for `evaluate`; the same errors are raised.
    """
    import torch
    from lightning.pytorch.utilities.model_helpers import is_overridden

    from rnnlab.runs.load import load_model
    from rnnlab.tasks import Task

    task, overrides = load_model(run, trust), texts(overrides)
    if isinstance(task, Task):
        as_trained(run, task)
        data, split, _ = part(run, task, overrides, split, trust)
        warn_of_changed_code(run, "model", "data")
        with torch.inference_mode():
            batches = data.loader("test" if split == "all" else split)
            return stacked(
                [task.predict_step(batch, i) for i, batch in enumerate(batches)], task.predicted_along
            )
    data, found, _, trainer = plain_part(run, task, overrides, split, trust, predicting=True)
    warn_of_changed_code(run, "model", "data")
    if found == "val":
        data.setup("validate")
    loader = getattr(data, f"{found}_dataloader")()
    if is_overridden("predict_step", task):
        with quietly():
            return stacked(trainer.predict(task, loader), 0)
    with torch.inference_mode():  # Lightning's default predict_step would pass the targets to the module, too
        try:
            return stacked(
                [task(batch[0] if isinstance(batch, list | tuple) else batch) for batch in loader], 0
            )
        except (TypeError, NotImplementedError) as error:
            raise UserError(f"predict: {type(task).__name__} needs a predict_step: {error}") from error


def predict_on(run: Run, x: Any, trust: bool = False) -> np.ndarray:
    """The run's predictions for x: values of a series (B, T, inputs) in its own units, or ids (B, T).

    A LightningModule of the user's own is called with x, whose fractions get the type of its weights.
    """
    import torch

    from rnnlab.runs.load import load_model
    from rnnlab.tasks import Task

    task, given = load_model(run, trust), numbers(x)
    warn_of_changed_code(run, "model")
    if not given.numel():
        raise UserError(f"predict: x is {tuple(given.shape)}, with nothing in it")
    with torch.inference_mode():
        if isinstance(task, Task):
            as_trained(run, task)
            return np.asarray(task.predict_given(given))
        kinds = (p.dtype for p in task.parameters() if p.is_floating_point())
        if given.is_floating_point():
            given = given.to(next(kinds, torch.float32))
        try:
            return stacked([task(given)], 0)
        except (TypeError, NotImplementedError, RuntimeError) as error:
            if out_of_memory(error):
                raise
            said = str(error).strip().partition("\n")[0]
            raise UserError(
                f"predict: forward of {type(task).__name__} does not take x, {tuple(given.shape)} {given.dtype}: {said}"
            ) from error


def numbers(x: Any) -> Any:
    """A tensor of x: an array of any layout, nested lists, a DataFrame, or a tensor on any device. Raises UserError
    where it holds anything but numbers.
    """
    import torch

    if isinstance(x, torch.Tensor):
        return x.detach().cpu()
    try:
        array = np.asarray(x)
    except ValueError:  # nested lists of several lengths
        raise UserError("predict: x holds rows of several lengths") from None
    if array.dtype.kind not in "biuf":
        kind = type(x).__name__ if array.dtype == object else array.dtype
        raise UserError(f"predict: x is a {kind}, and no array of numbers")
    whole = array.dtype.kind != "f"
    return torch.from_numpy(np.array(array, dtype=np.int64 if whole else np.float64, order="C"))


def stacked(parts: list[Any], along: int) -> np.ndarray:
    """The predictions of all batches as one array. Raises UserError where there is none, or one is not a tensor."""
    import torch

    if not parts:
        raise UserError("predict: this part of the data has no batches")
    if others := [part for part in parts if not isinstance(part, torch.Tensor)]:
        kind = type(others[0]).__name__
        raise UserError(f"predict: the model gives a {kind}; only tensors can be put together")
    try:
        found = torch.cat(parts, dim=along)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        shapes = ", ".join(dict.fromkeys(str(tuple(part.shape)) for part in parts))
        raise UserError(f"predict: the batches' results cannot be put together: {shapes}") from error
    found = found.float() if found.dtype == torch.bfloat16 else found  # NumPy has no bfloat16
    return found.numpy(force=True)
