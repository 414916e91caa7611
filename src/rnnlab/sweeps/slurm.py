"""A sweep on a Slurm cluster: packs of runs are submitted as array jobs, and progress is read from the runs' folders.

The driver (the command's process) and the jobs share only the file system: the driver may exit, and the same command
finds its jobs again.
"""

import io
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, redirect_stderr, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rnnlab.config.run_config import SlurmConfig, SweepConfig
from rnnlab.errors import UserError, counted
from rnnlab.runs.files import write_json
from rnnlab.runs.record import ENDED
from rnnlab.signals import in_main_thread, listening
from rnnlab.sweeps import slurm_queue
from rnnlab.sweeps.devices import cores_each, gpus_each
from rnnlab.sweeps.job import Outcome
from rnnlab.sweeps.pack import Assigned, Pack, cut, surroundings
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.scheduler import View

if TYPE_CHECKING:
    from submitit import SlurmExecutor

FOLDER = ".slurm"  # in the experiment's folder: submitit's files, and the list of jobs
POLL = 0.5  # seconds between two looks at the runs' folders
ASK_SLURM = 5.0  # seconds between two questions to Slurm
Jobs = dict[str, list[str]]  # {job: names of its runs}
OVER = (*ENDED, "failed", "pruned")
MOST = 2000  # the most runs in a pack
DETACHED = "detached"  # a driver's reason to stop: --detach, and the jobs continue
CANCELLED = "cancelled"  # a driver's reason to stop: its jobs were cancelled


def cluster_devices(options: SweepConfig) -> dict[str, str]:
    """The accelerators of a job, best first."""
    cpu = {"cpu": "a job's cores"}
    return {"gpu": "a job's GPUs"} | cpu if options["slurm"]["gpus"] else cpu


