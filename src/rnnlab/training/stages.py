"""The stages of a training, which `train_config` goes through: build all objects, begin the folder, fit, end."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer

from rnnlab.config.run_config import RunConfig
from rnnlab.config.trainer_schema import processes
from rnnlab.config.training_schema import CALLBACKS
from rnnlab.errors import RunFailed, UserError, warn
from rnnlab.runs.disk import disk
from rnnlab.runs.files import clear_leftovers
from rnnlab.runs.generators import TRAINED, seed_all
from rnnlab.runs.lock import Lock
from rnnlab.runs.manifest import manifest
from rnnlab.runs.record import EARLY, ENDED
from rnnlab.runs.run import Run, now
from rnnlab.runs.run_path import Place
from rnnlab.tasks.task import Task
from rnnlab.tasks.trainer import callbacks_of
from rnnlab.training import preflight, trackers
from rnnlab.training.assembly import make_trainer
from rnnlab.training.checkpoints import Checkpoints, is_fast_dev_run
from rnnlab.training.continuation import is_childs_first
from rnnlab.training.display import About, Display
from rnnlab.training.folder_guard import FolderGuard
from rnnlab.training.generators import Generators
from rnnlab.training.interruption import Interruption, Stopped
from rnnlab.training.leader import Leader
from rnnlab.training.loggers import introduce
from rnnlab.training.native_steps import Kernels
from rnnlab.training.recorder import Recorder, run_loggers
from rnnlab.training.results import assess
from rnnlab.training.resumption import changes_on_the_way, engine_label
from rnnlab.training.stock_callbacks import one_fit
from rnnlab.training.stock_loggers import apart, remember


@dataclass(frozen=True)
class Given:
    """What a training begins with. `drawing` seeds generators that are not rnnlab's; None if there can be none."""

    config: RunConfig
    where: Place
    run: Run
    lock: Lock
    data: Any
    task: LightningModule
    engine: dict[str, str]
    from_checkpoint: Path | None
    drawing: Generators | None


@dataclass(frozen=True)
class Training:
    """The objects of a training, all of them built before its folder is touched."""

    given: Given
    guard: FolderGuard
    checkpoints: Checkpoints
    interruption: Interruption
    callbacks: list[Callback]  # rnnlab's own
    trainer: Trainer
    world: Leader | None  # the other processes of the run


class Ending(NamedTuple):
    """How a fit has ended; `why` says what stopped it before its last step, or ""."""

    status: str
    why: str
    results: dict[str, Any]


def build(
    given: Given,
    display: Display,
    *,
    judge: Callable[[int, float], str] | None,
    stop: Callable[[], str],
    disk_wait: Callable[[], Any],
) -> Training:
    """Builds all objects. A run that is refused here neither makes nor removes a folder."""
    config, run, task = given.config, given.run, given.task
    trainer_config = config["trainer"]
    several = processes(trainer_config) > 1
    world = Leader(config, run.folder, given.from_checkpoint) if several else None
    guard = FolderGuard(run, given.lock)
    recorder = Recorder(trainer_config["log_every_n_steps"], trainer_config["divergence_factor"],
                        check=guard.check, metrics=run.metrics_file)  # fmt: skip
    checkpoints = Checkpoints(run, recorder, config["monitor"], config["mode"], engine_label(given.engine),
                              check=guard.check, disk_wait=disk_wait, **config["checkpoint"])  # fmt: skip
    interruption = Interruption(checkpoints, judge, stop)
    callbacks: list[Callback] = [guard, recorder, interruption, checkpoints]
    if given.engine["steps"] == "native":
        kernels = Kernels(checkpoints, trainer_config["steps_per_call"])
        kernels.move(task)
        callbacks.insert(0, kernels)
    if given.drawing is not None:
        callbacks.insert(0, given.drawing)
        given.drawing.wrap(given.data, task)
    with preflight.leaving_nothing(run.folder):
        resume = given.from_checkpoint is not None
        trainer = make_trainer(config, run, task, callbacks=callbacks, bars=display.bars, resume=resume,
                               group=given.where.label, world=world)  # fmt: skip
        preflight.rehearse(task)
    if isinstance(task, Task):
        task.world = world
    return Training(given, guard, checkpoints, interruption, callbacks, trainer, world)


