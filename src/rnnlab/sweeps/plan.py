"""The plan of a sweep: its runs, and the points that are left out. `rnnlab.sweeps.planner.Planner` makes it."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rnnlab.config.run_config import RunConfig
from rnnlab.errors import UserError, counted
from rnnlab.runs.identity import leaves
from rnnlab.runs.record import ENDED, Record
from rnnlab.runs.run import Run
from rnnlab.runs.run_path import Place
from rnnlab.runs.sources import KNOWN, Today, why_stale
from rnnlab.sweeps.grid import Point
from rnnlab.sweeps.interning import Interner
from rnnlab.sweeps.rehearsal import Answer, Question, Questions
from rnnlab.sweeps.template import Template

SHOWN_REASONS = 30  # the most reasons that are shown for invalid points


@dataclass(slots=True)
class Planned:
    """A point that gives a run. There may be 100,000 of them, so they share what they can."""

    point: Point
    template: Template = field(repr=False)
    place: Place
    accelerator: str
    cost: float  # guessed seconds
    own: tuple[dict[str, Any], ...] = field(repr=False)  # sections that differ from the template's config
    why_skipped: str = ""
    status: str = ""  # of the run in its folder; "" if there is no run yet
    stale: tuple[str, ...] = ()  # why the finished run may not give the same numbers today
    again: bool = False  # the run is finished and is trained again (rerun=true)
    batches: int | None = None  # of an epoch, once `check_runs` has read the data

    @property
    def run(self) -> Run:
        return Run(self.place.folder)

    @property
    def overrides(self) -> list[str]:
        """The overrides that give the same run outside a sweep."""
        return [a.text for a in self.point]

    @property
    def config(self) -> RunConfig:
        """The checked config, equal to a single run's. Do not change its sections: other runs share them."""
        config = self.template.values.copy()
        for values in self.own:
            config.update(values)
        return cast(RunConfig, config)


