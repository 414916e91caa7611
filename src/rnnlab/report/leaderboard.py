"""The leaderboard: runs in the order of their scores; runs that differ only in their seed form one row.

Rows that were scored on different targets are ranked separately, in groups.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.errors import warn
from rnnlab.report import comparability
from rnnlab.report.comparability import IN_DATA_UNITS
from rnnlab.report.entry import Entry
from rnnlab.report.ranking import ranked, several_targets
from rnnlab.report.row import Row, over_origins, tell_apart
from rnnlab.runs.config_diff import config_diffs
from rnnlab.runs.record import ENDED
from rnnlab.runs.run import Run, Say, legible, runs, silently
from rnnlab.runs.sources import foreign_targets


@dataclass
class Leaderboard:
    """`rows` are ordered by group, the best first. `references` are (name, {"val/mse": ...}) of baselines and floor,
    where these are equal for all rows; else `Row.beside` gives them for each row.
    """

    metric: str
    mode: str
    rows: list[Row]
    references: list[tuple[str, dict[str, float]]]
    others: list[Entry]  # runs without a result: failed, stopped, skipped, under way
    notes: list[str] = field(default_factory=list)  # remarks for the reader
    config_of: Callable[[Entry], Mapping[str, Any]] = lambda entry: {}

    @cached_property
    def without_result(self) -> list[Row]:
        """The configurations without any result, with labels like the rows'; damaged ones are labelled by folder."""
        in_rows = {entry.folder for row in self.rows for entry in row.lacking}
        found = _by_group(entry for entry in self.others if entry.folder not in in_rows)
        for row in found:
            for _, config in legible(row.entries[:1], self.config_of, silently):
                row.config = config
        sound = [row for row in found if row.config]
        both = [*self.rows, *sound]
        named = [Row(row.entries, parameters) for row, parameters
                 in zip(both, config_diffs([row.config for row in both]), strict=True)]  # fmt: skip
        _drop_what_follows(named)
        tell_apart(named)
        for row, one in zip(sound, named[len(self.rows) :], strict=True):
            row.parameters, row.apart = one.parameters, one.apart
        return found

    @cached_property
    def labels(self) -> dict[Path, str]:
        """{folder of a run: label of its row}."""
        every = [*self.rows, *self.without_result]
        return {entry.folder: row.label for row in every for entry in (*row.entries, *row.lacking)}

    @property
    def groups(self) -> int:
        """The number of groups of rows with the same targets."""
        return len({row.group for row in self.rows})

    @property
    def own_references(self) -> bool:
        """Whether baselines or floor differ between rows."""
        return not self.references and any(row.references for row in self.rows)

    @cached_property
    def compares(self) -> bool:
        """Whether there is a metric by which all rows can be ranked; else a row's score is what its runs monitored."""
        return all(row.metric for row in self.rows)

    @cached_property
    def head(self) -> str:
        """The title of the score column."""
        monitored = {entry.monitor for row in self.rows for entry in row.entries}
        return (
            f"best {self.metric}" if self.compares or monitored == {self.metric} else "best monitored score"
        )

    def value(self, entry: Entry) -> float:
        """The score by which a run is ranked."""
        return entry.at_best(self.metric) if self.compares else entry.value

    def rank_entries(self, entries: Sequence[Entry]) -> list[Entry]:
        sign = 1 if self.mode == "min" else -1
        values = [(sign * self.value(entry), entry) for entry in entries]
        return [
            entry for _, entry in sorted(values, key=lambda one: one[0] if np.isfinite(one[0]) else np.inf)
        ]

    @property
    def primary(self) -> str:
        """The metric in the data's units that the board's metric is, up to a factor; "" where that is not known."""
        names = {column.partition("/")[2] for column in self.columns()}
        own = self.metric.removeprefix("metric/")
        return next((n for n in (own, *IN_DATA_UNITS) if n in names), "")

    def columns(self) -> list[str]:
        names: dict[str, None] = {}
        for scores in [r.scores() for r in self.rows] + [s for _, s in self.references]:
            names |= dict.fromkeys(scores)
        return sorted(names, key=lambda n: (not n.startswith("val/"), not n.startswith("test/"), n))

    def beside(self) -> dict[str, list[tuple[str, float] | None]]:
        """{column: a value for each row} from `Row.beside`; {} where all rows share baselines and floor."""
        if not self.own_references:
            return {}
        metric = f"val/{self.primary}"  # read once: it searches all rows
        found = [row.beside(metric) for row in self.rows]
        keys = [
            k for k in ("floor", "over floor", "best baseline", "ratio") if any(k in one for one in found)
        ]
        return {key: [one.get(key) for one in found] for key in keys}

    def records(self) -> list[dict[str, Any]]:
        """The table as dictionaries of plain values, for files."""
        found: list[dict[str, Any]] = []
        score, several = self.head.removeprefix("best "), self.groups > 1
        for row in self.rows:
            low, high = row.interval
            spread = {"std": row.std, "low": low, "high": high, "steps_per_s": row.speed}
            about: dict[str, Any] = {"rank": row.rank, "what": row.label, "runs": len(row.entries)}
            about |= {"data_group": row.group + 1} if several else {}
            own = {f"{name} {k}": v for name, s in row.references.items() for k, v in s.items()}
            found.append(
                about | {score: row.mean} | spread | row.scores() | (own if self.own_references else {})
            )
        return found + [{"rank": None, "what": name} | scores for name, scores in self.references]


