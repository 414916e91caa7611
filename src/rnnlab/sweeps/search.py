"""A search: Optuna chooses trials, the workers of a sweep train them, and what is not worth its end is pruned.

The study lives in memory. Beside the runs `search.jsonl` notes each trial when it is chosen and when it is told, a line
each: from it, and from the runs' folders, the same command goes on.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnlab.errors import UserError
from rnnlab.runs.run import Run, runs, silently
from rnnlab.runs.trials import JOURNAL, TOLD, append, read_journal
from rnnlab.sweeps import samplers
from rnnlab.sweeps.estimate import guessed_steps
from rnnlab.sweeps.grid import Point
from rnnlab.sweeps.job import Outcome
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.scheduler import Source
from rnnlab.sweeps.space import Space

STUDY = "study.log"
ENOUGH = 10  # complete trials, before it is said how much each key mattered
HOPELESS = 100  # trials in a row that are no run


@dataclass(eq=False)
class Trial:
    """A configuration: one run for each seed, one after another."""

    number: int
    ask: Any  # Optuna's own
    runs: list[Planned]
    values: list[float] = field(default_factory=list)  # of the runs that have finished
    curve: dict[int, float] = field(default_factory=dict)  # of its first run: {step: monitored metric}
    state: str = ""  # complete, pruned or failed, once it has ended
    rung: int = 0  # of synchronous halving: how many it has passed

    @property
    def value(self) -> float:
        return sum(self.values) / len(self.values) if self.values else math.nan


class Search(Source):
    """`plan_point` gives the run of a point, or the lines that say why it is none; `options` are those of `sweep`."""

    def __init__(
        self,
        space: Space,
        plan_point: Callable[[Point], Planned | list[str]],
        options: dict[str, Any],
        example: Planned,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.plan_point, self.options = space, plan_point, options
        self.config = example.config
        self.sign = 1.0 if self.config["mode"] == "min" else -1.0
        self.journal = example.place.folder.parent / JOURNAL
        self.steps = guessed_steps(example.config)
        self.in_order = options["search_order"] == "deterministic"
        self.halving = options["prune"] == "halving"
        self.judges = options["prune"] not in ("none", "wilcoxon")  # Wilcoxon's test compares ended runs
        if self.in_order and options["prune"] not in samplers.IN_ORDER:
            raise UserError(f"sweep.prune={options['prune']}: its verdicts depend on which run is faster; "
                            f"with sweep.search_order=deterministic one of {', '.join(samplers.IN_ORDER)}")  # fmt: skip
        self.batch = options["search_batch"] if self.in_order or self.halving else 1
        self.distributions = space.distributions()
        entries = () if self.in_order or self.halving else read_journal(self.journal, space.id).trials
        self.study = optuna.create_study(
            direction="minimize" if self.sign > 0 else "maximize",
            sampler=samplers.sampler(options, len(entries)),
            pruner=samplers.pruner(options, self.steps),
        )
        self.began = time.monotonic()
        self.trials: list[Trial] = []
        self.earlier: list[Planned] = []  # runs of trials that an earlier command has told of
        self.told = Counter[str]()  # such trials, by how they ended
        self._numbers: deque[int] = deque()  # of trials that an earlier command has begun
        self._next = 0
        self.refused: list[str] = []  # why points were no runs
        self._waiting: deque[tuple[Trial, int]] = deque()  # runs that are due: (trial, number of its seed)
        self._at_rung: list[Trial] = []  # waiting for the others of their batch
        self._under_way: list[Trial] = []
        self._of: dict[int, tuple[Trial, int]] = {}  # by id of a planned run
        self._by_folder: dict[Path, Trial] = {}
        self._in_a_row = 0
        if not self.in_order and not self.halving:
            self._recall(entries)

    # ------------------------------------------------------------------ what the scheduler asks

    def more(self, idle: int) -> list[Planned]:
        found: list[Planned] = []
        while len(found) < idle and (self._waiting or self._may_ask()):
            if not self._waiting:
                for _ in range(self.batch if self._may_ask() else 0):
                    if self.left > 0:
                        self._ask()
                self._settle()
                continue
            trial, seed = self._waiting.popleft()
            planned, record = trial.runs[seed], trial.runs[seed].run.known
            if record and seed == 0 and not trial.curve:
                self._recall_curve(trial, planned)
            if self.halving and max(trial.curve, default=0) >= self._next_rung(trial):
                self._at_rung.append(trial)
                self._settle()
            elif record.get("status") == "finished":
                self._finished(trial, record)
                self._settle()
            else:
                self._of[id(planned)] = (trial, seed)
                found.append(planned)
        return found

    def _recall_curve(self, trial: Trial, planned: Planned) -> None:
        """Takes up what an earlier command has seen of a run."""
        with suppress(UserError, KeyError, OSError):
            steps, values = planned.run.metrics[self.config["monitor"]]
            trial.curve |= {int(s): float(v) for s, v in zip(steps, values, strict=True)}
        if self.judges and not self.halving:
            for step, value in trial.curve.items():
                trial.ask.report(value, step)

    @property
    def open(self) -> bool:
        return bool(self._waiting) or self._may_ask()

    def validated(self, planned: Planned, step: int, value: float) -> str:
        trial, seed = self._of[id(planned)]
        if self.options["prune"] == "wilcoxon" or seed > 0 or not math.isfinite(value):
            return ""
        trial.curve[step] = value
        if self.halving:
            return "waits at a rung" if step >= self._next_rung(trial) else ""
        trial.ask.report(value, step)
        return f"pruned ({self.options['prune']})" if trial.ask.should_prune() else ""

    def ended(self, planned: Planned, outcome: Outcome) -> None:
        trial, _ = self._of[id(planned)]
        if outcome.status == "finished":
            self._finished(trial, outcome.record)
        elif outcome.status == "pruned" and self.halving:
            self._at_rung.append(trial)
        elif outcome.status == "pruned":
            trial.state = "pruned"
        elif outcome.status == "failed":
            trial.state = "failed"
        self._settle()

    # ------------------------------------------------------------------ asking and telling

    @property
    def left(self) -> int:
        """How many trials are still to be chosen."""
        return self.options["trials"] - self.told.total() - len(self.trials)

    def _may_ask(self) -> bool:
        """Whether a further trial may be chosen now: in batches the one before must have been told."""
        minutes = self.options["minutes"]
        over = minutes is not None and time.monotonic() - self.began > 60 * minutes
        return self.left > 0 and not over and not (self.batch > 1 and self._under_way)

    def _ask(self) -> None:
        ask = self.study.ask(self.distributions)
        planned = [self.plan_point(point) for point in self.space.points(ask.params)]
        wrong = [line for one in planned if isinstance(one, list) for line in one]
        runs = [p for p in planned if not isinstance(p, list)]
        twin = self._by_folder.get(runs[0].place.folder) if runs else None
        if wrong or (twin is not None and not twin.state):  # no run, or one that is under way
            self.study.tell(ask, state=samplers.state("failed"))
            self._in_a_row += 1
            self.refused += wrong
            if self._in_a_row >= HOPELESS and wrong:
                raise UserError(f"{HOPELESS} trials in a row are no runs; the last: {wrong[0]}")
            if self._in_a_row >= HOPELESS:  # the space has fewer points than there are to be trials
                self.options = self.options | {"trials": self.told.total() + len(self.trials)}
            return
        self._in_a_row = 0
        if not self._numbers:
            self._numbers.append(self._next)
        trial = Trial(self._numbers.popleft(), ask, runs)
        self._next = max(self._next, trial.number + 1)
        self._by_folder[runs[0].place.folder] = trial
        self.trials.append(trial)
        self._under_way.append(trial)
        self._waiting.append((trial, 0))
        self._note(trial, asked=True)

    def _finished(self, trial: Trial, record: dict[str, Any]) -> None:
        value = record.get("results", {}).get("best", {}).get("value", math.nan)
        if not math.isfinite(value):
            trial.state = "failed"
            return
        trial.values.append(value)
        seed = len(trial.values)
        if self.options["prune"] == "wilcoxon":
            trial.ask.report(value, seed)
            if seed < len(trial.runs) and trial.ask.should_prune():
                trial.state = "pruned"
                return
        if seed < len(trial.runs):
            self._waiting.append((trial, seed))
        else:
            trial.state = "complete"

    def _settle(self) -> None:
        """Tells the study of what has ended: each trial at once, or a whole batch in the order of its numbers."""
        if self.halving:
            self._promote()
        if self.batch > 1 and not all(trial.state for trial in self._under_way):
            return
        for trial in [t for t in self._under_way if t.state]:
            self._under_way.remove(trial)
            complete = trial.state == "complete"
            if self.halving:
                for step, value in sorted(trial.curve.items()):
                    trial.ask.report(value, step)
            self.study.tell(trial.ask, trial.value if complete else None, state=samplers.state(trial.state))
            self._note(trial)

    # ------------------------------------------------------------------ synchronous halving

    def _next_rung(self, trial: Trial) -> float:
        """The step at which a trial waits for the others; infinity behind the last rung."""
        rungs = samplers.rungs(self.options, self.steps)
        return rungs[trial.rung] if trial.rung < len(rungs) else math.inf

    def _promote(self) -> None:
        """When all of a batch have ended or wait at the rung, the best of them go on, and the others are pruned."""
        live = [trial for trial in self._under_way if not trial.state]
        if not live or len(live) > len(self._at_rung):
            return
        rung = self._next_rung(live[0])

        def score(trial: Trial) -> tuple[float, int]:
            first = min(
                (s for s in trial.curve if s >= rung), default=math.inf
            )  # validation at or behind the rung
            return min(self.sign * v for s, v in trial.curve.items() if s <= first), trial.number

        ranked = sorted(self._at_rung, key=score)
        promoted = ranked[: max(1, len(ranked) // self.options["reduction"])]
        self._at_rung = []
        for trial in ranked:
            if trial in promoted:
                trial.rung += 1
                self._waiting.append((trial, 0))
            else:
                trial.state = "pruned"

    # ------------------------------------------------------------------ the journal

    def _note(self, trial: Trial, asked: bool = False) -> None:
        line: dict[str, Any] = {"space": self.space.id, "trial": trial.number, "at": round(time.time(), 3)}
        if asked:
            line |= {"params": trial.ask.params, "runs": [p.place.folder.name for p in trial.runs]}
        else:
            value = trial.value if trial.state == "complete" else _best(trial, self.sign)
            line |= {"state": trial.state, "value": value if math.isfinite(value) else None}
            line |= {"steps": max(trial.curve, default=0)}
        append(self.journal, line)

    def close(self) -> None:
        """Notes how much each key mattered, and writes the study as Optuna's own journal, for its dashboard."""
        import optuna

        complete = self.study.get_trials(deepcopy=False, states=(samplers.state("complete"),))
        if len({trial.value for trial in complete}) >= ENOUGH and len(self.distributions) > 1:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            with suppress(ValueError, RuntimeError):
                found = optuna.importance.get_param_importances(self.study, evaluator=evaluator)
                shares = {key: round(float(value), 4) for key, value in found.items()}
                append(
                    self.journal, {"space": self.space.id, "at": round(time.time(), 3), "importance": shares}
                )
        path = self.journal.with_name(STUDY)
        path.unlink(missing_ok=True)
        from optuna.storages.journal import JournalFileBackend

        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        name = self.config["name"]
        direction = self.study.direction
        exported = optuna.create_study(study_name=name, storage=storage, direction=direction)
        exported.add_trials(self.study.get_trials(deepcopy=False))

    def _recall(self, entries: Sequence[dict[str, Any]]) -> None:
        """Tells the study of what an earlier command has found: of this search's journal, and of other runs that lie
        in the space. What was under way is chosen again.
        """
        import optuna

        known: set[str] = set()
        for entry in entries:
            params = {d.key: _fitted(d, entry["params"].get(d.key)) for d in self.space.dimensions}
            if None in params.values():
                continue
            known.update(entry["runs"])
            self._next = entry["number"] + 1
            if entry.get("state") not in TOLD:
                self.study.enqueue_trial(params)
                self._numbers.append(entry["number"])
                continue
            if entry["state"] == "complete":
                planned = [self.plan_point(point) for point in self.space.points(params)]
                self.earlier += [p for p in planned if not isinstance(p, list)]
            value = entry.get("value")
            complete = entry["state"] == "complete"
            seen = {int(entry["steps"]): float(value)} if not complete and value is not None else None
            self.study.add_trial(optuna.trial.create_trial(
                state=samplers.state(entry["state"]), params=params, distributions=self.distributions,
                value=value if complete else None,
                intermediate_values=seen,
            ))  # fmt: skip
            self.told[entry["state"]] += 1
        for run in runs(self.journal.parent, silently) if self.journal.parent.is_dir() else ():
            if run.folder.name not in known and (there := self._params_of(run)) is not None:
                self.study.add_trial(optuna.trial.create_trial(
                    params=there, distributions=self.distributions, value=run.objective))  # fmt: skip

    def _params_of(self, run: Run) -> dict[str, Any] | None:
        """Where a finished run lies in the space; None for one that is not of it."""
        if run.known.get("status") != "finished" or not math.isfinite(run.objective):
            return None
        with suppress(UserError, KeyError, TypeError):
            own = {a.partition("=")[0]: a for a in run.overrides if not a.startswith("paths.")}
            fixed = dict(self.space.asked)
            found = {d.key: _fitted(d, own.pop(d.key, None)) for d in self.space.dimensions}
            own.pop("seed", None), fixed.pop("seed", None)
            return found if None not in found.values() and own == fixed else None
        return None


