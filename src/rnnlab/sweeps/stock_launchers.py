"""Makes Hydra's other launchers (basic, joblib, submitit, ray) train only the runs that are due, and shows one
leaderboard at the end.

Each run is a job of the launcher, and prints one line (`rnnlab.cli.train.task`). A job of submitit whose time is over
is queued again; before that it is warned and writes a checkpoint, from which its run resumes.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from rnnlab.errors import RunFailed, UserError

if TYPE_CHECKING:
    from rnnlab.sweeps.plan import Planned

AGAIN = 10**6  # how often a job of submitit may reach its time limit


@dataclass
class Launched:
    """The runs of one command, in the order in which its sweeper requested them."""

    # {folder: [(a run that the job may be, when this run had ended before)]}
    runs: dict[Path, list[tuple["Planned", str | None]]] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def add(self, jobs: "Sequence[Sequence[Planned]]") -> None:
        for runs in jobs:
            known = [(planned, planned.run.known.get("ended")) for planned in runs]
            self.runs.setdefault(runs[0].place.folder, known)

    def show(self) -> None:
        from rnnlab.runs.record import ENDED
        from rnnlab.sweeps.job import Outcome
        from rnnlab.sweeps.plan import Plan
        from rnnlab.sweeps.results import Sweep, report

        def fresh(one: "tuple[Planned, str | None]") -> tuple[bool, bool]:
            record = one[0].run.known
            return record.get("ended") != one[1], record.get("status") in ENDED

        chosen = [max(maybe, key=fresh) for maybe in self.runs.values()]
        found = [planned for planned, _ in chosen]
        done = Sweep(Plan(found), {p.place.folder: p.run.known for p in found})
        for i, (planned, before) in enumerate(chosen):
            record = done.record(planned)
            if record.get("ended") != before:
                done.outcomes.append((planned, Outcome(i, record.get("status", ""), record=record)))
        report(done, self.began, True)


@dataclass
class Due(Launcher):
    """Passes only runs that have not ended to `launcher`; for the others it returns their results."""

    launcher: Launcher
    launched: Launched
    config: DictConfig
    context: HydraContext
    task_function: TaskFunction

    def setup(self, **_: object) -> None:
        """Does nothing: `launcher` is set up already."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Raises RunFailed where the launcher itself fails."""
        from rnnlab.sweeps.hydra_bridge import over_already

        runs, over = over_already(self.config, self.context, job_overrides)
        self.launched.add(runs)
        due = [job for job in job_overrides if tuple(job) not in over]
        try:
            fresh = iter(self.launcher.launch(due, initial_job_idx) if due else ())
        except (UserError, RunFailed):
            raise
        except Exception as error:
            name = type(self.launcher).__name__
            line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise RunFailed(f"{name}: {line}; the same command goes on with what is left") from error
        return [over.get(tuple(job)) or next(fresh) for job in job_overrides]


@contextmanager
def due_alone() -> Iterator[None]:
    """While open, wraps in `Due` every launcher that Hydra makes for `rnnlab train`, except rnnlab's; at the end shows
    the leaderboard.
    """
    launched, original = Launched(), Plugins.instantiate_launcher

    def instantiate(
        plugins: Plugins, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Launcher:
        from hydra_plugins.rnnlab_sweeps.launcher import RnnlabLauncher, is_ours

        launcher = original(plugins, hydra_context, task_function, config)
        if not is_ours(task_function) or type(launcher).__name__ == RnnlabLauncher.__name__:
            return launcher
        params = getattr(launcher, "params", None)
        # submitit's default: a job that reaches its time limit is not queued again
        if isinstance(params, dict) and params.get("max_num_timeout") == 0:
            params["max_num_timeout"] = AGAIN
        return Due(launcher, launched, config, hydra_context, task_function)

    Plugins.instantiate_launcher = instantiate  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Plugins.instantiate_launcher = original  # type: ignore[method-assign]
        if launched.runs:
            launched.show()
