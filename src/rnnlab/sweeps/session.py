"""What the parts of a sweep share, and its plan."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from rnnlab.config.run_config import RunConfig, SweepConfig
from rnnlab.errors import UserError
from rnnlab.runs.record import ENDED
from rnnlab.sweeps.compiling import Compiling, stacks
from rnnlab.sweeps.devices import Devices
from rnnlab.sweeps.forkserver import ForkServer
from rnnlab.sweeps.grid import Grid, Listed
from rnnlab.sweeps.plan import Plan
from rnnlab.sweeps.planner import Planner
from rnnlab.sweeps.results import console

# (config, whether its run gets a score) -> reasons why another sweeper cannot use the run
Unusable = Callable[[RunConfig, bool], Iterable[str]]


@dataclass
class Session:
    """One sweep, from its plan to its last run. `options` is the `sweep` section of the config."""

    options: SweepConfig
    server: ForkServer
    devices: Devices
    planner: Planner
    command: list[str]
    began: float  # time.perf_counter()
    unusable: Unusable
    ends: ExitStack  # what is closed when the sweep has ended

    @property
    def reruns_stale(self) -> bool:
        return self.options["stale"] == "rerun"

    def plan(self, points: Grid | Listed) -> Plan:
        """The plan of some points, with those left out that may be. Raises UserError if points are invalid, and
        sweep.on_invalid is not "skip", or if no run has its device.
        """
        options, probe = self.options, self.devices.probe
        plan = self.planner.plan(points, options["exclude"])
        plan.check_classes(probe.import_errors)
        plan.read_statuses()
        due = plan.due(self.reruns_stale)
        if options["pool"] != "slurm":  # its jobs run on other machines
            compiling = Compiling(self.server, stacks(run.config for run in due))
            self.ends.callback(compiling.close)
        plan.check_runs(due, probe.answers, self.unusable)
        for line in plan.report_invalid(options["on_invalid"]):
            console.print(line, soft_wrap=True)
        if plan.runs and all(run.why_skipped and run.status not in ENDED for run in plan.runs):
            raise UserError(*dict.fromkeys(run.why_skipped for run in plan.runs))  # as for one run
        return plan
