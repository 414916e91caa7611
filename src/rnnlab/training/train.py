"""One run, from a composed config to its results."""

import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from omegaconf import DictConfig

from rnnlab.config import base_config, build, check, deciding
from rnnlab.data.module import SPLITS
from rnnlab.inspection.pictures import Pictures
from rnnlab.ledger.identity import delta, identity
from rnnlab.ledger.load import initialise_from
from rnnlab.ledger.manifest import command_line, manifest, stale
from rnnlab.ledger.run import Run, now
from rnnlab.recurrence import engines
from rnnlab.tasks.optimization import Optimization
from rnnlab.training import accelerator, terminal
from rnnlab.training.checkpoints import Checkpoints, WholeFiles, rehearsal
from rnnlab.training.interruption import Interruption, Stopped
from rnnlab.training.loggers import MetricsFile
from rnnlab.training.quiet import quiet
from rnnlab.training.recorder import Recorder
from rnnlab.training.threads import thread_count


def train(cfg: DictConfig, overrides: list[str] | None = None, config_dir: str | None = None) -> Run:
    """Trains what a composed config describes; returns the run, whose folder holds all that came of it.

    A run that is finished and whose code is as it was is not trained again, unless `rerun=true`; one that was
    stopped goes on from its last checkpoint. Raises UserError before any work for what cannot be, and RunFailed
    (after marking the run as failed) where the training itself fails.
    """
    overrides = list(overrides or [])
    config = check(cfg)
    config["trainer"]["accelerator"], why = accelerator.take(config["trainer"]["accelerator"])
    run, identifier = place(config, base_config(overrides, config_dir))
    if run.status == "finished" and not config["rerun"] and not stale(run.manifest, config):
        terminal.already_finished(run)
        return run

    with quiet(), thread_count(config["trainer"]["threads"]):
        data = build(config["data"], "data")
        data.prepare_data()
        data.setup("fit")
        task = make_task(config, data)
        resume = (
            run.status in ("running", "stopped") and not config["rerun"] and run.last_checkpoint.is_file()
        )
        if not resume and run.folder.exists():
            shutil.rmtree(run.folder)
        run.create(identifier, config["name"], config, overrides)
        engine = engine_of(task, config)
        run.write_manifest(
            manifest(config, engine=engine, data_hash=data.content_hash, command=command_line())
        )
        terminal.beginning(run, config, task, data, engine=engine, device=why, resumed=resume)

        recorder = Recorder(config["trainer"]["log_every_n_steps"], config["trainer"]["divergence_factor"])
        checkpoints = Checkpoints(run, recorder, config["monitor"], config["mode"], **config["checkpoint"])
        interruption = Interruption(checkpoints)
        trainer = make_trainer(config, run, task, callbacks=[recorder, interruption, checkpoints])
        run.update(status="running", started=now(), engine=engine)
        begin, status, why = time.perf_counter(), "finished", ""
        results: dict[str, Any] = {}
        with interruption.listening(), run.failing():
            try:
                trainer.fit(task, datamodule=data, ckpt_path=run.last_checkpoint if resume else None)
                results = assess(trainer, task, data, run) if not rehearsal(trainer) else {}
            except Stopped as stopped:
                status, why = "stopped", str(stopped)
        results |= {"steps": trainer.global_step, "best": checkpoints.best, "last": checkpoints.last}
        run.update(
            status=status,
            why=why,
            ended=now(),
            seconds=round(time.perf_counter() - begin, 3),
            results=results,
        )
        if status == "finished" and not rehearsal(trainer):
            draw(trainer, task, data, run)
    terminal.end(run)
    return run


def place(config: dict[str, Any], experiment: DictConfig) -> tuple[Run, str]:
    """The run's folder, outputs/<experiment>/<what differs>-<id>, and its id."""
    decisive, base = deciding(config), deciding(experiment)
    identifier = identity(decisive)
    # what `auto` came to differs from machine to machine, and is no choice of the run's
    base["trainer"] = base.get("trainer", {}) | {"accelerator": config["trainer"]["accelerator"]}
    folder = Path(config["paths"]["outputs"]) / config["name"] / f"{delta(decisive, base)}-{identifier}"
    return Run(folder), identifier


