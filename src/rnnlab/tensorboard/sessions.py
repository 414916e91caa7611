"""The data of TensorBoard's HParams tab for the runs below a folder, from each run.json and not from event files.

An event file holds only what was known when the run wrote it (its overrides, and perhaps its end), and TensorBoard
keeps the first status that it finds. run.json, configs and locks tell which runs are in training, which keys differ
between the runs, and which configuration is the best.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from rnnlab.errors import UserError
from rnnlab.report.entry import Entry
from rnnlab.report.leaderboard import leaderboard
from rnnlab.report.row import ORIGIN, Row
from rnnlab.runs.config_diff import config_diffs
from rnnlab.runs.identity import leaves
from rnnlab.runs.lock import is_locked
from rnnlab.runs.metrics import DERIVED
from rnnlab.runs.record import ENDED, Record
from rnnlab.runs.run import Run, silently, since_1970
from rnnlab.tensorboard.columns import ASIDE, outcome, parameters
from rnnlab.tensorboard.places import Place, standing
from rnnlab.tensorboard.summaries import END, EXPERIMENT, START, STATUS, end_content, start_content, word

Contents = dict[str, dict[str, bytes]]  # {TensorBoard's name of a run: {tag: content}}
DEPTHS = ("run.json", "*/run.json", "*/*/run.json")  # a run, an experiment, all experiments
RUNS = "runs "  # prefix of the columns with the number of a configuration's runs of each status
FRESH_S = 2.0  # seconds in which the folder is not read again


class Member(NamedTuple):
    name: str  # in TensorBoard
    run: Run
    record: Record  # run.json
    status: str  # at present: "running" only if a process holds the lock


@dataclass
class Group:
    experiment: str
    key: str
    members: list[Member] = field(default_factory=list)

    @property
    def finished(self) -> list[Member]:
        return [member for member in self.members if member.status in ENDED]

    def counts(self, statuses: Iterable[str]) -> dict[str, int]:
        """{column: number of its runs} for each of `statuses`; numbers, because text would get a text axis."""
        found = Counter(member.status for member in self.members)
        return {f"{RUNS}{status}": found[status] for status in statuses}


class Standing(NamedTuple):
    """A configuration, its values of the keys that differ, and its place on the leaderboard (None without a result)."""

    group: Group
    values: dict[str, Any]
    place: Place | None


class Known(NamedTuple):
    """The content of a run.json that was read before."""

    stamp: int
    record: Record


class Sessions:
    """The content of HParams' tags for each run below `folder`; {} where there is no run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, Known] = {}
        self._configs: dict[str, Mapping[str, Any]] = {}  # {group: config of one of its runs}
        self._contents: tuple[float, Contents] = (float("-inf"), {})
        self._seen: tuple[Any, list[Standing], Contents | None] = (None, [], None)

    def contents(self) -> Contents:
        if time.monotonic() > self._contents[0] + FRESH_S:
            self._contents = (time.monotonic(), self._look())
        return self._contents[1]

    def data(self) -> dict[str, str]:
        """{run: a text that is equal for runs with the same data, apart from the seed}."""
        found: dict[str, str] = {}
        for group in self._groups():
            data = {k: v for k, v in self._config(group).get("data", {}).items() if k != "seed"}
            found |= {m.name: f"{group.experiment} {json.dumps(data, default=str)}" for m in group.members}
        return found

    def _look(self) -> Contents:
        standings = self._standings()
        if self._seen[2] is not None:
            return self._seen[2]
        if not standings:
            return {}
        groups, columns = [one.group for one in standings], [one.values for one in standings]
        kinds: dict[str, set[type]] = {}
        for values in columns:
            for key, value in values.items():
                kinds.setdefault(key, set()).add(kind(value))
        found: Contents = {}
        several = len({group.experiment for group in groups}) > 1
        statuses = sorted({m.status for group in groups for m in group.members} | {"finished"},
                          key=lambda s: (s != "finished", s))  # fmt: skip
        shown = [v | group.counts(statuses) for group, v in zip(groups, columns, strict=True)]
        for i, (group, values) in enumerate(zip(groups, shown, strict=True)):
            nowhere = sum(one.place is None for one in standings[:i])
            title = str(standings[i].place or f"no result {nowhere + 1}")  # short: its column is narrow
            if several:
                title = f"{group.experiment} {title}"
            # a column with values of several types becomes text
            told = {k: word(v) if len(kinds.get(k, ())) > 1 else v for k, v in values.items()}
            for name, run, record, status in group.members:
                began = since_1970(record.get("started") or record.get("created"))
                found[name] = {START: start_content(told, title, run.folder.absolute().as_uri(), began)}
                if status in STATUS:
                    found[name][END] = end_content(status, since_1970(record.get("ended")))
        next(iter(found.values()))[EXPERIMENT] = experiment(shown, groups)
        self._seen = (*self._seen[:2], found)
        return found

    def in_order(self) -> list[Group]:
        """All groups: first those in training, then the best first, at the end those without a result."""

        def order(one: Standing) -> tuple[Any, ...]:
            running = any(member.status == "running" for member in one.group.members)
            return not running, one.place is None, one.place.order if one.place else ()

        return [one.group for one in sorted(self._standings(), key=order)]

    def _groups(self) -> list[Group]:
        groups: dict[str, Group] = {}
        for pattern in DEPTHS:
            for path in sorted(self.folder.glob(pattern)):
                record = self._record(path)
                status = _status(path.parent, record.get("status"))
                if record and status != "skipped":
                    name = path.parent.relative_to(self.folder).as_posix()
                    family, group = str(record.get("experiment")), record.get("group") or name
                    at = f"{family}/{group}"
                    member = Member(name, Run(path.parent), record, status)
                    groups.setdefault(at, Group(family, at)).members.append(member)
            if groups:
                break
        return list(groups.values())

    def _record(self, path: Path) -> Record:
        try:
            stamp = path.stat().st_mtime_ns
            if path not in self._known or self._known[path].stamp != stamp:
                self._known[path] = Known(stamp, Run(path.parent).record)
            return self._known[path].record
        except (OSError, UserError):  # removed, or not a run
            return {}

    def _config(self, group: Group) -> Mapping[str, Any]:
        for member in group.members:
            if group.key in self._configs:
                break
            # damaged: another run's is the same but for the seed
            with suppress(OSError, ValueError, UserError):
                self._configs[group.key] = member.run.config
        return self._configs.get(group.key, {})

    def _columns(self, groups: list[Group]) -> list[dict[str, Any]]:
        """For each group its values of the keys that differ between the groups of an experiment.

        For a single group, its overrides.
        """
        by_experiment: dict[str, list[int]] = {}
        for i, group in enumerate(groups):
            if self._config(group):  # skips damaged ones, which would differ in every key
                by_experiment.setdefault(group.experiment, []).append(i)
        found: list[dict[str, Any]] = [{} for _ in groups]
        for places in by_experiment.values():
            configs = [_without(self._config(groups[i])) for i in places]
            for i, values in zip(places, config_diffs(configs), strict=True):
                found[i] = values
        keys = {key for values in found for key in values}
        if not keys:
            return [_asked(self._config(group), group.members[0].run) for group in groups]
        for group, values in zip(groups, found, strict=True):
            flat = leaves(self._config(group))
            values |= {key: flat[key] for key in keys - values.keys() if key in flat}
        return found

    def _standings(self) -> list[Standing]:
        """All configurations; those that differ only in the origin of a backtest are one, as on the leaderboard.

        Computed again only when a run.json or a status has changed.
        """
        groups = self._groups()
        state = [
            (m.name, m.status, self._known[m.run.folder / "run.json"].stamp)
            for g in groups
            for m in g.members
        ]
        if state == self._seen[0]:
            return self._seen[1]
        columns = self._columns(groups)
        found: list[Standing] = []
        for experiment in dict.fromkeys(group.experiment for group in groups):
            at = [i for i, group in enumerate(groups) if group.experiment == experiment]
            rows, places = self._ranked([groups[i] for i in at])
            of_row: dict[int, Group] = {}
            for group, values in ((groups[i], columns[i]) for i in at):
                row = next((rows[m.run.folder] for m in group.members if m.run.folder in rows), None)
                if row is not None and id(row) in of_row:
                    of_row[id(row)].members += group.members
                    continue
                if row is not None and row.origins:
                    of_row[id(row)] = group
                    values = {key: value for key, value in values.items() if key != ORIGIN}
                found.append(Standing(group, values, None if row is None else places[row]))
        self._seen = state, found, None
        return found

    def _ranked(self, groups: list[Group]) -> tuple[dict[Path, Row], dict[Row, Place]]:
        """The leaderboard of an experiment: ({folder of a run: its row}, {row: its place})."""
        of = {member.run.folder: group for group in groups for member in group.members}
        sound = [group for group in groups if self._config(group)]  # damaged ones have no row
        entries = [Entry(m.run.folder, m.record | {"group": g.key}) for g in sound for m in g.members]
        board = leaderboard(entries, "", lambda entry: self._config(of[entry.folder]), silently)
        rows = {entry.folder: row for row in board.rows for entry in row.entries}
        return rows, dict(zip(board.rows, standing(board.rows), strict=True))


