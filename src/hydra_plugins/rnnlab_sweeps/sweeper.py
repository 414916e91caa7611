"""`hydra/sweeper=rnnlab`: plans all points of a sweep at once. Any task but ours is left to Hydra's `basic`."""

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
        """Trains all runs in our launcher; gives them one by one to any other launcher."""
        task = getattr(self.launcher, "task_function", None)
        if not is_ours(task):
            return super().sweep(arguments)
        from rnnlab.sweeps.hydra_bridge import job_batches, run_grid

        assert self.config is not None and self.hydra_context is not None, "setup() comes first"
        overrides = [*(f"{key}={value}" for key, value in (self.params or {}).items()), *arguments]
        if type(self.launcher).__name__ == RnnlabLauncher.__name__ or self.config.sweep.dry_run is True:
            return run_grid(self.config, self.hydra_context, overrides)
        returns: list[Any] = []
        failed: list[Exception] = []
        for batch in job_batches(self.config, self.hydra_context, overrides, self.max_batch_size):
            assert self.launcher is not None
            done = self.launcher.launch(batch, initial_job_idx=sum(len(done) for done in returns))
            for job in done:
                try:
                    _ = job.return_value  # raises what the job raised
                except Exception as error:
                    failed.append(error)
            returns.append(done)
        total = sum(map(len, returns))
        if failed and total == 1:
            raise failed[0]
        if failed:
            from rnnlab.errors import RunFailed

            raise RunFailed(f"{len(failed)} of {total} runs failed: {failed[0]}") from failed[0]
        return returns
