"""Optuna's study of a search, in memory. It is rebuilt from the journal `search.jsonl` and from the runs' folders.

The journal gets one line when a trial is chosen and one when its result is told to Optuna. From it the same command
continues the search.
"""

import math
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rnnlab.config.run_config import RunConfig, SweepConfig, as_dict
from rnnlab.errors import UserError, nearest, warn
from rnnlab.runs.metrics import as_logged
from rnnlab.runs.record import ENDED, Record
from rnnlab.runs.run import Run, runs, silently
from rnnlab.runs.trials import JOURNAL, TOLD, append, read_journal
from rnnlab.sweeps import samplers
from rnnlab.sweeps.grid import Point
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.space import Dimension, Params, Space

if TYPE_CHECKING:
    import optuna

STUDY = "study.log"
ENOUGH = 10  # the fewest complete trials (with different values) for the importance of keys
OF_RESULTS = ("parameters", "multiplications", "steps")  # objectives that no validation measures
SECONDS = "seconds"
# keys that decide the unit of a loss
UNITS = ("model.loss", "model.huber_delta", "model.quantiles", "data.scaling", "data.log")

PlanPoint = Callable[[Point], "Planned | list[str]"]


def refuse_objectives(asked: Sequence[str], monitor: str, measured: Collection[str]) -> None:
    """Raises UserError for an objective that runs do not have, given the names that are `measured` (empty where they
    are not known), for the monitored metric, and for a repeated objective.
    """
    possible = {*OF_RESULTS, SECONDS, *measured} - {monitor}
    for i, name in enumerate(asked):
        at = f"sweep.objectives=[{','.join(asked)}]"
        if name == monitor:
            raise UserError(
                f"{at}: {name} is the monitored metric, which is the first objective; leave it out"
            )
        if name in asked[:i]:
            raise UserError(f"{at}: names {name} twice")
        if measured and name not in possible:
            metric = f"metric/{name}"
            said = f" Did you mean {metric}?" if metric in possible else nearest(name, possible)
            raise UserError(f"{at}: runs have no {name}.{said}")


def refuse_units(examples: Sequence[Planned], options: SweepConfig) -> None:
    """Raises UserError if the unit of the monitored loss differs between trials that are chosen or pruned by it."""
    compares = options["search"] != "random" or options["prune"] != "none"
    if examples[0].config["monitor"] != "loss/val" or not compares:
        return
    for key in UNITS:
        section, _, name = key.partition(".")
        nodes = [as_dict(planned.config)[section] for planned in examples]
        ours = str(nodes[0].get("_target_")).startswith("rnnlab.")
        if ours and len({repr(node.get(name)) for node in nodes}) > 1:
            raise UserError(
                f"{key}: decides the unit of loss/val, by which the search would compare its trials; "
                "monitor=metric/mse is in the data's own"
            )


@dataclass(eq=False)
class Trial:
    """A configuration that Optuna has chosen: one run for each seed, one after another."""

    number: int
    ask: "optuna.Trial"
    runs: list[Planned]
    values: list[list[float]] = field(default_factory=list)  # the objectives of each finished run
    curve: dict[int, float] = field(default_factory=dict)  # {step: monitored metric} of its first run
    before: dict[int, float] = field(default_factory=dict)  # of an earlier command, and not judged yet
    verdicts: dict[int, bool] = field(default_factory=dict)  # {step: whether the pruner ends it there}
    steps: int = 0  # steps of its first run, once it has ended
    state: str = ""  # complete, pruned or failed, once it has ended
    rung: int = 0  # how many rungs of synchronous halving it has passed

    @property
    def means(self) -> list[float]:
        """The mean of each objective over the finished runs; the monitored metric first."""
        return [sum(column) / len(column) for column in zip(*self.values, strict=True)]


