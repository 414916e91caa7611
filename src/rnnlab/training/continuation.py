"""`resume=RUN trainer.max_steps=...`: a finished run trained for longer, as a run of its own."""

import copy
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rnnlab.config import deciding
from rnnlab.config.reading import read
from rnnlab.errors import UserError
from rnnlab.ledger.claims import claim
from rnnlab.ledger.files import write_json
from rnnlab.ledger.identity import leaves
from rnnlab.ledger.load import read_checkpoint, refuse_foreign
from rnnlab.ledger.run import Run, now
from rnnlab.ledger.seal import broken
from rnnlab.ledger.yaml import read_yaml
from rnnlab.training.resumption import checkpoint_of, lengths

LIMITS = ("trainer.max_steps", "trainer.max_epochs")
OURS = ("resume", "resume_engine", "rerun")


def longer(cfg: DictConfig, overrides: list[str]) -> tuple[dict[str, Any], list[str], Run]:
    """The config of the longer run, what it would be asked with from the start, and the run that it goes on from.

    Its numbers are those of a run of that length that was never broken off. Raises UserError for a run that has not
    come to its limit, a schedule that depends on the length, and a change of anything that decides numbers.
    """
    parent = Run.open(cfg.resume)
    at = f"resume={cfg.resume}"
    if parent.status != "finished":
        raise UserError(f"{at}: its status is {parent.status}; the command that began it goes on with it")
    config = copy.deepcopy(parent.config) | {"resume": str(parent.folder), "resume_engine": cfg.resume_engine}
    config["rerun"] = bool(cfg.rerun)
    if not parent.folder.resolve().is_relative_to(Path(cfg.paths.outputs).resolve()):
        refuse_foreign(parent, config, trust=False)  # a stranger's
    asked = [o for o in overrides if o.partition("=")[0] not in OURS]
    for override in asked:
        key = override.partition("=")[0].lstrip("+~")
        *path, name = key.split(".")
        node = config
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None  # type: ignore[assignment]
        if not isinstance(node, dict) or override.startswith("~") or isinstance(node.get(name), dict):
            raise UserError(
                f"{at}: {override} changes what the run is; its length alone may change: {' '.join(LIMITS)}"
            )
        node[name] = OmegaConf.select(cfg, key)
    if problems := read(config).problems:
        raise UserError("\n".join(problems))
    refuse_changes(at, parent.config, config)
    refuse_shorter(at, parent, config)
    return config, [*known_overrides(parent), *asked], parent


def refuse_changes(at: str, before: dict[str, Any], config: dict[str, Any]) -> None:
    ours, theirs = leaves(deciding(config)), leaves(deciding(before))
    changed = [k for k in dict.fromkeys([*ours, *theirs]) if ours.get(k) != theirs.get(k) and k not in LIMITS]
    if changed:
        raise UserError(f"{at}: {', '.join(changed)} decides the numbers and cannot change on the way")
    scheduler = config["scheduler"]
    if "total_steps" in scheduler and scheduler["total_steps"] is None:
        raise UserError(f"{at}: the schedule {str(scheduler['_target_']).rpartition('.')[2]} depends on the length of "
                        "the run (scheduler.total_steps=null); a longer run is another run from its start")  # fmt: skip


def refuse_shorter(at: str, parent: Run, config: dict[str, Any]) -> None:
    if why := broken(parent.last_checkpoint):
        raise UserError(f"{at}: {parent.last_checkpoint.name} {why}")
    checkpoint = read_checkpoint(parent.last_checkpoint)
    if checkpoint["callbacks"]["Checkpoints"]["ended"] != "limit":
        raise UserError(f"{at}: it was ended by a callback before its limit, and would be again")
    trainer, steps = config["trainer"], checkpoint["global_step"]
    if (
        trainer["max_epochs"] < 0
        and checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    ):
        # Lightning, where no max_epochs is set, takes up the epoch that has ended, with its order of batches
        raise UserError(f"{at}: trainer.max_steps ended it exactly at the end of an epoch, from where it cannot go on "
                        "with the same bits; give trainer.max_epochs, too")  # fmt: skip
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    for key, done in (("max_steps", steps), ("max_epochs", epochs)):
        if 0 <= trainer[key] <= done:
            raise UserError(
                f"{at}: trainer.{key}={trainer[key]} is reached already; give a larger one, or -1"
            )


def known_overrides(run: Run) -> list[str]:
    file = run.folder / "overrides.yaml"
    return [str(o) for o in read_yaml(file) or []] if file.is_file() else []


def prepare(child: Run, parent: Run) -> None:
    """Makes the longer run's folder as if it had been stopped where its parent ended, unless it has begun."""
    with claim(child.folder):
        if child.status == "finished" or checkpoint_of(child) is not None:
            return
        if child.folder.exists():
            shutil.rmtree(child.folder)
        child.last_checkpoint.parent.mkdir(parents=True)
        for name in lengths(read_checkpoint(parent.last_checkpoint)):
            if (parent.folder / name).is_file():
                shutil.copy(parent.folder / name, child.folder / name)
        shutil.copy(parent.last_checkpoint, child.last_checkpoint)
        about = {"status": "stopped", "created": now(), "parent": str(parent.folder)}
        write_json(child.folder / "run.json", about)  # last: without it there is no run
