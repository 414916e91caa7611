"""Importing what Lightning needs without what nobody needs of it."""

import sys
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType


def torchmetrics() -> None:
    """Imports torchmetrics, and not scipy.signal with it: a fifth of the time that `import lightning` takes.

    torchmetrics imports that only to give it back a name that scipy has dropped (`scipy.signal.hamming`), for the
    package SRMRpy. Whoever imports scipy.signal later gets the real one.
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
        with suppress(ImportError):  # another version that needs more of it: Lightning imports it as ever
            import torchmetrics  # noqa: F401
    finally:
        del sys.modules["scipy.signal"]