def leaderboard(
    entries: Iterable[Entry],
    mode: str,
    config_of: Callable[[Entry], Mapping[str, Any]],
    say: Say = warn,
    folders_apart: bool = False,
) -> Leaderboard:
    """Makes a leaderboard. `mode` is "min" or "max", or "" to use the configs'; `config_of` gives the config of a run.

    The config of one run of each row is read. A run with a damaged config is reported and left out. A run that exists
    in several folders counts once; with `folders_apart` once in each experiment's folder.
    """
    entries, copies = without_copies(entries, folders_apart)
    others = [e for e in entries if e.record.get("status") not in ENDED or not np.isfinite(e.value)]
    without = {entry.folder for entry in others}
    groups = _by_group(entry for entry in entries if entry.folder not in without)
    lacking: dict[str, list[Entry]] = defaultdict(list)
    for entry in others:
        lacking[entry.group].append(entry)
    found = []
    for row in groups:
        sound = next(legible(row.entries, config_of, say), None)
        if sound is not None:
            row.entries = row.entries[row.entries.index(sound[0]) :]
            row.config, row.lacking = sound[1], lacking[row.entries[0].group]
            found.append(row)
    # settings in which only runs without a result differ are named, too: they tell what the best one is
    shown = {row.entries[0].group for row in found}
    unshown = [of_group[0] for group, of_group in lacking.items() if group not in shown]
    configs = [row.config for row in found] + [config for _, config in legible(unshown, config_of, silently)]
    for row, parameters in zip(found, config_diffs(configs), strict=False):
        row.parameters = parameters
    found = over_origins(found)
    _drop_what_follows(found)
    for row in found:
        row.sized = any("model.cell" in one.parameters for one in found)
    tell_apart(found)
    metric, mode, notes = ranked(found, mode or (found[0].config.get("mode", "min") if found else "min"))
    notes += copies + _mixed(found) + _of_other_code(found)
    if len({row.group for row in found}) > 1:
        notes.append(several_targets(found))
    if any(row.origins for row in found):
        notes.append(
            "Each row is the mean over its origins (data.origin), each the mean over its seeds; std and interval are "
            "over the origins."
        )
    if any(row.references and comparability.limits(row.config) for row in found):
        notes.append("Scores of runs with trainer.limit_val_batches and the like are on those batches only; baselines "
                     "and floor are on whole parts.")  # fmt: skip
    seeds: dict[int, set[frozenset[str]]] = defaultdict(set)
    for row in found:
        seeds[row.group].add(frozenset(row.by_draw))
    if any(len(of_rows) > 1 for of_rows in seeds.values()):
        notes.append("Not all rows have the same seeds; rnnlab compare pairs those that two have in common.")
    board = Leaderboard(metric, mode, found, references(found), others, notes, config_of)
    if board.own_references and board.primary:
        what = "Floor and best baseline are" if "floor" in board.beside() else "The best baseline is"
        notes.append(f"{what} of val/{board.primary}, each row's own.")
    return board


def _mixed(rows: Sequence[Row]) -> list[str]:
    """Lines about rows whose runs have read files with other contents, so that they were scored on other targets."""
    lines = []
    for row in rows:
        first, *others = row.by_seed.values()
        if all(comparability.alike(first, other) for other in others):
            continue
        digests: dict[str, set[str]] = defaultdict(set)
        for _, manifest in legible(row.entries, lambda entry: Run(entry.folder).manifest, silently):
            for key, digest in manifest.get("files", {}).items():
                digests[key].add(digest)
        if changed := [key for key, found in digests.items() if key.startswith("data.") and len(found) > 1]:
            lines.append(
                f"{row.label}: its runs have read different contents of {', '.join(changed)}, so their mean is of "
                "different data; sweep.stale=rerun trains the older ones again."
            )
    return lines


