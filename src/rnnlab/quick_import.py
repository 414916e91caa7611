"""Imports packages that Lightning needs without a part that takes long or an effect on the caller."""

import random
import sys
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType


def torchmetrics() -> None:
    """Imports torchmetrics without scipy.signal, which takes a fifth of the time of `import lightning`.

    torchmetrics imports scipy.signal only to restore a name that scipy has dropped (`scipy.signal.hamming`), for the
    package SRMRpy. A later import of scipy.signal gets the real module.
    """
    if (
        {"torchmetrics", "scipy.signal"} & sys.modules.keys()
        or find_spec("scipy") is None
        or find_spec("srmrpy")
    ):
        return
    stand_in = ModuleType("scipy.signal")
    vars(stand_in)["hamming"] = None
    sys.modules["scipy.signal"] = stand_in
    try:
        with suppress(ImportError):  # another version may need more of it: Lightning then imports both
            import torchmetrics  # noqa: F401
    finally:
        del sys.modules["scipy.signal"]


def rich() -> None:
    """Imports rich.style, which draws a number at its import, and leaves Python's generator as it was."""
    state = random.getstate()
    import rich.style  # noqa: F401

    random.setstate(state)
