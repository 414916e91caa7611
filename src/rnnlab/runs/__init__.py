"""A run's folder: its files, its lock, its identity, and the record of what it was made with.

This package can also be called: `rnnlab.runs("outputs/sine")` returns the runs of an experiment.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _Runs(ModuleType):
    """Makes the package callable, because `rnnlab.runs` is both this package and the API's function `runs`."""

    def __call__(self, experiment: str | Path) -> Any:
        """The runs of an experiment's folder, oldest first."""
        from rnnlab.api import runs

        return runs(experiment)


sys.modules[__name__].__class__ = _Runs