def workers_per_job(options: SweepConfig, due: Sequence[Planned]) -> int:
    """How many of these runs a job trains at once. Raises UserError where not even one fits."""
    asked, kinds = options["slurm"], {planned.accelerator for planned in due}
    gpus, cores = gpus_each(due), cores_each(due)
    for key, has, each, what in (
        ("gpus", asked["gpus"], gpus * ("gpu" in kinds), "GPU"),
        ("cpus", asked["cpus"], cores, "core"),
    ):
        if each > has:
            raise UserError(
                f"sweep.slurm.{key}={has}: a run needs {counted(each, what)} (trainer.devices, trainer.threads)"
            )
    of = {"gpu": asked["gpus"] // gpus * options["workers_per_gpu"], "cpu": asked["cpus"] // cores}
    return min(of[kind] for kind in kinds or {"cpu"})


def packs_of(options: SweepConfig, runs: Sequence[Planned], workers: int) -> list[list[int]]:
    """The runs of each job, as indices; each job has so many `workers`."""
    return cut([run.cost for run in runs], 60 * options["slurm"]["minutes_per_job"] * workers, MOST)


def workers_at_once(options: SweepConfig, due: Sequence[Planned]) -> int:
    """How many workers the jobs of these runs have together, if the cluster has room for all of them."""
    workers = options["workers"] or workers_per_job(options, due)
    return workers * min(len(packs_of(options, due, workers)), options["slurm"]["parallel"])


def require_slurm() -> None:
    """Raises UserError where Slurm or submitit is not installed."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UserError("sweep.pool=slurm: needs submitit: pip install 'rnnlab[slurm]'") from error
    if slurm_queue.command("sinfo", "--version") is None:
        raise UserError(
            "sweep.pool=slurm: Slurm's command sinfo does not run here; start the sweep on a machine that submits jobs"
        )


@dataclass
class SlurmSweep:
    """The driver of a grid on Slurm. `due` are the runs to train; `options` is the `sweep` section."""

    due: list[Planned]
    options: SweepConfig
    view: View[Planned]
    command: list[str]
    say: Callable[[str], None]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    stopping: str = ""

    def __post_init__(self) -> None:
        self.slurm = self.options["slurm"]
        self.folder = self.due[0].place.folder.parent / FOLDER
        self.ledger = self.folder / "jobs.json"
        self.restart = self.options["stale"] == "rerun"
        self.seen: dict[int, tuple[str | None, str | None] | None] = {}
        for i, planned in enumerate(self.due):
            known = self._ended_at(planned)
            # None if a job has ended the run since the plan was made
            self.seen[i] = known if known[0] == planned.status else None

    def run(self) -> dict[int, Outcome]:
        """Submits the runs that no job has yet, and shows progress until all runs or all jobs have ended.

        After Ctrl-C it asks whether to cancel the jobs; by default, and after SIGTERM and SIGHUP, they continue.
        """
        jobs = self._live_jobs()
        taken = {name for names in jobs.values() for name in names}
        self._look_at_all(set())
        new = [
            p for i, p in enumerate(self.due) if p.place.folder.name not in taken and i not in self.outcomes
        ]
        if n := len(self.due) - len(new) - len(self.outcomes):
            self.say(f"{n:,} of these runs {'is' if n == 1 else 'are'} in jobs that were submitted before")
        jobs |= self._submit(new) if new else {}
        if self.slurm["detach"]:
            self.say("submitted; the same command without --detach shows how they get on")
            self.stopping = DETACHED
            return self.outcomes
        try:
            with listening(_interrupt) if in_main_thread() else nullcontext():
                self._watch(jobs)
        except KeyboardInterrupt as asked:
            self.stopping = str(asked) or "SIGINT"
            if self.stopping == "SIGINT" and _wants_to_cancel(len(jobs)):
                slurm_queue.cancel(jobs)
                self.say(f"cancelled {len(jobs):,} job{'s' * (len(jobs) > 1)}")
            else:
                self.say("the jobs go on; the same command shows how they get on")
        return self.outcomes

    # ------------------------------------------------------------------ jobs

    def _submit(self, new: list[Planned]) -> Jobs:
        """Submits runs; returns {job: its runs}. Each array job is written to the ledger at once."""
        workers = self.options["workers"] or workers_per_job(self.options, self.due)
        packs = packs_of(self.options, new, workers)
        batch = executor(self.folder, self.slurm, self.due[0].config["name"])
        about = surroundings()
        jobs: Jobs = {}
        size = slurm_queue.max_array_size()
        for first in range(0, len(packs), size):
            chosen = [[new[i] for i in pack] for pack in packs[first : first + size]]
            made = submit(batch, [self._pack(runs, about, workers) for runs in chosen])
            for job, runs in zip(made, chosen, strict=True):
                jobs[job] = [planned.place.folder.name for planned in runs]
            self._note(jobs)
        arrays = sorted({job.partition("_")[0] for job in jobs})
        where = f"array job{'s' * (len(arrays) > 1)} {', '.join(arrays)}"
        self.say(f"{counted(len(new), 'run')} in {counted(len(packs), 'pack')}, {where}")
        return jobs

    def _pack(self, runs: list[Planned], about: dict[str, str], workers: int) -> Pack:
        places = [planned.place._replace(folder=planned.place.folder.absolute()) for planned in runs]
        known = [planned.run.known for planned in runs]
        assigned = [
            Assigned(place, p.config, p.overrides, p.status, record.get("ended"), record.get("created"))
            for place, p, record in zip(places, runs, known, strict=True)
        ]
        more = self.options["pictures"], self.options["renew_mb"]
        return Pack(assigned, self.command, workers, about, self.restart, *more)

    def _note(self, jobs: Jobs) -> None:
        known = {job: {"runs": names} for job, names in (self._known_jobs() | jobs).items()}
        write_json(self.ledger, {"jobs": known}, durable=True)

    def _known_jobs(self) -> Jobs:
        with suppress(OSError, ValueError, AttributeError):
            found = json.loads(self.ledger.read_text())["jobs"]
            return {str(job): [str(name) for name in about["runs"]] for job, about in found.items()}
        return {}

    def _live_jobs(self) -> Jobs:
        """The jobs of the ledger that Slurm still has. Raises UserError where Slurm does not answer."""
        known = self._known_jobs()
        if not known:
            return {}
        if (live := slurm_queue.in_queue()) is None:
            raise UserError("sweep.pool=slurm: squeue does not say whether the jobs submitted before go on; "
                            "give the command again when Slurm answers")  # fmt: skip
        return {job: names for job, names in known.items() if job in live}

    # ------------------------------------------------------------------ watching

    def _watch(self, jobs: Jobs) -> None:
        started: set[int] = set()
        asked, live = time.monotonic(), set(jobs)
        while len(self.outcomes) < len(self.due):
            self._look_at_all(started)
            self.view.tick()
            failures = sum(outcome.status == "failed" for outcome in self.outcomes.values())
            if failures >= (self.options["max_failures"] or math.inf):
                slurm_queue.cancel(jobs)  # running ones write checkpoints
                self.stopping = f"sweep.max_failures={self.options['max_failures']}"
                return
            if not live:
                break
            time.sleep(POLL)
            if time.monotonic() - asked > ASK_SLURM:
                asked, found = time.monotonic(), slurm_queue.in_queue()
                live = live if found is None else set(jobs) & found.keys()
        for i, planned in enumerate(self.due):
            if i not in self.outcomes:
                self.outcomes[i] = self._left_over(i, planned, jobs)
                self.view.ended(planned, self.outcomes[i])

    def _look_at_all(self, started: set[int]) -> None:
        for i, planned in enumerate(self.due):
            if i not in self.outcomes:
                self._look(i, planned, started)

    def _look(self, i: int, planned: Planned, started: set[int]) -> None:
        record = planned.run.known
        status = record.get("status")
        if status in OVER and self._ended_at(planned) != self.seen[i]:
            self.outcomes[i] = Outcome(i, status, record.get("why", ""), record, record.get("seconds", 0.0))
            self.view.ended(planned, self.outcomes[i])
        elif status == "running" and i not in started:
            started.add(i)
            self.view.started(planned)

    @staticmethod
    def _ended_at(planned: Planned) -> tuple[str | None, str | None]:
        record = planned.run.known
        return record.get("status"), record.get("ended")

    def _left_over(self, i: int, planned: Planned, jobs: Jobs) -> Outcome:
        """The outcome of a run that has not ended, and whose job has."""
        job = next((job for job, names in jobs.items() if planned.place.folder.name in names), "")
        record = planned.run.known
        if record.get("status") == "stopped" or slurm_queue.about(job).get("JobState") == "CANCELLED":
            self.stopping = CANCELLED
            return Outcome(i, "stopped", f"job {job} was cancelled", record)
        why = (
            f"job {job} ended before the run did{last_words(self.folder, job)}" if job else "it is in no job"
        )
        return Outcome(i, "failed", why, record | {"status": "failed", "why": why})


def executor(folder: Path, asked: SlurmConfig, name: str) -> "SlurmExecutor":
    """An executor of submitit with the settings of `sweep.slurm`; its files are in `folder`."""
    import submitit

    memory = f"{asked['memory_gb'] * 1024:.0f}M" if asked["memory_gb"] else None
    own = {"partition": asked["partition"], "account": asked["account"], "setup": asked["setup"],
           "gpus_per_node": asked["gpus"], "mem": memory}  # fmt: skip
    # no folder for each job ("%j"): submitit makes it after sbatch has answered; a job that begins earlier could not
    # open its log file, and would end
    found = submitit.SlurmExecutor(folder, max_num_timeout=10**6)
    found.update_parameters(**{
        "job_name": f"rnnlab {name}", "time": asked["minutes"], "cpus_per_task": asked["cpus"],
        "array_parallelism": asked["parallel"], "stderr_to_stdout": True,
        # seconds before its time limit at which a job is told to write checkpoints; less for very short jobs
        "signal_delay_s": min(90, 20 * asked["minutes"]),
        "additional_parameters": {"requeue": True} | asked["more"],
    } | {key: value for key, value in own.items() if value})  # fmt: skip
    return found


def submit(executor: "SlurmExecutor", works: Iterable[Callable[[], object]]) -> list[str]:
    """Submits an array job; returns the ids of its tasks. Raises UserError with sbatch's message where it refuses."""
    import submitit

    try:
        # submitit would also print the error that is raised below
        with redirect_stderr(io.StringIO()), executor.batch():
            made = [executor.submit(work) for work in works]
        return [job.job_id for job in made]
    except submitit.core.utils.FailedJobError as error:
        said = " ".join(str(error).split()) or "sbatch failed"
        raise UserError(f"sweep.pool=slurm: no job could be submitted: {said}") from error


def last_words(folder: Path, job: str) -> str:
    """The last line (or last error) that a job printed, and its log file; else its exit code; "" if unknown."""
    if not job:
        return ""
    for path in sorted(folder.glob(f"{job}_*_log.out")):
        with suppress(OSError):
            lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
            if lines:
                said = next((line for line in reversed(lines) if "Error" in line), lines[-1])
                return f": {said.strip()} ({path})"
    about = slurm_queue.about(job)
    if "ExitCode" not in about:
        return ""
    return f": it printed nothing; Slurm says {about['JobState']}, exit code {about['ExitCode']}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _wants_to_cancel(n: int) -> bool:
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    try:
        jobs = "the job" if n == 1 else f"the {n:,} jobs"
        return input(f"Cancel {jobs}? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False