def begin(
    training: Training, overrides: list[str], command: list[str], device: str, display: Display
) -> About:
    """Makes the run's folder, or takes over that of the checkpoint, and writes config, manifest and status."""
    given = training.given
    config, where, run = given.config, given.where, given.run
    resume = given.from_checkpoint is not None
    if resume:
        if config["trainer"]["precision"] == "64-true":
            given.task.double()  # Lightning converts only after loading the weights, and would round them
        clear_leftovers(run.folder)
    elif run.folder.exists():
        given.lock.check()
        run.remove()
    changed = changes_on_the_way(run, config, warn) if resume else {}
    run.create(where.id, config["name"], config, overrides, where.group, where.label, durable=resume)
    made_with = (
        manifest(config, engine=given.engine, data_hash=content_hash(given.data), command=command) | changed
    )
    run.write_manifest(made_with, durable=resume)
    training.guard.begin()
    child = is_childs_first(given.from_checkpoint)
    about = About(
        run, config, overrides, made_with, given.task, given.data, device, resumed=resume, lengthened=child
    )
    display.begin(about)
    for logger in run_loggers(training.trainer) if not resume or child else ():
        logger.begin(about)
    run.update(status="running", started=run.known.get("started") or now(), engine=given.engine)
    training.checkpoints.begin(run.known.get("seconds", 0.0))
    return about


def fit(training: Training, watch: Callable[[Trainer], Any]) -> Ending:
    """Trains, and scores the test part. Raises what the training raises, after marking the run as failed."""
    given, trainer, checkpoints = training.given, training.trainer, training.checkpoints
    config, run, world = given.config, given.run, training.world
    status, why = "finished", ""
    results: dict[str, Any] = {}
    with training.interruption.listening(), run.failing(), disk(run), apart(), world or nullcontext():
        try:
            watch(trainer)
            if given.drawing is not None:
                seed_all(config["seed"], TRAINED)
            trackers.begin(trainer.loggers, given.where.label, config["tags"])
            introduce(trainer.loggers, config)
            if not is_fast_dev_run(trainer):  # with fast_dev_run Lightning removes the loggers
                remember(run, trainer.loggers[1:], config)
            fit_once = trainer.fit  # `one_fit` lets no callback call it again
            with one_fit(trainer, training.callbacks):
                fit_once(given.task, datamodule=given.data, ckpt_path=given.from_checkpoint)
            # before the test, where a callback (such as a batch-size finder) may train
            steps = trainer.global_step
            if not is_fast_dev_run(trainer):
                validated = bool(checkpoints.last)
                results = assess(trainer, given.task, given.data, checkpoints.best_weights, validated)
            if checkpoints.ended == "callback":
                status, why = EARLY, stopped_early(config, steps)
        except Stopped as stopped:
            status, why, steps = stopped.status, str(stopped), trainer.global_step
        except BaseException as error:
            if isinstance(error, UserError):
                error.exit_code = RunFailed.exit_code  # the run has begun: its folder holds the reason
            with suppress(Exception):  # the first error is raised below
                asked = isinstance(error, KeyboardInterrupt | SystemExit)
                trackers.conclude(trainer.loggers, "stopped" if asked else "failed", {}, checkpoints.monitor)
            raise
        results |= {"steps": steps, "best": checkpoints.best, "last": checkpoints.last}
        trackers.conclude(trainer.loggers, status, results, checkpoints.monitor, config["logger"], run.folder)
    if isinstance(given.task, Task):
        given.task.world = None
    return Ending(status, why, results)


def end(training: Training, about: About, ending: Ending, figures: bool) -> None:
    """Writes how the run has ended, and with `figures` lets callbacks draw."""
    given, trainer, run = training.given, training.trainer, training.given.run
    status, why, results = ending
    seconds = training.checkpoints.seconds
    with disk(run):
        training.guard.check()
        for logger in run_loggers(trainer) if status in ENDED else ():
            logger.end(about, results, seconds)
        run.update(status=status, why=why, ended=now(), seconds=seconds, results=results)
    if figures and status in ENDED and not is_fast_dev_run(trainer):
        for callback in callbacks_of(trainer):
            if (draw_run := getattr(callback, "draw_run", None)) is not None:
                try:
                    draw_run(run, given.task, given.data)
                except UserError as error:  # the run has finished all the same
                    warn(f"no picture: {error}")


def stopped_early(config: RunConfig, step: int) -> str:
    """Names what set `trainer.should_stop` at `step`: the user's callback, if the config has exactly one."""
    named = [str(node["_target_"]) for node in config["callbacks"].values() if node]
    own = [name for name in named if name not in CALLBACKS and not name.startswith("lightning.")]
    return f"{own[0] if len(own) == 1 else 'trainer.should_stop'} at step {step:,}"


def content_hash(data: Any) -> str | None:
    """SHA-256 of the data that models see; None for a user-defined data set without `content_hash`."""
    return getattr(data, "content_hash", None)