def _status(folder: Path, status: str | None) -> str:
    if status in ("queued", "running"):
        return "running" if is_locked(folder) else "stopped"
    return status or "stopped"


def _without(config: Mapping[str, Any]) -> dict[str, Any]:
    # with the seed: `config_diffs` leaves out what equals it
    return {k: v for k, v in config.items() if k not in ASIDE or k == "seed"}


def _asked(config: Mapping[str, Any], run: Run) -> dict[str, Any]:
    try:
        return parameters(config, run.overrides)
    except (OSError, UserError):
        return {}


def experiment(columns: Sequence[dict[str, Any]], groups: Iterable[Group]) -> bytes:
    """HParams' Experiment: one column of one type for each key, and the metrics in a useful order."""
    found = api_pb2.Experiment()
    for key in sorted({key for values in columns for key in values}):
        values = [c[key] for c in columns if key in c]
        info = found.hparam_infos.add(name=key, differs=len(set(map(str, values))) > 1)
        types = {kind(value) for value in values}
        if types == {float}:
            info.type = api_pb2.DATA_TYPE_FLOAT64
            info.domain_interval.min_value, info.domain_interval.max_value = min(values), max(values)
        else:
            info.type = api_pb2.DATA_TYPE_BOOL if types == {bool} else api_pb2.DATA_TYPE_STRING
            possible = values if types == {bool} else map(word, values)
            info.domain_discrete.extend(sorted(set(possible)))
    for tag in metrics(groups):
        found.metric_infos.add(name=api_pb2.MetricName(tag=tag))
    return HParamsPluginData(experiment=found).SerializeToString()


def metrics(groups: Iterable[Group]) -> list[str]:
    """The metrics in order. The tab shows the first five: best and last of the monitored metric, excess, size, time."""
    tags: dict[str, None] = {}
    watched = "loss"
    for group in groups:
        for member in group.finished:
            results = member.record.get("results", {})
            tags |= dict.fromkeys(outcome(results))
            watched = results.get("best", {}).get("monitor", "loss/val").removeprefix("metric/")
    watched = "loss" if watched == "loss/val" else watched
    excess = sorted(t for t in tags if t.startswith("excess/") and not t.startswith("excess/test"))
    first = [t for t in (f"best/{watched}", f"last/{watched}", *excess[:1]) if t in tags]
    first += ["run/parameters", "run/seconds"]
    order = ("best", "excess", "test", "last")
    rest = sorted(tags, key=lambda t: (order.index(t.split("/")[0]), t.split("/")[1] in DERIVED))
    return list(dict.fromkeys([*first, *rest]))


def kind(value: Any) -> type:
    return bool if isinstance(value, bool) else float if isinstance(value, (int, float)) else str
