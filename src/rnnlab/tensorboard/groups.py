"""Writes an experiment for TensorBoard with one run for each configuration, averaged over its seeds."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rnnlab.errors import counted
from rnnlab.report.leaderboard import Leaderboard, of_experiment
from rnnlab.report.row import Row
from rnnlab.runs.metrics import Scalars, shared
from rnnlab.runs.run import Run, legible
from rnnlab.tensorboard import events, summaries
from rnnlab.tensorboard.places import Place, standing

Curves = dict[str, tuple[np.ndarray, np.ndarray]]  # {tag: (steps (n,), values (runs, n))}


def write_groups(experiment: Path, into: Path, room: int | None = None) -> tuple[int, int]:
    """Writes a TensorBoard run for each configuration of an experiment, the best first (with several data sets or
    targets the best of each first), and for each baseline; in total at most `room`. Returns how many configurations
    were written, and how many there are.

    A scalar is the mean over the seeds at the steps that all of them have; its minimum and maximum are TAG.low and
    TAG.high, which the custom scalars draw as a band. HParams has one session per configuration.
    """
    board = of_experiment(experiment)
    bands = (board.metric, "loss/val", "metric/mse", "metric/nats", "metric/accuracy")
    lines = {name: at for name, scores in board.references if (at := _levels(scores, bands))}
    end = written = 0
    for place, row in sorted(
        zip(standing(board.rows), board.rows, strict=True), key=lambda one: one[0].order
    ):
        beside = row.references if board.own_references else {}
        named = {f"{name} at {place} {row.label}": _levels(scores, bands) for name, scores in beside.items()}
        own = {name: at for name, at in named.items() if at and at not in lines.values()}
        if room is not None and written and written + len(lines) + 1 + len(own) > room:
            break
        lines |= own
        n, origins = len(row.entries), len(set(row.origins.values()))
        runs = f"{counted(n, 'run')} at {counted(origins, 'origin')}" if origins else counted(n, "seed")
        folder = into / f"{place} {_safe(row.label)} ({runs})"
        folder.mkdir(parents=True)
        found = curves(row)
        shown = tuple(dict.fromkeys(tag for tag in bands if tag in found))
        content = [_opening(row, place, experiment), summaries.layout((), shown)]
        scalars = [*_scalars(found, shown), _outcome(row, board)]
        ending = events.record(summaries.session_end("finished"))
        _write(folder, [*map(events.record, content), *map(events.records, scalars), ending])
        written += 1
        end = max([end, *(step for batch in scalars for step in batch.steps)])
    for name, at in lines.items():
        folder = into / (_safe(name) if name.startswith("floor") else f"baseline {_safe(name)}")
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, [events.records(Scalars((0, end), {tag: (v, v) for tag, v in at.items()}))])
    return written, len(board.rows)


def _levels(scores: dict[str, float], bands: tuple[str, ...]) -> dict[str, float]:
    """{tag: value} of the horizontal lines of a baseline or the floor in the metrics' charts."""
    lines = {tag: scores[f"val/{tag.removeprefix('metric/')}"] for tag in dict.fromkeys(bands)
             if f"val/{tag.removeprefix('metric/')}" in scores}  # fmt: skip
    return lines | {f"{tag}.{edge}": value for tag, value in lines.items() for edge in ("low", "high")}


def curves(row: Row) -> Curves:
    """Every scalar of a configuration's runs, over the steps that all of them have."""
    series = [metrics for _, metrics in legible(row.entries, lambda entry: Run(entry.folder).metrics)]
    found: Curves = {}
    for tag in series[0] if series else ():
        if all(tag in one for one in series):
            found[tag] = shared([one[tag] for one in series])
    return found


def _scalars(found: Curves, banded: tuple[str, ...]) -> list[Scalars]:
    batches: list[Scalars] = []
    for tag, (steps, values) in found.items():
        drawn: dict[str, Callable[..., np.ndarray]] = {tag: np.mean}
        if tag in banded:
            drawn |= {f"{tag}.low": np.min, f"{tag}.high": np.max}
        for name, of in drawn.items():
            batches.append(Scalars(steps.tolist(), {name: of(values, axis=0).tolist()}))
    return batches


def _outcome(row: Row, board: Leaderboard) -> Scalars:
    name = board.metric.rpartition("/")[2] if board.metric != "loss/val" else "loss"
    values = row.values
    spread = {
        f"best/{name}": values.mean(),
        f"best/{name}_low": values.min(),
        f"best/{name}_high": values.max(),
    }
    scores = {f"best/{k.replace('/', '_')}": v for k, v in row.scores().items()}
    scores |= {f"best/{k.replace(' ', '_')}": v for k, (_, v) in row.beside(f"val/{board.primary}").items()}
    counted = "best/origins" if row.origins else "best/seeds"
    return Scalars.of(0, spread | scores | {counted: len(values)}).floats()


def _opening(row: Row, place: Place, experiment: Path) -> bytes:
    # HParams orders by the name: best first
    return summaries.session_start(row.parameters, f"{place} {row.label}", experiment.absolute().as_uri())


def _write(folder: Path, records: list[bytes]) -> None:
    (folder / "events.out.tfevents.0.groups").write_bytes(events.header() + b"".join(records))


def _safe(label: str) -> str:
    return re.sub(r"[^\w=.+, -]+", "_", label)[:100]