@dataclass
class Study:
    """The study. `options` is the `sweep` section; `config` and `example` belong to one of the runs."""

    space: Space
    options: SweepConfig
    config: RunConfig
    example: Planned
    steps: int
    first: int  # the step of the first validation
    told: Counter[str] = field(default_factory=Counter)  # {state: number of trials} of an earlier command
    earlier: list[Planned] = field(default_factory=list)  # runs of its complete trials
    begun: list[int] = field(default_factory=list)  # numbers of the trials that it has begun and not told
    # (run, its config) of the finished runs of earlier commands that it has learned from
    learned: list[tuple[Run, Callable[[], RunConfig]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.objectives = [self.config["monitor"], *self.options["objectives"]]
        self._refuse()
        self.sign = 1.0 if self.config["mode"] == "min" else -1.0
        self.journal = self.example.place.folder.parent / JOURNAL
        self.id = "+".join([self.space.id, *self.options["objectives"]])
        self.distributions = self.space.distributions()
        self.in_batches = (
            self.options["search_order"] == "deterministic" or self.options["prune"] == "halving"
        )
        self.entries = () if self.in_batches else read_journal(self.journal, self.id).trials
        lowest, highest = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
        self.optuna = optuna.create_study(
            study_name=self.id,  # fixed: Hyperband chooses a trial's bracket by this name and the trial's number
            directions=[lowest if self.sign > 0 else highest] + [lowest] * len(self.options["objectives"]),
            sampler=samplers.sampler(self.options, len(self.entries)),
            pruner=samplers.pruner(self.options, self.steps, self.first),
        )

    def _refuse(self) -> None:
        """Raises UserError for what Optuna cannot do with several objectives."""
        several = bool(self.options["objectives"])
        at = f"sweep.objectives=[{','.join(self.options['objectives'])}]"
        if several and self.options["search"] == "cmaes":
            raise UserError(
                f"{at}: sweep.search=cmaes takes one objective; nsga2, tpe, gp and random take several"
            )
        if several and self.options["search"] == "gp" and not samplers.gp_takes_several():
            raise UserError(
                f"{at}: sweep.search=gp takes several objectives from Optuna 4.4 on; use nsga2, tpe or random"
            )
        if several and self.options["prune"] != "none":
            raise UserError(
                f"{at}: with several objectives no trial can be stopped early; leave out sweep.prune"
            )

    def tell(self, trial: Trial) -> None:
        """Tells Optuna the result of a trial that has ended, and writes it to the journal."""
        complete = trial.state == "complete"
        told = self.optuna.tell(
            trial.ask, trial.means if complete else None, state=samplers.state(trial.state)
        )
        self.note(trial, rungs=samplers.passed(told))

    def values_of(self, record: Record) -> list[float]:
        """The objectives of a run; NaN for one that it does not have."""
        results = record.get("results", {})
        best = results.get("best", {})
        counts = cast("dict[str, int]", results)
        known = best.get("metrics", {}) | {k: counts[k] for k in OF_RESULTS if k in counts}
        known |= {SECONDS: record.get("seconds", math.nan)}
        more = [float(known.get(name, math.nan)) for name in self.options["objectives"]]
        return [best.get("value", math.nan), *more]

    # ------------------------------------------------------------------ the journal

    def note(self, trial: Trial, asked: bool = False, rungs: dict[str, float] | None = None) -> None:
        line: dict[str, object] = {"space": self.id, "trial": trial.number, "at": round(time.time(), 3)}
        if asked:
            line |= {"params": trial.ask.params, "runs": [p.place.folder.name for p in trial.runs]}
        else:
            known = [self.sign * v for v in trial.curve.values() if not math.isnan(v)]
            best = self.sign * min(known, default=math.inf)
            value = trial.means[0] if trial.state == "complete" else best
            line |= {"state": trial.state, "value": value if math.isfinite(value) else None}
            line |= {"steps": max([trial.steps, *trial.curve])} | ({"rungs": rungs} if rungs else {})
            if len(self.objectives) > 1 and trial.state == "complete":
                line |= {"values": dict(zip(self.objectives, trial.means, strict=True))}
        append(self.journal, line)

    def recall(self, plan_point: PlanPoint) -> int:
        """Tells Optuna the results of an earlier command, from the journal and from other runs in the space. Trials
        that were under way are chosen again. Returns the number of the next new trial.

        Does nothing where trials are chosen in batches: they are chosen in the same way again, and their finished runs
        are found.
        """
        if self.in_batches:
            return 0
        import optuna

        known: set[str] = set()
        number = 0
        for entry in self.entries:
            if (params := self._params(entry["params"])) is None:
                continue
            known.update(entry["runs"])
            number = entry["number"] + 1
            if entry.get("state") not in TOLD:
                self.optuna.enqueue_trial(params)
                self.begun.append(entry["number"])
                continue
            complete, value = entry["state"] == "complete", entry.get("value")
            planned = [
                p for point in self.space.points(params) if not isinstance(p := plan_point(point), list)
            ]
            if complete:
                self.earlier += planned
                self.learned += [(p.run, config_of(p)) for p in planned]
            values = [value, *(entry.get("values", {}).get(name) for name in self.objectives[1:])]
            if complete and None in values:
                continue
            seen = {int(entry["steps"]): float(value)} if not complete and value is not None else {}
            self.optuna.add_trial(optuna.trial.create_trial(
                state=samplers.state(entry["state"]), params=params, distributions=self.distributions,
                values=values if complete else None,
                intermediate_values=self._reported(planned, entry["steps"]) or seen,
                system_attrs=entry.get("rungs"),
            ))  # fmt: skip
            self.told[entry["state"]] += 1
        for run, there, values in self._others(known):
            self.learned.append((run, config_of(run)))
            self.optuna.add_trial(optuna.trial.create_trial(
                params=there, distributions=self.distributions, values=values))  # fmt: skip
        return number

    def _reported(self, planned: Sequence[Planned], steps: int) -> dict[int, float]:
        """The values that a pruner saw of a trial of an earlier command, and compares other trials with: the value of
        each finished seed (Wilcoxon), or the validations of the first run; {} where its folder is gone.
        """
        if self.options["prune"] == "wilcoxon":
            ended = [known for p in planned if (known := p.run.known).get("status") in ENDED]
            values = dict(enumerate((self.values_of(known)[0] for known in ended), 1))
        else:
            judges = planned and self.options["prune"] != "none"
            values = {s: v for s, v in self.curve_of(planned[0]).items() if s <= steps} if judges else {}
        return {step: value for step, value in values.items() if math.isfinite(value)}

    def curve_of(self, planned: Planned) -> dict[int, float]:
        """{step: monitored metric} from a run's metrics.csv; {} where there is none."""
        with suppress(UserError, KeyError, OSError):
            metrics = planned.run.metrics
            steps, values = metrics[as_logged(self.config["monitor"], metrics)]
            return {int(s): float(v) for s, v in zip(steps, values, strict=True)}
        return {}

    def _others(self, known: set[str]) -> Iterator[tuple[Run, Params, list[float]]]:
        """(run, params, values) of the finished runs in the folder that lie in the space and are not `known` trials."""
        for run in runs(self.journal.parent, silently) if self.journal.parent.is_dir() else ():
            values = self.values_of(run.known)
            if run.folder.name in known or run.known.get("status") not in ENDED:
                continue
            if all(map(math.isfinite, values)) and (there := self._params_of(run)) is not None:
                yield run, there, values

    def _params_of(self, run: Run) -> Params | None:
        """The parameters of a run in the space; None for a run outside it."""
        with suppress(UserError, KeyError, TypeError):
            given = {a.partition("=")[0]: a for a in run.overrides if not a.startswith("paths.")}
            free = {"seed", *(d.key for d in self.space.dimensions)}
            own = {key: text for key, text in given.items() if key not in free}
            fixed = {key: text for key, text in self.space.asked.items() if key != "seed"}
            return self._params(given) if own == fixed else None
        return None

    def _params(self, given: Mapping[str, object]) -> Params | None:
        """The values of all dimensions, from those of the journal or from KEY=VALUE; None where one is outside."""
        found: Params = {}
        for dimension in self.space.dimensions:
            if (value := fitted(dimension, given.get(dimension.key))) is None:
                return None
            found[dimension.key] = value
        return found

    def close(self) -> None:
        """Writes the importance of each key to the journal, and the study as Optuna's journal, for its dashboard. Where
        the disk takes neither, a line says so: the search itself is over.
        """
        try:
            self._write_importance()
            self._export()
        except OSError as error:
            warn(f"{self.journal.with_name(STUDY)}: cannot be written: {error.strerror or error}")
        except UserError as error:
            warn(str(error))

    def _write_importance(self) -> None:
        import optuna

        complete = self.optuna.get_trials(deepcopy=False, states=(samplers.state("complete"),))
        if len({trial.values[0] for trial in complete}) >= ENOUGH and len(self.distributions) > 1:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            # `target` is needed with several objectives only; with one Optuna warns about it
            first = (lambda trial: self.sign * trial.values[0]) if len(self.objectives) > 1 else None
            with suppress(ValueError, RuntimeError), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                found = optuna.importance.get_param_importances(
                    self.optuna, evaluator=evaluator, target=first
                )
                shares = {key: round(float(value), 4) for key, value in found.items()}
                append(self.journal, {"space": self.id, "at": round(time.time(), 3), "importance": shares})

    def _export(self) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        # in a folder of its own: Optuna would wait for the lock that a killed process has left beside the file
        with tempfile.TemporaryDirectory(prefix=".study-", dir=self.journal.parent) as folder:
            path = Path(folder).absolute() / STUDY
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
            exported = optuna.create_study(
                study_name=self.config["name"], storage=storage, directions=self.optuna.directions
            )
            if len(self.objectives) > 1:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    exported.set_metric_names(self.objectives)
            exported.add_trials(self.optuna.get_trials(deepcopy=False))
            path.replace(self.journal.with_name(STUDY))


def config_of(run: Run | Planned) -> Callable[[], RunConfig]:
    """A function that gives the config of a run, which takes time to read."""
    return lambda: run.config


def fitted(dimension: Dimension, value: object) -> str | float | None:
    """A value of the journal, or KEY=VALUE, as a value of the dimension's distribution; None where it is outside."""
    if dimension.choices:
        return value if value in [a.text for a in dimension.choices] else None
    try:
        number = float(str(value).rpartition("=")[2])
    except ValueError:
        return None
    step = dimension.step or (1 if dimension.whole else None)
    steps = (number - dimension.low) / step if step else 0.0
    if not dimension.low <= number <= dimension.high or abs(steps - round(steps)) > 1e-8:
        return None
    return int(number) if dimension.whole else number


def rung_score(trials: Sequence[Trial], rung: float, sign: float) -> list[Trial]:
    """Trials, best first. Each is scored by its best validation up to the first one at or after the rung."""

    def score(trial: Trial) -> tuple[float, int]:
        first = min((s for s in trial.curve if s >= rung), default=math.inf)
        known = [sign * v for s, v in trial.curve.items() if s <= first and not math.isnan(v)]
        return min(known, default=math.inf), trial.number

    return sorted(trials, key=score)
