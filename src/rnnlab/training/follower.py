"""A follower: the process of a rank above 0. It takes the run's steps together with rank 0, and writes nothing."""

import os
import sys
import threading
import traceback
from contextlib import nullcontext, suppress
from multiprocessing.connection import Connection

from rnnlab.config.run_config import as_dict
from rnnlab.errors import PlainError
from rnnlab.runs.generators import TRAINED, drawn_by_run, may_draw, seed_all, seed_built
from rnnlab.runs.run import Run
from rnnlab.runs.sources import foreign_targets
from rnnlab.tasks.task import Task
from rnnlab.training.assembly import engine_of, make_task, make_trainer
from rnnlab.training.checkpoints import Checkpoints, is_fast_dev_run
from rnnlab.training.distributed import World, is_of_connection
from rnnlab.training.generators import Generators
from rnnlab.training.interruption import Interruption, Stopped
from rnnlab.training.leader import ENDED, READY, Failure, Following, wait_until_gone
from rnnlab.training.quiet import quiet
from rnnlab.training.recorder import Recorder
from rnnlab.training.results import assess
from rnnlab.training.threads import thread_count
from rnnlab.training.train import load_data


def main(descriptor: int) -> None:
    """Follows each run that the leader sends through the connection, until it closes; reports why a run failed."""
    connection = Connection(descriptor)
    threading.Thread(target=leave_with, args=(connection,), daemon=True).start()
    while True:
        told: Following = connection.recv()
        sys.path[:] = told.path
        os.environ.clear()
        os.environ.update(told.environment)
        os.chdir(told.here)
        try:
            follow(told, connection)
        except BaseException as error:
            why = str(error) if isinstance(error, PlainError) else f"{type(error).__name__}: {error}"
            connection.send(Failure(why, traceback.format_exc(), is_of_connection(error)))
            os._exit(1)
        connection.send(ENDED)


def leave_with(connection: Connection) -> None:
    """Ends this process, whatever it waits for, when its leader has gone."""
    wait_until_gone(connection)
    os._exit(1)


def follow(told: Following, connection: Connection) -> None:
    """Trains as `train_config` does, and writes and shows nothing."""
    config, world = told.config, World(told.rank, told.size)
    drawing = Generators(config["seed"], modules=foreign_targets(config)) if may_draw(config) else None
    undisturbed = nullcontext() if drawing is None else drawn_by_run()
    with quiet(), thread_count(told.threads), undisturbed:
        if drawing is not None:
            seed_built(config["seed"], as_dict(config))
        data = load_data(config)
        task = make_task(config, data)
        engine_of(task, config, data)  # tells the stack the precision
        assert isinstance(task, Task)  # `preflight.refuse` has refused all others
        task.world = world
        run = Run(told.folder)
        recorder = Recorder(config["trainer"]["log_every_n_steps"], config["trainer"]["divergence_factor"])
        checkpoints = Checkpoints(
            run, recorder, config["monitor"], config["mode"], writes=False, **config["checkpoint"]
        )
        interruption = Interruption(checkpoints)
        callbacks = [*([drawing] if drawing is not None else []), recorder, interruption, checkpoints]
        if drawing is not None:
            drawing.wrap(data)
        trainer = make_trainer(config, run, task, callbacks=callbacks, bars=False, world=world)
        connection.send(READY)
        world.connect(told.store, config["trainer"]["accelerator"])
        with suppress(Stopped), interruption.listening():
            if drawing is not None:
                seed_all(config["seed"], TRAINED, told.rank)
            trainer.fit(task, datamodule=data, ckpt_path=told.checkpoint)
            if not is_fast_dev_run(trainer):
                assess(trainer, task, data, checkpoints.best_weights, bool(checkpoints.last))
        world.disconnect()
