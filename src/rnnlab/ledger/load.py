"""A trained model from its run's folder. The folder is data: only code that is trusted is called."""

from typing import Any

import torch

from rnnlab.config import build
from rnnlab.errors import UserError
from rnnlab.ledger.manifest import foreign_targets
from rnnlab.ledger.run import Run


def read_checkpoint(path: Any) -> dict[str, Any]:
    """A checkpoint as plain types and tensors. Raises UserError where it is missing, damaged or holds code."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise UserError(f"{path}: no checkpoint there; the run may not have got so far") from None
    except Exception as error:
        cause = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: not a checkpoint that can be read safely: {cause}") from error


def refuse_foreign(run: Run, node: Any, trust: bool) -> None:
    """Raises UserError where a node of the run's config names code outside rnnlab, unless it is trusted."""
    foreign = sorted(foreign_targets(node))
    if foreign and not trust:
        raise UserError(
            f"{run.folder} is made with {', '.join(foreign)}, code outside rnnlab; "
            "if you trust it, load it with trust=True (--trust)"
        )


def load_model(run: Run, trust: bool = False) -> Any:
    """The run's LightningModule with its best weights, in evaluation mode on the CPU.

    Raises UserError where the config names code outside rnnlab, torch and lightning, unless `trust` is set.
    """
    config = run.config
    refuse_foreign(run, config["model"], trust)
    checkpoint = read_checkpoint(run.best_checkpoint)
    options = {k: v for k, v in config["model"].items() if k != "init_from"} | {"engine": "auto"}
    model = build(options, "model", spec=checkpoint["spec"], seed=config["seed"])
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval()


def initialise_from(task: Any, folder: str) -> None:
    """Starts a task from a run's best weights. Raises UserError where their shapes differ."""
    weights = read_checkpoint(Run.open(folder).best_checkpoint)["state_dict"]
    ours = task.state_dict()
    for name in sorted(ours.keys() | weights.keys()):
        there = tuple(weights[name].shape) if name in weights else "nothing"
        here = tuple(ours[name].shape) if name in ours else "nothing"
        if there != here:
            raise UserError(f"model.init_from={folder}: {name} is {there} there and {here} here")
    task.load_state_dict(weights)
