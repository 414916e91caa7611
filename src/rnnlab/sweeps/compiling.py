"""Compiles the kernels of a sweep's cells in parallel, while the sweep is being planned."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from rnnlab.config.run_config import RunConfig
from rnnlab.errors import RunFailed
from rnnlab.sweeps.forkserver import ForkServer

OF_A_CELL = (
    "cell",
    "options",
    "nonlinearity",
    "bias",
    "initial_state",
    "recurrent_dropout",
    "zoneout",
    "zoneout_cell",
)

Layer = tuple[dict[str, Any], str]  # arguments of a one-layer `Stack`, and the precision


def stacks(configs: Iterable[RunConfig]) -> list[Layer]:
    """A layer for each different cell that the native engine may run."""
    found: dict[str, Layer] = {}
    # equal sections are the same object in all runs
    parts = {(id(c["model"]), id(c["trainer"])): (c["model"], c["trainer"]) for c in configs}
    for model, trainer in parts.values():
        native = trainer["accelerator"] == "cpu" and model.get("engine") in ("auto", "native")
        if native and {"cell", "hidden_size"} <= model.keys():  # a user-defined model may lack them
            layer = {key: model[key] for key in OF_A_CELL if key in model}
            key = json.dumps([layer, trainer["precision"]], sort_keys=True, default=str)
            found.setdefault(key, (layer | {"hidden_size": model["hidden_size"]}, trainer["precision"]))
    return list(found.values())


class Compiling:
    """Workers that compile the cells, if there are several; a single one is compiled by the first run that needs it."""

    def __init__(self, server: ForkServer, wanted: list[Layer]) -> None:
        self._connections: list[Connection] = []
        count = min(len(wanted), os.cpu_count() or 1) if len(wanted) > 1 else 0
        with suppress(RunFailed, OSError):  # without these workers the runs compile
            for i in range(count):
                _, connection = server.start_worker()
                self._connections.append(connection)
                connection.send(partial(compile_cells, wanted[i::count]))

    def close(self) -> None:
        """Lets the workers exit, after they have finished compiling."""
        for connection in self._connections:
            connection.close()


def compile_cells(wanted: list[Layer]) -> None:
    """Runs in a worker. Ignores errors: the runs report why a cell cannot be compiled."""
    from rnnlab.recurrence import Stack

    for layer, precision in wanted:
        with suppress(Exception):
            stack = Stack(input_size=1, **layer)
            stack.precision = precision
            _ = stack.choice
