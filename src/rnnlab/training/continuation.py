"""`resume=RUN trainer.max_steps=...`: trains a finished run for longer, as a new run (the child of its parent RUN)."""

import copy
import hashlib
import shutil
from pathlib import Path
from typing import Any, cast

from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from omegaconf import DictConfig, OmegaConf

from rnnlab.config import base_config, deciding
from rnnlab.config.dotted import value_at
from rnnlab.config.reading import read
from rnnlab.config.run_config import RunConfig, as_dict
from rnnlab.config.schema import COMPONENTS, NAMED, SECTIONS
from rnnlab.errors import UserError
from rnnlab.runs.checksum import checksum_error
from rnnlab.runs.data import kept_here
from rnnlab.runs.files import write_json
from rnnlab.runs.identity import leaves
from rnnlab.runs.load import read_checkpoint, refuse_foreign
from rnnlab.runs.lock import lock
from rnnlab.runs.manifest import config_folders
from rnnlab.runs.record import ENDED, Record
from rnnlab.runs.run import Run, now
from rnnlab.training.assembly import is_a
from rnnlab.training.checkpoints import WholeFiles
from rnnlab.training.display import Display
from rnnlab.training.loop import position_of
from rnnlab.training.resumption import checkpoint_of, digests, lengths, manifest_before
from rnnlab.training.schedules import of_length

LIMITS = ("trainer.max_steps", "trainer.max_epochs")
OF_THIS_COMMAND = ("resume", "resume_engine", "rerun")
CHILD = "child"  # key of a checkpoint that was made from the parent's
AVERAGING = (StochasticWeightAveraging, WeightAveraging)


def longer(cfg: DictConfig, overrides: list[str]) -> tuple[RunConfig, list[str], Run]:
    """The config of the longer run, the overrides of an equal run from the start, and the parent.

    The longer run gives the numbers of an uninterrupted run of that length. Raises UserError for a parent that has not
    reached its limit, a schedule that depends on the length, and a change of anything that decides numbers.
    """
    parent = Run.open(cfg.resume)
    at = f"resume={cfg.resume}"
    if parent.status not in ENDED:
        raise UserError(f"{at}: its status is {parent.status}; the command that began it goes on with it")
    config = as_dict(copy.deepcopy(parent.config)) | {
        "resume": str(parent.folder),
        "resume_engine": cfg.resume_engine,
    }
    config["rerun"] = bool(cfg.rerun)
    if not all(isinstance(config.get(s), dict) for s in SECTIONS if s != "sweep") or "name" not in config:
        raise UserError(f"{parent.folder / 'config.yaml'}: not the config of a run")
    config["paths"] = paths_of(parent, cast(RunConfig, config), cfg)
    config["data"] = kept_here(config["data"])
    refuse_others_code(parent, config, cfg)
    # overrides of Hydra itself, such as hydra.searchpath, are taken from the command
    before = [o for o in parent.overrides if not o.lstrip("+~").startswith("hydra")]
    held = {o.partition("=")[0].lstrip("+~"): o for o in before}  # the last override of each key
    asked = [o for o in overrides
             if (key := o.partition("=")[0].lstrip("+~")) not in OF_THIS_COMMAND and held.get(key) != o]  # fmt: skip
    for override in asked:
        key = override.partition("=")[0].lstrip("+~")
        path, _, name = key.rpartition(".")
        if (section := key.split(".")[0]) in NAMED and (override.startswith("~") or key == section):
            # a change here that decides numbers is refused below
            config[section] = OmegaConf.to_container(cfg[section], resolve=True) if section in cfg else {}
            continue
        node = value_at(config, path)
        if not isinstance(node, dict) or override.startswith("~") or isinstance(node.get(name), dict):
            raise UserError(
                f"{at}: {override} cannot change in a resumed run; only its length can: {' or '.join(LIMITS)}"
            )
        value = OmegaConf.select(cfg, key)
        node[name] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    if problems := read(config).problems:
        raise UserError(*problems)
    checked = cast(RunConfig, config)
    refuse_changes(at, parent.config, checked)
    refuse_shorter(at, parent, checked)
    return checked, [*before, *asked], parent


def base_of(parent: Run, overrides: list[str], config_dir: str | None, *, choices: bool) -> Any:
    """The config that the overrides start from. Where the command names no config folder, the parent's is used.
    Raises UserError, with the option to add, where that folder is gone.
    """
    if config_dir is None:
        named = config_folders(manifest_before(parent).get("command", []))
        config_dir = next((folder for folder in named if Path(folder).is_dir()), None)
    try:
        return base_config(overrides, config_dir, choices=choices)
    except UserError as error:
        if config_dir is not None:
            raise
        raise UserError(
            f"{error} (if {parent.folder} was trained with --config-dir FOLDER, add it here, too)"
        ) from error


def refuse_others_code(parent: Run, config: dict[str, Any], cfg: DictConfig) -> None:
    """Raises UserError where the parent's config names code that is neither rnnlab's nor the user's own.

    A class is the user's own where it is unchanged since the parent was trained (`is_own`), or where the command
    itself names it with the same arguments, for example through `experiment=...`.
    """
    asked = {
        key: OmegaConf.to_container(cfg[key], resolve=True) for key in (*COMPONENTS, *NAMED) if key in cfg
    }

    def named(at: str, node: Any) -> bool:
        found = value_at(asked, at)
        return bool(found) and found == node

    refuse_foreign(parent, config, False, named,
                   "if it is yours, and has changed since, name it in the command, too")  # fmt: skip


