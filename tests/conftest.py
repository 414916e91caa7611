"""What tests of whole runs share: a run small enough to be made many times, its output kept off the terminal."""

import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import warm

if TYPE_CHECKING:
    import rnnlab

pytest_plugins = ["browser_fixtures"]

# what a shell or a CI sets for its own sake changes what commands print, in this process and in those begun from it
for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "HYDRA_FULL_ERROR",
             "RNNLAB_DEBUG", "RNNLAB_OUTPUTS", "RNNLAB_DATA"):  # fmt: skip
    os.environ.pop(name, None)
# in the background of a shell, or under nohup, a command ignores these signals, and so would all that tests begin
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)

# sweeps of the test process; those in processes of their own begin their servers as users' do
warm.begin_warm("rnnlab.sweeps.forkserver")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Half as many processes again as there are cores: many tests wait for others' processes, a browser, or Slurm."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


SMALL = (
    "experiment=sine", "model.hidden_size=8", "data.n_points=200", "trainer.max_epochs=3", "trainer.threads=1",
    "model.engine=torch", "trainer.accelerator=cpu", "~callbacks.progress", "~callbacks.pictures",
)  # fmt: skip


def train_small(overrides: tuple[str, ...], outputs: Path, base: tuple[str, ...]) -> "rnnlab.Run":
    import rnnlab

    asked = {o.split("=")[0] for o in overrides}
    kept = [
        o
        for o in base
        if o.split("=")[0] not in asked and not ("callbacks=none" in overrides and o[0] == "~")
    ]
    return rnnlab.train(*kept, *overrides, f"paths.outputs={outputs}")


@pytest.fixture
def small(tmp_path: Path) -> Callable:
    """Trains a small sine run, with overrides, into a folder of the test's own."""

    def train(*overrides: str, outputs: Path = tmp_path, base: tuple[str, ...] = SMALL) -> "rnnlab.Run":
        return train_small(overrides, outputs, base)

    return train


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """As `small`, but the same words give the same run to all tests of a module: to read, not to change."""

    @cache
    def train(*overrides: str, base: tuple[str, ...] = SMALL) -> "rnnlab.Run":
        return train_small(overrides, tmp_path_factory.mktemp("shared"), base)

    return train
