"""One small finished run of each task, for all tests of the commands."""

import numpy as np
import pytest
from tables import table

import rnnlab

FAST = ("trainer.accelerator=cpu", "trainer.threads=1", "logger=none", "callbacks=none", "scheduler=constant")


@pytest.fixture(scope="session")
def sine(tmp_path_factory: pytest.TempPathFactory) -> rnnlab.Run:
    outputs = tmp_path_factory.mktemp("outputs")
    return rnnlab.train(
        "experiment=sine", *FAST, "data.n_points=300", "data.window=10", "data.horizon=2", "model.hidden_size=8",
        "trainer.max_epochs=4", f"paths.outputs={outputs}",
    )  # fmt: skip


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> rnnlab.Run:
    """Trained on words with "unknown" letters of their own: abcdeghimno and space."""
    folder = tmp_path_factory.mktemp("text")
    words = np.random.default_rng(0).choice(["a", "bad", "cage", "home", "did", "in"], 1500)
    (folder / "words.txt").write_text(" ".join(words))
    return rnnlab.train(
        "experiment=pydoc", *FAST, f"data.path={folder / 'words.txt'}", "data.segment=20", "data.batch_size=4",
        "model.hidden_size=16", "model.num_layers=2", "trainer.max_steps=60", "trainer.val_check_interval=30",
        f"paths.outputs={folder}",
    )  # fmt: skip


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> rnnlab.Run:
    """Forecasts both columns of a table, 3 hours ahead from 24."""
    folder = tmp_path_factory.mktemp("series")
    return rnnlab.train(
        "experiment=ett", *FAST, f"data.path={table(folder / 'old.csv', 400)}", "data.target=[load,heat]",
        "data.window=24", "data.horizon=3", "model.hidden_size=8", "model.subtract_last=false",
        "trainer.max_epochs=3", f"paths.outputs={folder}",
    )  # fmt: skip