@dataclass
class Plan:
    """The runs of a sweep, in the order of its points, and the points that give no run."""

    runs: list[Planned] = field(default_factory=list)
    invalid: list[tuple[Point, list[str]]] = field(default_factory=list)  # with the reasons
    excluded: int = 0
    repeated: int = 0  # points that give the same run as an earlier point
    # {overrides of a repeated point: the run's id}
    same: dict[tuple[str, ...], str] = field(default_factory=dict)
    swept: list[str] = field(default_factory=list)  # keys with several values
    # {folder of a finished run: its run.json}
    records: dict[Path, Record] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)  # messages about damaged run.json files
    notes: Counter[str] = field(default_factory=Counter)  # {warning: number of runs that would give it}
    measured: set[str] = field(default_factory=set)  # metrics of the validations, as far as known
    unmatched: list[str] = field(default_factory=list)  # conditions of sweep.exclude that match no point

    def due(self, rerun_stale: bool) -> list[Planned]:
        """The runs to train, longest first."""
        due = [
            r
            for r in self.runs
            if not r.why_skipped and (r.status not in ENDED or r.again or (r.stale and rerun_stale))
        ]
        return sorted(due, key=lambda r: -r.cost)

    def name(self, planned: Planned) -> str:
        """The values of the swept keys; each key is as short as possible without being ambiguous."""
        last = [key if key.endswith(".seed") else key.rpartition(".")[2] for key in self.swept]
        short = {k: s if last.count(s) == 1 else k for k, s in zip(self.swept, last, strict=True)}
        values = {a.key: a.text.partition("=")[2] for a in planned.point if a.key in short}
        return " ".join(f"{short[key].lstrip('+')}={value}" for key, value in values.items())

    def ineffective(self) -> list[str]:
        """The swept choices, as KEY=VALUE, that give no run of their own: each of their points gives the same run as an
        earlier point.
        """
        texts = dict.fromkeys(text for repeated in self.same for text in repeated)
        effective = {a.text for planned in self.runs for a in planned.point} if texts else set()
        effective |= {a.text for point, _ in self.invalid for a in point} if texts else set()
        return [text for text in texts if text not in effective]

    def counts(self) -> Counter[str]:
        """The number of runs of each status."""
        return Counter(r.status for r in self.runs)

    def check_classes(self, import_errors: Callable[[list[tuple[str, str]]], dict[str, str]]) -> None:
        """Makes points invalid that name a user-defined class that cannot be imported.

        `import_errors` maps [(path in the config, class)] to {class: error}, see `rnnlab.sweeps.probe`.
        """
        known: dict[tuple[object, ...], dict[str, str]] = {}
        classes = [_own_classes(planned, known) for planned in self.runs]
        errors = import_errors(list(dict.fromkeys(one for named in known.values() for one in named.items())))
        if not errors:
            return
        runs, self.runs = self.runs, []
        for planned, named in zip(runs, classes, strict=True):
            if problems := [errors[name] for name in named.values() if name in errors]:
                self.invalid.append((planned.point, problems))
            else:
                self.runs.append(planned)

    def check_runs(
        self,
        due: list[Planned],
        answers: Callable[[list[Question]], list[Answer]],
        unusable: Callable[[RunConfig, bool], Iterable[str]] = lambda config, scored: (),
    ) -> None:
        """Makes those of the `due` points invalid that would be refused before the training; collects their warnings in
        `notes`. Runs that cannot be refused for different reasons share one question; see `rnnlab.sweeps.rehearsal`.

        `unusable(config, scored)` gives reasons why another sweeper could not use the run; `scored`: it gets a score.
        """
        questions = Questions()
        asked = [(planned, questions.number(planned.config)) for planned in due]
        found, wrong = answers(questions.asked), dict[int, list[str]]()
        for planned, number in asked:
            answer = found[number]
            planned.batches = answer.batches
            if lines := [*answer.lines] or [*unusable(planned.config, answer.scored)]:
                wrong[id(planned)] = lines
            else:
                self.notes.update(answer.notes)
                self.measured.update(answer.measured)
        self.invalid += [(p.point, wrong[id(p)]) for p in self.runs if id(p) in wrong]
        self.runs = [p for p in self.runs if id(p) not in wrong]

    def report_invalid(self, on_invalid: str) -> list[str]:
        """Lines about the invalid points, one block per reason; [] if there are none.

        Raises UserError with these lines, unless `on_invalid` is "skip" and some points are valid.
        """
        if not self.invalid:
            if not self.runs:
                raise UserError("the sweep has no points; sweep.exclude leaves none")
            return []
        reasons: dict[str, list[Point]] = {}
        for point, problems in self.invalid:
            for problem in problems:
                reasons.setdefault(problem, []).append(point)
        lines = []
        for reason, points in itertools.islice(reasons.items(), SHOWN_REASONS):
            lines.append(reason)
            texts = [" ".join(a.text for a in p if a.key in self.swept) for p in points[:3]]
            where = "; ".join(t for t in texts if t)
            more = f"; and {len(points) - 3:,} more" if len(points) > 3 else ""
            lines += [f"    at {where}{more}"] if where else []
        more_reasons = len(reasons) - SHOWN_REASONS
        lines += [f"and {counted(more_reasons, 'other reason')}"] if more_reasons > 0 else []
        total = len(self.invalid) + len(self.runs) + self.excluded + self.repeated
        head = f"{len(self.invalid):,} of {counted(total, 'point')} {'is' if len(self.invalid) == 1 else 'are'} invalid"
        if on_invalid == "skip" and self.runs:
            return [f"{head} and left out:", *(f"  {line}" for line in lines)]
        hint = " sweep.on_invalid=skip leaves them out." if self.runs else ""
        raise UserError(f"{head}:", *lines, f"Nothing was started.{hint}")

    def read_statuses(self) -> None:
        """Reads the status of each run from its folder, and why a finished run is stale."""
        folders: dict[Path, dict[str, str]] = {}  # {experiment: {name of a run's folder: the run's id}}
        by_id: dict[Path, dict[str, str]] = {}
        today, interner = Today(), Interner()
        for planned in self.runs:
            folder = planned.place.folder
            experiment, name = folder.parent, folder.name
            if experiment not in folders:
                try:
                    folders[experiment] = {e.name: e.name.rpartition("-")[2] for e in os.scandir(experiment)}
                except OSError:
                    folders[experiment] = {}
                by_id[experiment] = {identifier: name for name, identifier in folders[experiment].items()}
            if name not in folders[experiment]:
                if planned.place.id not in by_id[experiment]:
                    continue
                # an earlier version gave the folder another name
                planned.place = planned.place._replace(
                    folder=experiment / by_id[experiment][planned.place.id]
                )
            run = planned.run
            try:
                planned.status = run.status or ""
            except UserError as error:
                planned.status = "stopped"  # it resumes if its checkpoint is whole
                self.damaged.append(str(error))
            if planned.status in ENDED:
                config = planned.config
                planned.again = bool(config["rerun"])
                planned.stale = tuple(why_stale(run, config, today))
                self.records[planned.place.folder] = interner.record(run.record)


def _own_classes(planned: Planned, known: dict[tuple[object, ...], dict[str, str]]) -> dict[str, str]:
    """{path in the config: class} of user-defined classes: those outside rnnlab, torch and Lightning."""
    cells = [a.text for a in planned.point if a.plain and a.key.endswith(".cell")]
    key = (id(planned.template), *cells)
    if key not in known:
        named = {k: v for k, v in leaves(planned.config).items() if k.endswith(("._target_", ".cell"))}
        known[key] = {k: v for k, v in named.items() if "." in str(v) and not v.startswith(KNOWN)}
    return known[key]
