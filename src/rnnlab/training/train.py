"""Trains one run, from a composed config to its results: the entry point of every training."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig

from rnnlab import import_path as workplace
from rnnlab.config import base_config, build, check, deciding
from rnnlab.config.run_config import RunConfig, as_dict
from rnnlab.config.trainer_schema import cannot_take, processes
from rnnlab.config.training_schema import CALLBACKS
from rnnlab.errors import RunFailed, UserError, warn
from rnnlab.runs.config_diff import missing_callbacks
from rnnlab.runs.disk import disk
from rnnlab.runs.files import clear_leftovers
from rnnlab.runs.generators import TRAINED, drawn_by_run, may_draw, seed_all, seed_built, seed_setup
from rnnlab.runs.identity import leaves
from rnnlab.runs.load import refuse_other_defaults
from rnnlab.runs.lock import lock
from rnnlab.runs.manifest import command_line, manifest
from rnnlab.runs.record import EARLY, ENDED
from rnnlab.runs.run import Run, now
from rnnlab.runs.run_path import Place, place, with_existing_folder
from rnnlab.runs.sources import foreign_targets, why_stale
from rnnlab.tasks.task import Task
from rnnlab.tasks.trainer import callbacks_of
from rnnlab.training import accelerator, distributed, preflight, trackers
from rnnlab.training.assembly import engine_of, make_task, make_trainer
from rnnlab.training.checkpoints import Checkpoints, is_fast_dev_run
from rnnlab.training.continuation import base_of, is_childs_first, longer, prepare
from rnnlab.training.display import About, Display, failure_shown
from rnnlab.training.folder_guard import FolderGuard
from rnnlab.training.generators import Generators
from rnnlab.training.interruption import Interruption, Stopped
from rnnlab.training.leader import Leader
from rnnlab.training.loggers import introduce
from rnnlab.training.native_steps import Kernels
from rnnlab.training.quiet import quiet
from rnnlab.training.recorder import Recorder, run_loggers
from rnnlab.training.results import assess
from rnnlab.training.resumption import (
    changes_on_the_way,
    checkpoint_of,
    damage,
    engine_label,
    refuse_links,
    refuse_other_data,
    refuse_other_engine,
    restore_config,
    threads_before,
)
from rnnlab.training.stock_callbacks import one_fit
from rnnlab.training.stock_loggers import apart, remember
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
    undisturbed = nullcontext() if drawing is None else drawn_by_run()
    with (
        lock(run.folder) as ours,
        quiet(),
        thread_count(threads),
        failure_shown(run, display),
        undisturbed,
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
        from_checkpoint = None if restart else checkpoint_of(run, warn)
        if from_checkpoint is not None:
            refuse_links(run)
        engine, resume = engine_of(task, config, data), from_checkpoint is not None
        if threads is None:
            one_where_it_counts(engine, config["trainer"]["accelerator"])
        several = processes(config["trainer"]) > 1
        world = Leader(config, run.folder, from_checkpoint) if several else None
        if from_checkpoint is not None:
            refuse_other_engine(run, from_checkpoint, engine_label(engine), config["resume_engine"])
            refuse_other_data(run, content_hash(data))

        # all objects are built before the folder is touched: a run that is refused neither makes nor removes a folder
        guard = FolderGuard(run, ours)
        recorder = Recorder(config["trainer"]["log_every_n_steps"], config["trainer"]["divergence_factor"],
                            check=guard.check, metrics=run.metrics_file)  # fmt: skip
        checkpoints = Checkpoints(run, recorder, config["monitor"], config["mode"], engine_label(engine),
                                  check=guard.check, disk_wait=disk_wait, **config["checkpoint"])  # fmt: skip
        interruption = Interruption(checkpoints, judge, stop)
        callbacks: list[Any] = [guard, recorder, interruption, checkpoints]
        if engine["steps"] == "native":
            kernels = Kernels(checkpoints, config["trainer"]["steps_per_call"])
            kernels.move(task)
            callbacks.insert(0, kernels)
        if drawing is not None:
            callbacks.insert(0, drawing)
            drawing.wrap(data, task)
        with preflight.leaving_nothing(run.folder):
            trainer = make_trainer(
                config, run, task, callbacks=callbacks, bars=display.bars, resume=resume, group=where.label,
                world=world,
            )  # fmt: skip
            preflight.rehearse(task)
        if isinstance(task, Task):
            task.world = world

        if from_checkpoint is not None:
            if config["trainer"]["precision"] == "64-true":
                task.double()  # Lightning converts only after loading the weights, and would round them
            clear_leftovers(run.folder)
        elif run.folder.exists():
            ours.check()
            run.remove()
        changed = changes_on_the_way(run, config, warn) if resume else {}
        run.create(where.id, config["name"], config, overrides, where.group, where.label, durable=resume)
        made_with = manifest(config, engine=engine, data_hash=content_hash(data), command=command) | changed
        run.write_manifest(made_with, durable=resume)
        guard.begin()
        child = is_childs_first(from_checkpoint)
        about = About(run, config, overrides, made_with, task, data, device, resumed=resume, lengthened=child)
        display.begin(about)
        for logger in run_loggers(trainer) if not resume or child else ():
            logger.begin(about)
        run.update(status="running", started=run.known.get("started") or now(), engine=engine)
        checkpoints.begin(run.known.get("seconds", 0.0))
        status, why = "finished", ""
        results: dict[str, Any] = {}
        with interruption.listening(), run.failing(), disk(run), apart(), world or nullcontext():
            try:
                watch(trainer)
                if drawing is not None:
                    seed_all(config["seed"], TRAINED)
                trackers.begin(trainer.loggers, where.label, config["tags"])
                introduce(trainer.loggers, config)
                if not is_fast_dev_run(trainer):  # with fast_dev_run Lightning removes the loggers
                    remember(run, trainer.loggers[1:], config)
                fit = trainer.fit
                with one_fit(trainer, callbacks):
                    fit(task, datamodule=data, ckpt_path=from_checkpoint)
                # before the test, where a callback (such as a batch-size finder) may train
                steps = trainer.global_step
                results = (
                    assess(trainer, task, data, checkpoints.best_weights, bool(checkpoints.last))
                    if not is_fast_dev_run(trainer)
                    else {}
                )
                if checkpoints.ended == "callback":
                    status, why = EARLY, stopped_early(config, steps)
            except Stopped as stopped:
                status, why, steps = stopped.status, str(stopped), trainer.global_step
            except BaseException as error:
                if isinstance(error, UserError):
                    error.exit_code = RunFailed.exit_code  # the run has begun: its folder holds the reason
                with suppress(Exception):  # the first error is raised below
                    asked = isinstance(error, KeyboardInterrupt | SystemExit)
                    trackers.conclude(
                        trainer.loggers, "stopped" if asked else "failed", {}, checkpoints.monitor
                    )
                raise
            results |= {"steps": steps, "best": checkpoints.best, "last": checkpoints.last}
            trackers.conclude(
                trainer.loggers, status, results, checkpoints.monitor, config["logger"], run.folder
            )
        if isinstance(task, Task):
            task.world = None
        seconds = checkpoints.seconds
        with disk(run):
            guard.check()
            for logger in run_loggers(trainer) if status in ENDED else ():
                logger.end(about, results, seconds)
            run.update(status=status, why=why, ended=now(), seconds=seconds, results=results)
        if display.figures and status in ENDED and not is_fast_dev_run(trainer):
            for callback in callbacks_of(trainer):
                if (draw_run := getattr(callback, "draw_run", None)) is not None:
                    try:
                        draw_run(run, task, data)
                    except UserError as error:  # the run has finished all the same
                        warn(f"no picture: {error}")
    return run


def stopped_early(config: RunConfig, step: int) -> str:
    """Names what set `trainer.should_stop` at `step`: the user's callback, if the config has exactly one."""
    named = [str(node["_target_"]) for node in config["callbacks"].values() if node]
    own = [name for name in named if name not in CALLBACKS and not name.startswith("lightning.")]
    return f"{own[0] if len(own) == 1 else 'trainer.should_stop'} at step {step:,}"


def content_hash(data: Any) -> str | None:
    """SHA-256 of the data that models see; None for a user-defined data set without `content_hash`."""
    return getattr(data, "content_hash", None)
