"""A search: Optuna chooses trials, the workers of a sweep train them, and unpromising trials are pruned."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path

from rnnlab.config.run_config import RunConfig, SweepConfig
from rnnlab.errors import UserError, counted
from rnnlab.report.entry import LOSS
from rnnlab.runs.record import ENDED, Record
from rnnlab.runs.run import Run, legible, silently
from rnnlab.runs.sources import Today, why_stale
from rnnlab.sweeps import samplers
from rnnlab.sweeps.estimate import first_validation, guessed_steps
from rnnlab.sweeps.job import Outcome
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.scheduler import Source
from rnnlab.sweeps.space import Space
from rnnlab.sweeps.study import UNITS, PlanPoint, Study, Trial, config_of, rung_score

HOPELESS = 100  # so many refused or repeated trials in a row end the search


class Search(Source[Planned]):
    """The source of a search's runs. `plan_point` gives the run of a point, or lines that say why it has none;
    `options` is the `sweep` section.
    """

    def __init__(self, space: Space, plan_point: PlanPoint, options: SweepConfig, example: Planned) -> None:
        self.space, self.plan_point, self.options = space, plan_point, options
        self.config = example.config
        self.steps = guessed_steps(example.config, example.batches)
        self.first = first_validation(example.config, example.batches)
        self.in_order = options["search_order"] == "deterministic"
        self.halving = options["prune"] == "halving"
        self.judges = options["prune"] not in ("none", "wilcoxon")  # Wilcoxon's test compares ended runs
        if self.in_order and options["prune"] not in samplers.IN_ORDER:
            raise UserError(f"sweep.prune={options['prune']}: what it stops depends on which run is faster; "
                            f"sweep.search_order=deterministic takes {', '.join(samplers.IN_ORDER)}")  # fmt: skip
        self.batch = options["search_batch"] if self.in_order or self.halving else 1
        self.study = Study(space, options, self.config, example, self.steps, self.first)
        self.rungs = samplers.rungs(options, self.steps, self.first)
        self.began = time.monotonic()
        self.trials: list[Trial] = []
        self.refused: list[str] = []  # why points gave no run
        self.found: list[Planned] = []  # runs of trials that had finished before
        self._waiting: deque[tuple[Trial, int]] = deque()  # runs to train next: (trial, index of its seed)
        self._at_rung: list[Trial] = []  # trials that wait for the others of their batch
        self._under_way: list[Trial] = []
        self._of: dict[int, tuple[Trial, int]] = {}  # {id(run): (trial, index of its seed)}
        self._by_folder: dict[Path, Trial] = {}
        self._in_a_row = 0
        self._next = self.study.recall(plan_point)

    # ------------------------------------------------------------------ called by the scheduler

    def more(self, idle: int) -> list[Planned]:
        found: list[Planned] = []
        while len(found) < idle and (self._waiting or self._may_ask()):
            if not self._waiting:
                for _ in range(self.batch if self._may_ask() else 0):
                    if self.left > 0:
                        self._ask()
                self._tell_ended()
                continue
            trial, seed = self._waiting.popleft()
            planned, record = trial.runs[seed], trial.runs[seed].run.known
            status = record.get("status", "")
            if record and seed == 0 and not trial.curve and self._recall_curve(trial, planned, status):
                trial.state = "pruned"
                self._tell_ended()
            elif self.halving and max(trial.curve, default=0) >= self._next_rung(trial):
                self._at_rung.append(trial)
                self._tell_ended()
            elif status in ENDED:
                self.found.append(planned)
                self._finished(trial, record)
                self._tell_ended()
            else:
                self._of[id(planned)] = (trial, seed)
                found.append(planned)
        return found

    def _recall_curve(self, trial: Trial, planned: Planned, status: str) -> bool:
        """Takes over the validations of a run that an earlier command has trained, or has begun; returns whether it is
        pruned, by the verdict on its last one.

        A run that resumes makes those after its checkpoint again, so they are judged when they come.
        """
        curve = self.study.curve_of(planned)
        if not self.judges or self.halving:
            trial.curve |= curve
            return False
        if status not in (*ENDED, "pruned"):
            trial.before = curve
            return False
        at_rungs, last, verdict = self.options["prune"] in samplers.AT_RUNGS, max(curve, default=0), False
        for step, value in curve.items():
            verdict = self._prunes(trial, step, value, judged=at_rungs or step == last)
        return status == "pruned" and verdict

    def _prunes(self, trial: Trial, step: int, value: float, judged: bool = True) -> bool:
        """Whether the pruner ends a trial at a validation. Each is reported once: a run whose worker was lost makes
        some again. One that is not `judged` is only reported.
        """
        if step not in trial.verdicts and math.isfinite(value):
            trial.curve[step] = value
            trial.ask.report(value, step)
            trial.verdicts[step] = judged and trial.ask.should_prune()
        return trial.verdicts.get(step, False)

    @property
    def open(self) -> bool:
        return bool(self._waiting) or self._may_ask()

    def validated(self, planned: Planned, step: int, value: float) -> str:
        trial, seed = self._of[id(planned)]
        if self.options["prune"] == "wilcoxon" or seed > 0:
            return ""
        if self.halving:  # also where the value is not finite: the trial is then the last at the rung
            trial.curve[step] = value
            return "stopped at a rung (halving)" if step >= self._next_rung(trial) else ""
        for at in [at for at in trial.before if at < step]:  # in the order of a training
            self._prunes(trial, at, trial.before.pop(at))
        return f"pruned ({self.options['prune']})" if self._prunes(trial, step, value) else ""

    def ended(self, planned: Planned, outcome: Outcome) -> None:
        trial, _ = self._of[id(planned)]
        if outcome.status in ENDED:
            self._finished(trial, outcome.record)
        elif outcome.status == "pruned" and self.halving:
            self._at_rung.append(trial)
        elif outcome.status == "pruned":
            trial.state = "pruned"
        elif outcome.status == "failed":
            trial.state = "failed"
        self._tell_ended()

    # ------------------------------------------------------------------ asking and telling

    @property
    def left(self) -> int:
        """How many trials are still to be chosen."""
        return max(0, self.options["trials"] - self.study.told.total() - len(self.trials))

    def _may_ask(self) -> bool:
        """Whether a further trial may be chosen now. With batches, the batch before must have been told."""
        minutes = self.options["minutes"]
        over = minutes is not None and time.monotonic() - self.began > 60 * minutes
        return self.left > 0 and not over and not (self.batch > 1 and self._under_way)

    def _ask(self) -> None:
        ask = self.study.optuna.ask(self.study.distributions)
        planned = [self.plan_point(point) for point in self.space.points(ask.params)]
        wrong = [line for one in planned if isinstance(one, list) for line in one]
        runs = [p for p in planned if not isinstance(p, list)]
        twin = self._by_folder.get(runs[0].place.folder) if runs else None
        if wrong or (twin is not None and not twin.state):  # no run, or the run of a trial under way
            self.study.optuna.tell(ask, state=samplers.state("failed"))
            self._in_a_row += 1
            self.refused += wrong
            if self._in_a_row >= HOPELESS and wrong:
                raise UserError(f"{HOPELESS} trials in a row could not be run; the last: {wrong[0]}")
            if self._in_a_row >= HOPELESS:  # the space has fewer points than trials
                self.options = self.options | {"trials": self.study.told.total() + len(self.trials)}
            return
        self._in_a_row = 0
        trial = Trial(self.study.begun.pop(0) if self.study.begun else self._next, ask, runs)
        self._next = max(self._next, trial.number + 1)
        self._by_folder[runs[0].place.folder] = trial
        self.trials.append(trial)
        self._under_way.append(trial)
        self._waiting.append((trial, 0))
        self.study.note(trial, asked=True)

    def _finished(self, trial: Trial, record: Record) -> None:
        values = self.study.values_of(record)
        if not all(map(math.isfinite, values)):
            trial.state = "failed"
            return
        trial.steps = trial.steps or record["results"].get("steps", 0)
        trial.values.append(values)
        seed = len(trial.values)
        if self.options["prune"] == "wilcoxon":
            trial.ask.report(values[0], seed)
            if seed < len(trial.runs) and trial.ask.should_prune():
                trial.state = "pruned"
                return
        if seed < len(trial.runs):
            self._waiting.append((trial, seed))
        else:
            trial.state = "complete"

    def _tell_ended(self) -> None:
        """Tells the study the trials that have ended: each at once, or a whole batch in the order of its numbers."""
        if self.halving:
            self._promote()
        if self.batch > 1 and not all(trial.state for trial in self._under_way):
            return
        for trial in [t for t in self._under_way if t.state]:
            self._under_way.remove(trial)
            if self.halving:
                for step, value in sorted(trial.curve.items()):
                    if math.isfinite(value):
                        trial.ask.report(value, step)
            self.study.tell(trial)

    # ------------------------------------------------------------------ synchronous halving

    def _next_rung(self, trial: Trial) -> float:
        """The step at which a trial waits for the others; infinity after the last rung."""
        return self.rungs[trial.rung] if trial.rung < len(self.rungs) else math.inf

    def _promote(self) -> None:
        """When all trials of a batch have ended or wait at the rung: continues the best, and prunes the others."""
        live = [trial for trial in self._under_way if not trial.state]
        if not live or len(live) > len(self._at_rung):
            return
        ranked = rung_score(self._at_rung, self._next_rung(live[0]), self.study.sign)
        promoted = ranked[: max(1, len(ranked) // self.options["reduction"])]
        self._at_rung = []
        for trial in ranked:
            if trial in promoted:
                trial.rung += 1
                self._waiting.append((trial, 0))
            else:
                trial.state = "pruned"


def stale_lines(learned: Iterable[tuple[Run, Callable[[], RunConfig]]]) -> list[str]:
    """A line about those finished runs, given with their configs, that may not give the same numbers today."""
    today = Today()
    checked = legible(learned, lambda one: why_stale(one[0], one[1](), today), silently)
    found = [why for _, why in checked if why]
    if not found:
        return []
    said, n = ", ".join(sorted({one for why in found for one in why})), len(found)
    what = f"{n:,} finished run{'s' * (n > 1)} that the search learns from {'is' if n == 1 else 'are'} stale"
    return [f"{what} ({said}); another name= begins afresh"]


def describe(search: Search, took: float) -> list[str]:
    """Lines that describe the search before it begins."""
    options = search.options
    pruned = f", pruned by {options['prune']}" if options["prune"] != "none" else ""
    told = f", {search.study.told.total():,} of them from an earlier command" if search.study.told else ""
    lines = [
        f"search by {options['search']}{pruned}: {counted(options['trials'], 'trial')}{told}; planned in {took:.2f} s"
    ]
    lines += [f"  {d.key:24} {d}" for d in search.space.dimensions]
    if len(search.study.objectives) > 1:
        lines.append(f"  {'objectives':24} {', '.join(search.study.objectives)}")
    if len(search.space.seeds) > 1:
        lines.append(f"  {'seed':24} {len(search.space.seeds)} in each trial")
    if search.judges:
        steps = f"steps {', '.join(f'{at:,}' for at in search.rungs)} of {search.steps:,}"
        none = "none: the first validation comes at the end, so that nothing is pruned"
        lines.append(f"  {'rungs':24} {steps if search.rungs else none}")
        if search.rungs and (options["min_steps"] or search.first) < search.first:
            lines.append(f"sweep.min_steps={options['min_steps']}: the first validation comes after step "
                         f"{search.first:,}, so the first rung is there")  # fmt: skip
    measured = [d.key for d in search.space.dimensions if d.key.lstrip("+") in UNITS]
    if measured and search.config["monitor"] == LOSS:
        lines.append(
            f"trials are compared by {LOSS}, whose unit depends on {' and '.join(measured)}; monitor=metric/NAME, such "
            "as metric/mse, compares them in the units of the data"
        )
    return lines + stale_lines(search.study.learned)


def summary(search: Search) -> list[str]:
    """Lines that summarise the search after its end."""
    counts = search.study.told + Counter(trial.state for trial in search.trials if trial.state)
    words = [f"{counts['complete']:,} complete", f"{counts['pruned']:,} pruned"]
    words += [f"{counts['failed']:,} failed"] if counts["failed"] else []
    words += [f"{search.study.told.total():,} from an earlier command"] if search.study.told else []
    lines = [f"{counted(counts.total(), 'trial')}: {', '.join(words)}"]
    lines += stale_lines((planned.run, config_of(planned)) for planned in search.found)
    lines += [f"could not be run: {why}" for why in list(dict.fromkeys(search.refused))[:3]]
    if search.in_order:
        lines.append("in deterministic order: the same trials and bits with any number of workers")
    elif search.trials:
        lines.append(
            "the workers' speed decided which trials were tried; sweep.search_order=deterministic makes them repeatable"
        )
    return lines
