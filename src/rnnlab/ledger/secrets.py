"""What the environment keeps secret is not written into a run's folder."""

import os
import re
from collections.abc import Mapping
from typing import Any

SECRET = re.compile(r"(?i)(_key$|apikey|token|secret|passw|credential)")
SHORTEST = 8  # characters; shorter values would be found where they are not meant


def secrets(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """{value: name} of the variables whose names say that they are secret."""
    found = {v: k for k, v in environment.items() if SECRET.search(k) and len(v) >= SHORTEST}
    return {
        v: k for v, k in found.items() if not v.startswith(os.sep)
    }  # the place of a socket or a file is none


def without_secrets(value: Any) -> Any:
    """A copy of plain data in which the value of a secret variable is its name: <environment: NAME>."""
    hidden = secrets()
    return _without(value, hidden) if hidden else value


def _without(value: Any, hidden: dict[str, str]) -> Any:
    if isinstance(value, str):
        for secret, name in hidden.items():
            value = value.replace(secret, f"<environment: {name}>")
        return value
    if isinstance(value, dict):
        return {k: _without(v, hidden) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(v, hidden) for v in value]
    return value