def _of_other_code(rows: Sequence[Row]) -> list[str]:
    """Lines about a user's own modules that have changed between the runs of the table."""
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))  # {module: {hash: labels}}
    for row in rows:
        if not foreign_targets(row.config):
            continue
        for _, manifest in legible(row.entries, lambda entry: Run(entry.folder).manifest, silently):
            code = manifest.get("sources", {}) | manifest.get("syntax", {}) | manifest.get("imports", {})
            for module in code.keys() - {"rnnlab", "torch"}:
                seen[module][code[module]].add(row.label)
    lines = []
    for module, by_hash in sorted(seen.items()):
        if len(by_hash) > 1:
            versions = Counter(label for labels in by_hash.values() for label in labels)
            mixed = [label for label, n in versions.items() if n > 1]
            what = "their mean is of both" if mixed else "their scores may differ for this reason alone"
            where = f"{', '.join(sorted(mixed))}: its" if mixed else "These"
            lines.append(
                f"{where} runs were trained before and after {module} changed, so {what}; sweep.stale=rerun trains the "
                "older ones again."
            )
    return lines


def without_copies(entries: Iterable[Entry], folders_apart: bool = False) -> tuple[list[Entry], list[str]]:
    """One entry for each run, and lines about the copies that are left out, because a copy is not another seed. A copy
    that has ended is preferred, then one whose folder has its original name.
    """
    kept: dict[Any, Entry] = {}
    left: dict[Any, list[str]] = defaultdict(list)
    for entry in entries:
        identifier = entry.record.get("id")
        place = entry.folder.parent if folders_apart else None
        at = (identifier, entry.group, place) if identifier else entry.folder
        if (other := kept.setdefault(at, entry)) is not entry:
            kept[at], copy = (entry, other) if _sounder(entry, other) else (other, entry)
            left[at].append(copy.folder.name)
    return list(kept.values()), [
        f"{', '.join(names)}: the same run as {kept[at].folder.name}, which counts once."
        for at, names in left.items()
    ]


def _sounder(one: Entry, other: Entry) -> bool:
    order = [(e.record.get("status") in ENDED, e.is_named_by_training) for e in (one, other)]
    return order[0] > order[1]


def _by_group(entries: Iterable[Entry]) -> list[Row]:
    rows: dict[str, Row] = {}
    for entry in entries:
        rows.setdefault(entry.group, Row()).entries.append(entry)
    return list(rows.values())


def _drop_what_follows(rows: Sequence[Row]) -> None:
    """Removes parameters that differ only as defaults of different classes, such as weight_decay of AdamW and Adam."""
    keys = {key for row in rows for key in row.parameters}
    below = {key for key in keys if key.rpartition(".")[0] in keys}
    if below:
        asked_by = [Run(row.entries[0].folder) for row in rows]
        lines = [
            o for _, overrides in legible(asked_by, lambda run: run.overrides, silently) for o in overrides
        ]
        asked = {line.lstrip("+~").partition("=")[0] for line in lines}
        for row in rows:
            row.parameters = {k: v for k, v in row.parameters.items() if k not in below or k in asked}


def references(rows: Sequence[Row]) -> list[tuple[str, dict[str, float]]]:
    """Baselines and floor, each the mean over all runs, or over origins; [] where they differ between rows, for example
    by seeds.
    """
    if not rows:
        return []
    by_seed, own = rows[0].by_seed, rows[0].references
    if not all(
        comparability.same_references(by_seed, row.by_seed) and comparability.alike(own, row.references)
        for row in rows
    ):
        return []
    if len({row.group for row in rows}) > 1:
        return []
    origins = {folder: origin for row in rows for folder, origin in row.origins.items()}
    together = Row([entry for row in rows for entry in row.entries], origins=origins)
    return list(together.references.items())


def of_experiment(folder: str | Path) -> Leaderboard:
    """The leaderboard of all runs in an experiment's folder; damaged runs are left out, with a warning."""
    return of_runs(runs(folder))


def of_runs(found: Sequence[Run], say: Say = warn, folders_apart: bool = False) -> Leaderboard:
    entries = [Entry(run.folder, record) for run, record in legible(found, lambda run: run.record, say)]
    return leaderboard(entries, "", lambda entry: Run(entry.folder).config, say, folders_apart)
