"""One finished small run and others that differ by their seed, and scripts/tortures."""

import shutil

import pytest

import rnnlab

SMALL = (
    "experiment=sine", "model.hidden_size=8", "data.n_points=200", "trainer.max_epochs=3", "trainer.threads=1",
    "model.engine=torch", "trainer.accelerator=cpu", "callbacks=none",
)  # fmt: skip


@pytest.fixture(scope="session")
def asked() -> tuple[str, ...]:
    """What `seeds` were asked for, but for their seed and place."""
    return SMALL


@pytest.fixture(scope="session")
def seeds(tmp_path_factory) -> list[rnnlab.Run]:
    outputs = tmp_path_factory.mktemp("seeds")
    return [rnnlab.train(*SMALL, f"seed={s}", f"paths.outputs={outputs}") for s in range(7)]


@pytest.fixture
def copied(seeds, tmp_path) -> rnnlab.Run:
    """A run's folder copied from elsewhere, alone."""
    folder = tmp_path / "from" / "elsewhere" / seeds[0].folder.name
    shutil.copytree(seeds[0].folder, folder)
    return rnnlab.Run(folder)
