"""What a finished run lacks of what is asked for now: instruments that change no number, or the same sources."""

from typing import Any

from rnnlab.errors import UserError
from rnnlab.runs.manifest import stale
from rnnlab.runs.run import Run


def lacking(run: Run, config: dict[str, Any]) -> list[str]:
    """The callbacks and loggers of `config` that the run did not have, such as `callbacks.memory`."""
    try:
        had = run.config
    except UserError:  # its file cannot be read: nothing can be said
        return []
    return [
        f"{section}.{name}"
        for section in ("callbacks", "logger")
        for name, node in config[section].items()
        if node and not (had.get(section) or {}).get(name)
    ]


def why_stale(run: Run, config: dict[str, Any]) -> list[str]:
    """Why a finished run's numbers might come out otherwise today, or cannot be told to be the same; [] for neither."""
    try:
        recorded = run.manifest
    except UserError as error:
        return [str(error)]
    return stale(recorded, config)
