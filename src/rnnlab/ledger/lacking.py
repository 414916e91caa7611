"""What a finished run was trained without, though it is asked for now and would change none of its numbers."""

from typing import Any

from rnnlab.errors import UserError
from rnnlab.ledger.run import Run


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
