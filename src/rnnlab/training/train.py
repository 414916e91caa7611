"""One run, from a composed config to its results."""

import shutil
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rnnlab.config import base_config, build, check, deciding
from rnnlab.ledger.identity import delta, identity
from rnnlab.ledger.manifest import command_line, manifest, stale
from rnnlab.ledger.run import Run, now
from rnnlab.training import accelerator, terminal
from rnnlab.training.assembly import engine_of, make_task, make_trainer
from rnnlab.training.checkpoints import Checkpoints, rehearsal
from rnnlab.training.interruption import Interruption, Stopped
from rnnlab.training.quiet import quiet
from rnnlab.training.recorder import Recorder
from rnnlab.training.results import assess, draw
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
            manifest(config, engine=engine, data_hash=content_hash(data), command=command_line())
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


def content_hash(data: Any) -> str | None:
    """SHA-256 of what the models see; None for a data set of the user's own that does not say."""
    return getattr(data, "content_hash", None)