def make_task(config: dict[str, Any], data: Any) -> LightningModule:
    """The LightningModule with its weights drawn, and its optimization set where it is one of ours."""
    model = {key: value for key, value in config["model"].items() if key != "init_from"}
    task = build(model, "model", spec=data.spec, seed=config["seed"])
    if config["model"].get("init_from"):
        initialise_from(task, config["model"]["init_from"])
    trainer, scheduler = config["trainer"], dict(config["scheduler"])
    interval = scheduler.pop("interval", "step")
    if "total_steps" in scheduler and scheduler["total_steps"] is None:
        scheduler["total_steps"] = planned_steps(config, len(data.train_dataloader()))
    if hasattr(task, "optimization"):
        task.optimization = Optimization(
            optimizer=build(config["optimizer"], "optimizer"),
            scheduler=build(scheduler, "scheduler"),
            interval=interval,
            monitor=config["monitor"],
            clip_val=trainer["gradient_clip_val"],
            clip_algorithm=trainer["gradient_clip_algorithm"],
            accumulate=trainer["accumulate_grad_batches"],
        )
    return task


def planned_steps(config: dict[str, Any], batches: int) -> int:
    """Optimizer steps of the whole run, from max_steps or max_epochs, whichever ends first."""
    trainer = config["trainer"]
    limit = trainer["limit_train_batches"]
    if limit is not None:
        batches = int(batches * limit) if isinstance(limit, float) else min(limit, batches)
    steps = trainer["max_epochs"] * math.ceil(batches / trainer["accumulate_grad_batches"])
    bounds = [n for n in (trainer["max_steps"], steps) if n > 0]
    return min(bounds)


PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
OURS = (
    "threads",
    "divergence_factor",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "accumulate_grad_batches",
    "log_every_n_steps",
)


def make_trainer(config: dict[str, Any], run: Run, task: LightningModule, callbacks: list[Any]) -> Trainer:
    """Lightning's own Trainer with the config's callbacks and loggers beside ours."""
    options = dict(config["trainer"])
    ours = {key: options.pop(key) for key in OURS}
    if task.automatic_optimization:  # a module of the user's own: the Trainer clips and accumulates
        options |= {
            key: ours[key]
            for key in OURS
            if key in ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")
        }
    if options["profiler"] is not None:
        options["profiler"] = PROFILERS[options["profiler"]](dirpath=str(run.folder), filename="profile")
    loggers: list[Any] = [MetricsFile(run.folder)]
    for name, node in config["logger"].items():
        node = {
            k: v.replace("{run_folder}", str(run.folder)) if isinstance(v, str) else v
            for k, v in node.items()
        }
        extra = {"folder": run.folder} if node["_target_"] == "rnnlab.training.loggers.TensorBoard" else {}
        loggers.append(build(node, f"logger.{name}", **extra))
    extras = [build(node, f"callbacks.{name}") for name, node in config["callbacks"].items() if node]
    return Trainer(
        **options,
        default_root_dir=str(run.folder),
        logger=loggers,
        log_every_n_steps=ours["log_every_n_steps"],
        callbacks=[*callbacks, *extras],
        plugins=[WholeFiles()],
        enable_checkpointing=True,
        enable_model_summary=False,
        enable_progress_bar=any(type(c).__name__ == "Progress" for c in extras),
        barebones=False,
    )


def engine_of(task: LightningModule, config: dict[str, Any]) -> dict[str, str]:
    """Which engine runs the recurrence, and why."""
    stack = getattr(task, "stack", None)
    if stack is None:
        return {"name": "none", "why": "the model is not a stack of rnnlab"}
    device = torch.device(
        {"gpu": "cuda"}.get(config["trainer"]["accelerator"], config["trainer"]["accelerator"])
    )
    stack.precision = config["trainer"]["precision"]
    choice = engines.choose(stack.engine, stack, device, stack.precision)
    return {"name": choice.engine, "why": choice.reason}


def draw(trainer: Trainer, task: LightningModule, data: Any, run: Run) -> None:
    """The pictures of the finished run, with its best weights, where its callbacks ask for them."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Pictures):
            callback.draw(run, task, data)


def assess(trainer: Trainer, task: LightningModule, data: Any, run: Run) -> dict[str, Any]:
    """The best weights on the test part, beside the baselines and the floor of the parts that were scored."""
    results: dict[str, Any] = {}
    checked = bool(data.val_dataloader())
    if run.best_checkpoint.is_file():
        task.load_state_dict(torch.load(run.best_checkpoint, weights_only=True)["state_dict"])
    if data.test_dataloader():
        trainer.test(task, datamodule=data, verbose=False)
        logged = {k.removeprefix("test/"): float(v) for k, v in trainer.callback_metrics.items()}
        results["test"] = getattr(task, "evaluated", None) or logged
    for split in [s for s in SPLITS if s in results or (s == "val" if checked else s == "train")]:
        for key, found in (("baselines", data.baselines), ("floor", data.floor), ("facts", data.facts)):
            results.setdefault(key, {})[split] = found(split)
    return results