def paths_of(parent: Run, config: RunConfig, cfg: DictConfig) -> dict[str, Any]:
    """The `paths` of the longer run: the parent's, if the parent lies where its config says; else the command's.

    Raises UserError where a link among the outputs leads elsewhere.
    """
    own, asked = config["paths"].get("outputs"), cfg.paths.outputs
    beside = isinstance(own, str) and parent.folder.resolve().parent == (Path(own) / config["name"]).resolve()
    outputs = own if beside else asked
    if not beside and not (Path(outputs) / config["name"]).resolve().is_relative_to(Path(outputs).resolve()):
        raise UserError(
            f"resume={cfg.resume}: its name {config['name']} leads out of paths.outputs={outputs}"
        )
    return {"outputs": outputs, "data": cfg.paths.data}


def refuse_changes(at: str, before: RunConfig, config: RunConfig) -> None:
    ours, theirs = leaves(deciding(as_dict(config))), leaves(deciding(as_dict(before)))
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if key not in LIMITS]
    # as texts: a limit of 1 is one batch, and 1.0 all
    changed = [key for key in keys if repr(ours.get(key)) != repr(theirs.get(key))]
    if changed:
        raise UserError(
            f"{at}: {', '.join(changed)} cannot change in a resumed run; only its length can: {' or '.join(LIMITS)}"
        )
    scheduler = config["scheduler"]
    own = [f"{key}={scheduler[key] or 'null'}" for key in of_length(scheduler)]
    if own:
        raise UserError(f"{at}: the schedule {str(scheduler['_target_']).rpartition('.')[2]} depends on the length of "
                        f"the run (scheduler.{own[0]}); a longer run is another run from its start")  # fmt: skip
    for name, node in config["callbacks"].items():
        if node and any(is_a(node, f"callbacks.{name}", kind) for kind in AVERAGING):
            raise UserError(f"{at}: callbacks.{name} has put averages in the place of the trained weights at the end "
                            "of the run; a longer run is another run from its start")  # fmt: skip


def refuse_shorter(at: str, parent: Run, config: RunConfig) -> None:
    if why := checksum_error(parent.last_checkpoint):
        raise UserError(f"{at}: {parent.last_checkpoint.name} {why}")
    checkpoint = read_checkpoint(parent.last_checkpoint)
    if checkpoint["callbacks"]["Checkpoints"]["ended"] != "limit":
        raise UserError(f"{at}: it was ended by a callback before its limit, and would be again")
    trainer, steps = config["trainer"], checkpoint["global_step"]
    epochs = position_of(checkpoint["loops"]["fit_loop"])["epoch"]
    for key, limit, done in (
        ("max_steps", trainer["max_steps"], steps),
        ("max_epochs", trainer["max_epochs"], epochs),
    ):
        if 0 <= limit <= done:
            raise UserError(f"{at}: trainer.{key}={limit} is reached already; give a larger one, or -1")


def prepare(child: Run, parent: Run, display: Display) -> None:
    """Makes the child's folder as if the child had been stopped where its parent ended, unless the child has begun."""
    with lock(child.folder):
        if child.known.get("status") in ENDED or checkpoint_of(child) is not None:
            return
        if child.folder.exists():
            shutil.rmtree(child.folder)
        child.last_checkpoint.parent.mkdir(parents=True)
        checkpoint = read_checkpoint(parent.last_checkpoint)
        known = lengths(checkpoint)
        for name, length in known.items():
            if Path(name).name == name and (parent.folder / name).is_file():
                content = (parent.folder / name).read_bytes()[:length]
                content = display.inherit(parent.folder / name, content)
                (child.folder / name).write_bytes(content)
                known[name] = len(content)
                digests(checkpoint)[name] = hashlib.sha256(content).hexdigest()
        go_on(checkpoint)
        WholeFiles().save_checkpoint(checkpoint, child.last_checkpoint)
        shutil.copy(parent.manifest_file, child.manifest_file)  # records the data that it has been trained on
        about: Record = {"status": "stopped", "created": now(), "parent": str(parent.folder)}
        if "seconds" in parent.known:
            about["seconds"] = parent.known["seconds"]
        write_json(child.folder / "run.json", about, durable=True)  # last: without it there is no run


def go_on(checkpoint: dict[str, Any]) -> None:
    """Turns the checkpoint of a run's end into one that a longer run begins from. The best weights of a parent without
    a validation, which are its last ones, are dropped.
    """
    checkpoint[CHILD] = True
    for key in [key for key in checkpoint["callbacks"] if key.startswith("ModelCheckpoint")]:
        del checkpoint["callbacks"][key]  # it lists the parent's files, which the child must not remove
    kept = checkpoint["callbacks"]["Checkpoints"]
    if "value" not in kept["best"]:
        kept |= {"best": {}, "last": {}, "best_weights": None}


def is_childs_first(path: Path | None) -> bool:
    """Whether `path` is the checkpoint that `prepare` made: the child has not written anything of its own yet."""
    return path is not None and bool(read_checkpoint(path).get(CHILD))
