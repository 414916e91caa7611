"""rnnlab: experiments with recurrent networks.

    run = rnnlab.train("experiment=sine", "seed=3")
    run = rnnlab.load("outputs/sine/seed-3-...")
    runs = rnnlab.sweep("experiment=sine", "model.hidden_size=16,32", "seed=0,1,2")
    runs = rnnlab.runs("outputs/sine")

A run has `model`, `config`, `metrics`, `results`, `evaluate()`, `predict()`, `forecast()` and more: `help(rnnlab.Run)`.
Heavy modules are imported at their first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # editors and type checkers read these; at run time `__getattr__` imports them
    from rnnlab.api import load as load
    from rnnlab.api import runs as runs
    from rnnlab.api import sweep as sweep
    from rnnlab.api import train as train
    from rnnlab.api.run import Run as Run
    from rnnlab.cells import Cell as Cell
    from rnnlab.data.loader import Loader as Loader
    from rnnlab.data.module import SequenceData as SequenceData
    from rnnlab.errors import RunFailed as RunFailed
    from rnnlab.errors import UserError as UserError
    from rnnlab.recurrence.stack import Stack as Stack
    from rnnlab.tasks import Task as Task

__version__ = "0.1.0"

_PLACES = {"Cell": "rnnlab.cells", "Stack": "rnnlab.recurrence.stack", "Task": "rnnlab.tasks",
           "SequenceData": "rnnlab.data.module", "Loader": "rnnlab.data.loader", "Run": "rnnlab.api.run",
           "UserError": "rnnlab.errors", "RunFailed": "rnnlab.errors", "train": "rnnlab.api", "sweep": "rnnlab.api",
           "load": "rnnlab.api", "runs": "rnnlab.api"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        value = getattr(importlib.import_module(_PLACES[name]), name)
        if name != "runs":
            globals()[name] = value
        return value
    raise AttributeError(f"module 'rnnlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
