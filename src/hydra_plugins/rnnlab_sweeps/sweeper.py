"""`hydra/sweeper=rnnlab`: the points of a sweep, planned at once; any other task as `basic` does it."""

from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore

from hydra_plugins.rnnlab_sweeps.launcher import RnnlabLauncher, is_ours


@dataclass
class SweeperConf:
    _target_: str = "hydra_plugins.rnnlab_sweeps.sweeper.RnnlabSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] | None = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="rnnlab", node=SweeperConf, provider="rnnlab")


class RnnlabSweeper(BasicSweeper):
    def sweep(self, arguments: list[str]) -> Any:
        """All runs in our launcher; one after the other, a job each, in another one."""
        task = getattr(self.launcher, "task_function", None)
        if not is_ours(task):
            return super().sweep(arguments)
        from rnnlab.sweeps import jobs

        assert self.config is not None, "setup() comes first"
        asked = [*self._parse_config(), *arguments]
        if type(self.launcher).__name__ == RnnlabLauncher.__name__ or self.config.sweep.dry_run is True:
            return jobs.sweep_all(self.config, self.hydra_context, asked)
        returns: list[Any] = []
        for batch in jobs.batches(self.config, self.hydra_context, asked, self.max_batch_size):
            assert self.launcher is not None
            done = self.launcher.launch(batch, initial_job_idx=sum(len(done) for done in returns))
            for job in done:
                _ = job.return_value  # raises what the job raised
            returns.append(done)
        return returns
