"""`hydra/launcher=rnnlab`: runs of `rnnlab train` in warm workers; any other task as `basic` does it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn


@dataclass
class LauncherConf:
    _target_: str = "hydra_plugins.rnnlab_sweeps.launcher.RnnlabLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="rnnlab", node=LauncherConf, provider="rnnlab")


def is_ours(task_function: Callable[[Any], Any] | None) -> bool:
    """Whether a task is `rnnlab train`'s, which is known by its name: nothing of ours is imported for others."""
    return (getattr(task_function, "__module__", ""), getattr(task_function, "__name__", "")) == (
        "rnnlab.cli.train",
        "task",
    )


class RnnlabLauncher(BasicLauncher):
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Failed runs are marked in what is returned, as Hydra's own launchers mark them."""
        if not is_ours(self.task_function):
            return super().launch(job_overrides, initial_job_idx)
        from rnnlab.sweeps.jobs import launch

        assert self.config is not None, "setup() comes first"
        return launch(self.config, self.hydra_context, job_overrides)
