"""Resuming a run."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext

from rnnlab.api.arguments import texts
from rnnlab.errors import UserError
from rnnlab.runs import run as folder
from rnnlab.runs.record import ENDED

HIDDEN = ("<secret>", "<environment: ")  # runs/secrets.py writes these into a config in place of a password


def resume(run: folder.Run, overrides: Sequence[str] = (), *, quiet: bool = False) -> folder.Run:
    """See `rnnlab.Run.resume`. Raises UserError for a finished run without overrides, and for others with overrides."""
    from rnnlab.config import compose
    from rnnlab.config.texts import quoted
    from rnnlab.display import shown, train

    if run.status in ENDED:
        if not overrides:
            raise UserError(
                f"{run.folder} is {run.status}; a larger trainer.max_epochs or max_steps trains it for longer"
            )
        asked = [f"resume={quoted(str(run.folder))}", *texts(overrides)]
        return train(compose(asked), asked, quiet=quiet)
    if overrides:
        raise UserError(
            f"{run.folder}: its status is {run.status}; it goes on as it was asked, without {overrides[0]}"
        )
    from rnnlab.config.reading import read
    from rnnlab.config.run_config import as_dict
    from rnnlab.runs.data import kept_here
    from rnnlab.runs.load import permitted
    from rnnlab.runs.manifest import command_line
    from rnnlab.runs.run_path import Place
    from rnnlab.terminal import notebook
    from rnnlab.training import accelerator
    from rnnlab.training.train import train_config

    config, record, display = copy.deepcopy(run.config), run.record, shown(quiet)
    if any(word in str(config) for word in HIDDEN):
        raise UserError(
            f"{run.folder}: its config holds a secret, which is not kept; give the same overrides again"
        )
    trust = getattr(run, "trust", False)
    with nullcontext() if quiet else notebook.block(), permitted(run, config, trust):
        if problems := read(as_dict(config)).problems:
            raise UserError(f"{run.folder / 'config.yaml'}: {problems[0]}")
        config["data"] = kept_here(config["data"])
        config["rerun"] = False  # else a run that began with rerun=true would begin again
        _, device = accelerator.take(config["trainer"]["accelerator"])
        where = Place(run.folder, record["id"], record.get("group", ""), record.get("label", ""))
        train_config(config, where, run.overrides, command=command_line(), device=device, display=display)
        display.end(run)
    return run
