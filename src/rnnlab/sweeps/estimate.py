"""What a sweep will take, by measurement: of runs that finished, else of a trial of some steps, here and now."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rnnlab.errors import UserError
from rnnlab.runs.run import Run
from rnnlab.sweeps import cost
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.probe import Scout
from rnnlab.sweeps.trial import trials

FINISHED = 100  # runs that are read
ENOUGH = 3  # of them, for the first run of a process is slower than the others
KINDS = 200  # of runs that differ by more than the seed, among which those to try are chosen


@dataclass
class Estimate:
    seconds: list[float]  # of each run that is due
    basis: str
    worker_bytes: float  # of memory, in each worker
    shared_bytes: float  # and once
    memory_basis: str

    def wall(self, due: list[Planned], workers: dict[str, int]) -> float:
        """Seconds until the last run ends, each kind of device working off its own."""
        longest = 0.0
        for kind in {p.accelerator for p in due}:
            took = [s for s, p in zip(self.seconds, due, strict=True) if p.accelerator == kind]
            longest = max(longest, sum(took) / min(workers.get(kind, 1), len(took)), max(took))
        return longest


def estimate(due: list[Planned], scout: Scout) -> Estimate:
    """Time by finished runs of the same experiments where there are enough; memory always by a trial."""
    one_of = list({p.place.group: p for p in reversed(due)}.values())
    kinds = [(p, p.config()) for p in one_of[:: -(-len(one_of) // KINDS)]]
    ratios, own = finished({p.place.folder.parent for p in due})
    tried = trials(kinds, scout, just_one=len(ratios) >= ENOUGH)

    def longer(planned: Planned) -> float:
        """How much longer than guessed a run takes: as the one did that was guessed likest."""
        if len(ratios) >= ENOUGH:
            return median(ratios)
        if not tried:
            return 1.0
        near = min(tried, key=lambda t: max(t.guessed / planned.cost, planned.cost / t.guessed))
        return near.seconds / near.guessed

    seconds = [median(own[p.place.group]) if p.place.group in own else p.cost * longer(p) for p in due]
    if len(ratios) >= ENOUGH:
        basis = f"by {len(ratios)} runs of this experiment that have finished"
    elif tried:
        basis = f"by a trial of {len(tried)} of {len(one_of):,} kinds of runs, engine {tried[0].engine}"
    else:
        basis = "a guess: nothing of the kind has finished, and it could not be tried"
    most = max(cost.memory(config) for _, config in kinds)
    if not tried:
        return Estimate(seconds, basis, most, 0.0, "a guess")
    beyond = max(0.0, most - max(t.guessed_bytes for t in tried))
    held = max(t.private for t in tried) + beyond
    return Estimate(seconds, basis, held, max(t.shared for t in tried), "by the trial")


def finished(experiments: Iterable[Path]) -> tuple[list[float], dict[str, list[float]]]:
    """How much longer than guessed runs took; and the seconds of those of each group."""
    ratios, own = [], dict[str, list[float]]()
    for experiment in experiments:
        for path in sorted(experiment.glob("*/run.json"))[:FINISHED]:
            run = Run(path.parent)
            record = run.known
            if record.get("status") == "finished" and record.get("seconds"):
                with suppress(UserError, KeyError, TypeError):  # a config that is damaged tells nothing
                    ratios.append(record["seconds"] / cost.seconds(run.config))
                    own.setdefault(record.get("group", ""), []).append(record["seconds"])
    return ratios, own