def _fitted(dimension: Any, value: Any) -> Any:
    """A value of the journal, or KEY=VALUE, as the dimension's distribution takes it; None where it does not."""
    if dimension.choices:
        return value if value in [a.text for a in dimension.choices] else None
    try:
        number = float(str(value).rpartition("=")[2])
    except ValueError:
        return None
    return (int(number) if dimension.whole else number) if dimension.low <= number <= dimension.high else None


def _best(trial: Trial, sign: float) -> float:
    return sign * min((sign * v for v in trial.curve.values()), default=math.inf)


def describe(search: Search, took: float) -> list[str]:
    """What is searched and how, in lines."""
    options = search.options
    pruned = f", pruned by {options['prune']}" if options["prune"] != "none" else ""
    told = f", {search.told.total():,} of them told already" if search.told else ""
    lines = [
        f"search by {options['search']}{pruned}: {options['trials']:,} trials{told}; planned in {took:.2f} s"
    ]
    lines += [f"  {d.key:24} {d}" for d in search.space.dimensions]
    if len(search.space.seeds) > 1:
        lines.append(f"  {'seed':24} {len(search.space.seeds)} a trial")
    if search.judges:
        lines.append(f"  {'rungs':24} steps {', '.join(f'{at:,}' for at in samplers.rungs(options, search.steps))}"
                     f" of {search.steps:,}")  # fmt: skip
    return lines


def summary(search: Search) -> list[str]:
    """What came of it, in lines."""
    counts = search.told + Counter(trial.state for trial in search.trials if trial.state)
    words = [f"{counts['complete']:,} complete", f"{counts['pruned']:,} pruned"]
    words += [f"{counts['failed']:,} failed"] if counts["failed"] else []
    words += [f"{search.told.total():,} of an earlier command"] if search.told else []
    lines = [f"{counts.total():,} trials: {', '.join(words)}"]
    lines += [f"no run: {why}" for why in list(dict.fromkeys(search.refused))[:3]]
    if search.in_order:
        lines.append("in deterministic order: the same trials and bits with any number of workers")
    elif search.trials:
        lines.append(
            "which trials came depends on the speed of the workers; not with sweep.search_order=deterministic"
        )
    return lines
