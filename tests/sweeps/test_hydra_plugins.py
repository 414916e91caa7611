"""For tasks that are not ours the plugins are Hydra's basic ones: the suite that Hydra ships says so."""

import pytest
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
from hydra.version import VersionBase

# the suite is written for any version of Hydra
pytestmark = pytest.mark.filterwarnings(
    "ignore:Future Hydra versions will no longer change working directory"
)


@pytest.fixture(autouse=True)
def as_at_the_start():
    """The suite counts on Hydra's own defaults, which a hydra.main of an earlier test has set to its version's."""
    Singleton._instances.pop(VersionBase, None)


def test_hydra_finds_them():
    assert "RnnlabLauncher" in {c.__name__ for c in Plugins.instance().discover(Launcher)}
    assert "RnnlabSweeper" in {c.__name__ for c in Plugins.instance().discover(Sweeper)}


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [("rnnlab", []), ("rnnlab", ["hydra/sweeper=rnnlab"])],
    ids=["launcher", "both"],
)
class TestLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("rnnlab", ["hydra/sweeper=rnnlab", "hydra.sweeper.max_batch_size=2"])]
)
class TestBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=rnnlab", "hydra/sweeper=rnnlab"])]
)
class TestIntegration(IntegrationTestSuite):
    pass
