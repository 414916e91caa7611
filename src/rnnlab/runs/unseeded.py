"""Gives random generators that a user's code makes without a seed one that depends on the run's seed."""

import inspect
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from importlib.machinery import SourceFileLoader
from types import MethodType
from typing import Any

import numpy as np

# packages whose generators decide no number: they draw names of temporary files, of runs on a server, and the like
OTHERS = {*sys.stdlib_module_names, "torch", "lightning", "lightning_fabric", "pytorch_lightning", "torchmetrics",
          "rnnlab", "numpy", "hydra", "omegaconf", "optuna", "ray", "submitit", "wandb", "mlflow", "comet_ml",
          "trackio", "aim", "sentry_sdk", "tensorboard", "matplotlib", "IPython", "ipykernel"}  # fmt: skip

_LOCK, _RESTORED = threading.Lock(), list[tuple[Any, str, Any]]()
IMPORTING = list[Any]()  # context managers, called with each module that is imported inside `seeded`
_open = 0  # open contexts of all threads: the first one patches, the last one restores


@contextmanager
def seeded() -> Iterator[None]:
    """Inside, generators of NumPy and Python that are made or seeded without a seed (`default_rng()`, `RandomState()`,
    `random.Random()`) take one from Python's global generator. The run seeds that, and its checkpoints hold its state.
    For generators that are made while a module is imported see `own_generators.begin`.
    """
    global _open
    with _LOCK:
        _open += 1
        if _open == 1:
            _put(_RESTORED)
    try:
        yield
    finally:
        with _LOCK:
            _open -= 1
            if not _open:
                for owner, name, value in _RESTORED:
                    setattr(owner, name, value)
                _RESTORED.clear()


def _put(before: list[tuple[Any, str, Any]]) -> None:
    """Patches NumPy and Python; appends the original functions to `before`."""
    source: Any = np.random.bit_generator  # all of NumPy's generators get system seeds here
    module: Any = random
    asked, seed, seed_global = source.randbits, module.Random.seed, module.seed
    before += [(source, "randbits", asked), (module.Random, "seed", seed), (module, "seed", seed_global)]
    loader: Any = SourceFileLoader
    execute = loader.exec_module
    before.append((loader, "exec_module", execute))

    @wraps(seed)
    def seed_by_run(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed(self, random.getrandbits(128) if a is None and by_user() else a, version)

    def execute_inside(self: Any, imported: Any) -> None:
        with ExitStack() as stack:
            for around in IMPORTING:
                stack.enter_context(around(imported))
            execute(self, imported)

    loader.exec_module = execute_inside
    source.randbits = lambda bits: random.getrandbits(bits) if by_user() else asked(bits)
    module.Random.seed = seed_by_run
    module.seed = MethodType(seed_by_run, module.random.__self__)


def by_user() -> bool:
    """Whether the nearest caller outside NumPy and `random` is a function of the user's code."""
    frame: Any = inspect.currentframe()
    frame = frame.f_back.f_back
    while frame is not None and _package(frame) in ("random", "numpy"):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name != "<module>" and _package(frame) not in OTHERS


def _package(frame: Any) -> str:
    """The package of a frame's code; "" for code without a module's name, such as that given to `exec`."""
    return str(frame.f_globals.get("__name__") or "").partition(".")[0]
