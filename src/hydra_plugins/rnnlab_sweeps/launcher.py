"""`hydra/launcher=rnnlab`: trains runs in warm workers. Any task but ours is left to Hydra's `basic`."""

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
    """Whether a task is `rnnlab train`'s, told by its name: for others nothing of ours is imported."""
    return (getattr(task_function, "__module__", ""), getattr(task_function, "__name__", "")) == (
        "rnnlab.cli.train",
        "task",
    )


class RnnlabLauncher(BasicLauncher):
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Returns a result for each job; a failed one is marked as Hydra's own launchers do."""
        if not is_ours(self.task_function):
            return super().launch(job_overrides, initial_job_idx)
        from rnnlab.sweeps.hydra_bridge import run_jobs

        assert self.config is not None and self.hydra_context is not None, "setup() comes first"
        return run_jobs(self.config, self.hydra_context, job_overrides)
