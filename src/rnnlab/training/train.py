"""Trains one run, from a composed config to its results: the entry point of every training."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig

from rnnlab import import_path as workplace
from rnnlab.config import base_config, build, check, deciding
from rnnlab.config.run_config import RunConfig, as_dict
from rnnlab.config.trainer_schema import cannot_take, processes
from rnnlab.errors import UserError, warn
from rnnlab.runs.config_diff import missing_callbacks
from rnnlab.runs.generators import drawn_by_run, may_draw, seed_built, seed_setup
from rnnlab.runs.identity import leaves
from rnnlab.runs.load import refuse_other_defaults
from rnnlab.runs.lock import lock
from rnnlab.runs.manifest import command_line
from rnnlab.runs.record import ENDED
from rnnlab.runs.run import Run
from rnnlab.runs.run_path import Place, place, with_existing_folder
from rnnlab.runs.sources import foreign_targets, why_stale
from rnnlab.training import accelerator, distributed, preflight, stages
from rnnlab.training.assembly import engine_of, make_task
from rnnlab.training.continuation import base_of, longer, prepare
from rnnlab.training.display import Display, failure_shown
from rnnlab.training.generators import Generators
from rnnlab.training.quiet import quiet
from rnnlab.training.resumption import (
    checkpoint_of,
    damage,
    engine_label,
    refuse_links,
    refuse_other_data,
    refuse_other_engine,
    restore_config,
    threads_before,
)
from rnnlab.training.threads import one_where_it_counts, thread_count


def train(cfg: DictConfig, overrides: list[str], config_dir: str | None, display: Display) -> Run:
    """Trains the run of a composed config; returns the run, whose folder holds the results.

    A finished run is not trained again, unless `rerun=true`; where its code or data has changed since, a line says so.
    A run that was stopped resumes from its last checkpoint. Raises UserError, before any work, for an invalid config,
    and RunFailed, after marking the run as failed, where the training fails.
    """
    config, parent = check(cfg, overrides, config_dir), None
    refuse_other_defaults(config["model"]["_target_"])
    if config["resume"]:
        config, overrides, parent = longer(cfg, overrides)
    config.pop("sweep", None)  # does not apply to a single run
    overrides = [o for o in overrides if not o.startswith(("sweep.", "sweep="))]
    config["trainer"]["accelerator"], why_device = accelerator.take(config["trainer"]["accelerator"])
    trainer = config["trainer"]
    distributed.settle(trainer)
    if (n := processes(trainer)) > 1:
        why_device += f"; {n} processes share each batch"
    if why := cannot_take(trainer["accelerator"], trainer["precision"]):  # for the device that `auto` chose
        raise UserError(f"trainer.precision={trainer['precision']}: {why}")

    def base(choices: bool) -> dict[str, Any]:
        if parent is None:
            return leaves(deciding(base_config(overrides, config_dir, choices=choices)))
        return leaves(deciding(base_of(parent, overrides, config_dir, choices=choices)))

    where = with_existing_folder(place(config, deciding(config), base(False), base(True)))
    run = Run(where.folder)
    if run.known.get("status") in ENDED and not config["rerun"]:
        restore_config(run, config, overrides, warn)
        display.already_finished(run, missing_callbacks(run, config), why_stale(run, config))
        return run
    strangers = parent is not None and not foreign_targets(config)  # the folder may be a stranger's
    with workplace.absent() if strangers else nullcontext():
        if parent is not None:
            prepare(run, parent, display)
        try:
            train_config(config, where, overrides, command=command_line(), device=why_device, display=display)
        except UserError:
            if parent is not None and run.is_there and "started" not in run.known:
                run.remove()  # `prepare` made it, and then the run was refused
            raise
    display.end(run)
    return run


def load_data(config: RunConfig) -> Any:
    """The data set, prepared and set up for training. It does not change later, so that several runs may share it."""
    data = build(config["data"], "data")
    if may_draw(config):
        seed_setup(data, config["seed"])
    data.prepare_data()
    data.setup("fit")
    return data


def train_config(
    config: RunConfig,
    where: Place,
    overrides: list[str],
    *,
    command: list[str],
    device: str = "",
    display: Display | None = None,
    restart: bool = False,
    data_of: Callable[[RunConfig], Any] = load_data,
    watch: Callable[[Trainer], Any] = lambda trainer: None,
    judge: Callable[[int, float], str] | None = None,
    stop: Callable[[], str] = lambda: "",
    disk_wait: Callable[[], Any] = lambda: None,
    tell: Callable[[str], Any] = warn,
) -> Run:
    """Trains a checked config in its folder, from the start or from its last checkpoint. Every run goes through here.

    `device`: why this device was chosen, for display. `display`: shows the run. `restart`: trains a finished run again.
    `data_of`: makes the data set. `watch`: called with the Trainer before the fit, when signals are already handled.
    `judge` and `stop`: may end the training, see `Interruption`. `disk_wait`: called when only writing to the disk is
    left. `tell`: called with each note about settings that are possible but seldom meant.
    Raises Locked where another process trains the run.
    """
    distributed.settle(config["trainer"])
    run, display = Run(where.folder), display or Display()
    restart = restart or config["rerun"]
    threads = config["trainer"]["threads"] or (None if restart else threads_before(run))
    drawing = Generators(config["seed"], modules=foreign_targets(config)) if may_draw(config) else None
    with (
        lock(run.folder) as ours,
        quiet(),
        thread_count(threads),
        failure_shown(run, display),
        nullcontext() if drawing is None else drawn_by_run(),
        distributed.ungrouped(),
    ):
        if run.known.get("status") in ENDED and not restart and not why_stale(run, config):
            return run  # another process has finished it meanwhile
        if not restart and (why := damage(run)):
            warn(f"{why}. The run goes on from its last checkpoint if that is whole, else starts again.")
        if drawing is not None:
            seed_built(config["seed"], as_dict(config))
        data = data_of(config)
        task = make_task(config, data)
        preflight.refuse(config, task, data, tell)
        checkpoint = None if restart else checkpoint_of(run, warn)
        engine = engine_of(task, config, data)
        if threads is None:
            one_where_it_counts(engine, config["trainer"]["accelerator"])
        if checkpoint is not None:
            refuse_links(run)
            refuse_other_engine(run, checkpoint, engine_label(engine), config["resume_engine"])
            refuse_other_data(run, stages.content_hash(data))

        given = stages.Given(config, where, run, ours, data, task, engine, checkpoint, drawing)
        training = stages.build(given, display, judge=judge, stop=stop, disk_wait=disk_wait)
        about = stages.begin(training, overrides, command, device, display)
        ending = stages.fit(training, watch)
        stages.end(training, about, ending, display.figures)
    return run
