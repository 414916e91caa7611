"""A run's folder: what lies in it, who may write it, what it was made with.

The module can be called, too: `rnnlab.runs("outputs/sine")` are an experiment's runs.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _Runs(ModuleType):
    """Python keeps this package and the function `runs` of the API under one name, `rnnlab.runs`."""

    def __call__(self, experiment: str | Path) -> Any:
        """The runs of an experiment's folder, oldest first."""
        from rnnlab.api import runs

        return runs(experiment)


sys.modules[__name__].__class__ = _Runs
