"""Waiting in tests: until it happens, however slow the machine is, never for as long as it usually takes."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 600.0  # seconds; only what never comes takes as long


def until(holds: Callable[[], Any], pause: float = 0.05) -> Any:
    """What `holds` returns as soon as it is true; raises TimeoutError where that never comes."""
    end = time.monotonic() + PATIENCE
    while not (found := holds()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {PATIENCE:g} s")
        time.sleep(pause)
    return found
