"""`rnnlab forecast`: a forecast that feeds on itself, as a table (CSV) and a picture.

It starts as many steps before the end of the run's data as it is long, so that truth, forecast and a baseline
can be compared; on new data (--data) it starts at the end.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import UserError, nearest

STEPS = 200  # that are forecast where nobody says how many


def main(argv: list[str]) -> int | None:
    parser = Arguments(prog="rnnlab forecast", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument(
        "overrides", nargs="*", metavar="data.KEY=VALUE", help="other data than the run's own"
    )
    parser.add_argument(
        "--horizon",
        type=int,
        metavar="N",
        help="steps ahead (default: 200, or as many as model and data allow)",
    )
    parser.add_argument("--id", metavar="NAME", help="which of several series (default: the first)")
    parser.add_argument("--data", metavar="FILE", help="a new CSV file; the same as data.path=FILE")
    parser.add_argument(
        "--start",
        type=int,
        metavar="N",
        help="begin N steps before the end of the data (default: the horizon; on new data 0)",
    )
    parser.add_argument(
        "--csv", metavar="FILE", help="where to write the table (default: in the run's figures/)"
    )
    parser.add_argument("--picture", metavar="FILE", help="where to draw (default: in the run's figures/)")
    parser.add_argument("--trust", action="store_true", help="load a run made with code outside rnnlab")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.horizon is not None and arguments.horizon < 1:
        raise UserError(f"--horizon {arguments.horizon}: must be at least 1")
    if arguments.start is not None and arguments.start < 0:
        raise UserError(f"--start {arguments.start}: must be at least 0")

    run_on(arguments)
    return None


def run_on(arguments: argparse.Namespace) -> None:
    """Forecasts, writes and reports.

    Raises UserError for a run that is no forecaster, data that does not fit it, a start without a whole
    window before it, and a model that cannot feed itself.
    """
    from rnnlab.data.parts import parts
    from rnnlab.data.windows import Windowed
    from rnnlab.figures.canvas import save
    from rnnlab.figures.forecast import running_on, time_name
    from rnnlab.memory import afford
    from rnnlab.runs.data import load_data
    from rnnlab.runs.load import load_model
    from rnnlab.runs.run import Run
    from rnnlab.tasks import Forecaster
    from rnnlab.tasks.rollout import farthest, free_run
    from rnnlab.terminal.run import Row, console, score_table

    run = Run.open(arguments.run)
    task = load_model(run, arguments.trust)
    if not isinstance(task, Forecaster):
        raise UserError(f"{run.folder} holds a {type(task).__name__}; only a Forecaster can forecast")
    overrides = list(arguments.overrides)
    if arguments.data:
        if "path" not in run.config["data"]:
            raise UserError(f"--data {arguments.data}: this run's data is made, not read from a file")
        quoted = arguments.data.replace("\\", "\\\\").replace("'", "\\'")
        overrides.insert(0, f"data.path='{quoted}'")
    new_file = any(o.startswith("data.path=") for o in overrides)
    data = load_data(run, task.spec, overrides, whole=new_file, trust=arguments.trust)
    if not isinstance(data, Windowed):
        raise UserError(
            f"{run.folder}: {type(data).__name__} is not a series of rnnlab, and has no end to go on from"
        )

    group = chosen(data, arguments.id)
    rows, horizon = group.stop - group.start, arguments.horizon
    if horizon is None:
        held = rows - parts(rows, data.fractions)["train"].stop  # behind what the model was trained on
        compared = not new_file and arguments.start is None
        longest = max(1, min(STEPS, held, rows - data.window)) if compared else STEPS
        horizon = farthest(task, data, group.stop - (longest if compared else arguments.start or 0), longest)
    start = arguments.start if arguments.start is not None else 0 if new_file else horizon
    afford(100.0 * horizon * len(data.target_columns), f"--horizon {horizon}")
    if rows - start < data.window:
        raise UserError(
            f"--start {start}: the data has {rows} rows and the model needs {data.window} before the "
            f"start, which can be at most {rows - data.window} before the end"
        )
    row = group.stop - start
    free = free_run(task, data, row, horizon)

    suffix = f"-{slug(group.name)}" if arguments.id else ""
    if new_file:
        suffix += f"-{data.path.stem}"  # type: ignore[attr-defined]
    name = f"free-run-{horizon}{suffix}"
    table = Path(arguments.csv) if arguments.csv else inside(run, f"{name}.csv", "--csv")
    picture = Path(arguments.picture) if arguments.picture else inside(run, f"{name}.png", "--picture")
    for file in (table, picture):
        make_folder(file)
    write_csv(table, time_name(data), data.frame.targets, free, texts_of(data, free))
    save(running_on(data, free, message(run, free)), picture)

    errors: dict[str, Any] = free.errors()
    if errors:
        known = len(free.truth)
        lines: list[Row] = [
            (name, {"": scores}, "bold" if name == "forecast" else "dim") for name, scores in errors.items()
        ]
        console.print(score_table({f"{known} steps": ""}, ["mse", "mae"], lines))
    if not new_file and not data.frame.groups and row < data.rows("train")[1]:
        console.print("note: the forecast begins within the training part, which the model has seen")
    console.print(f"table    {table}", soft_wrap=True)
    console.print(f"picture  {picture}", soft_wrap=True)


def message(run: Any, free: Any) -> tuple[str, str]:
    """The picture's headline: how far, how well, beside what."""
    name = f"{run.record.get('experiment', run.folder.parent.name)}: {len(free.forecast)} steps free-running"
    errors = free.errors()
    if not errors:
        return name, "(beyond the end of the data)"
    scores = {who: found["mse"] for who, found in errors.items()}
    return f"{name}, mse {scores.pop('forecast'):.3g}", "".join(f"({n} {v:.3g})" for n, v in scores.items())


def slug(name: str) -> str:
    """A name as a part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:60]


def chosen(data: Any, name: str | None) -> Any:
    """The series of that name, or the first. Raises UserError where there is none."""
    if name is None:
        return data.frame.series[0]
    named = {group.name: group for group in data.frame.groups}
    if name not in named:
        raise UserError(
            f"--id {name}: no such series.{nearest(name, list(named))}"
            if named
            else "--id: there is one series"
        )
    return named[name]


def texts_of(data: Any, free: Any) -> list[Any]:
    """The time of each step, with the offset from UTC that the file has; behind its end that of its last row."""
    from rnnlab.data.windows import time_texts

    offsets = data.frame.offsets
    if offsets is not None:
        last = data.frame.series_of(free.row - 1).stop - 1
        offsets = offsets[[min(free.row + i, last) for i in range(len(free.times))]]
    return time_texts(free.times, offsets)


def write_csv(path: Path, time: str, targets: list[str], free: Any, times: list[str]) -> None:
    """A line a step: its time, then for each target truth (where any is known), forecast and baseline.

    The quantiles of a distribution follow, of the first forecast alone. Numbers are the shortest text that reads back
    as the same float; times are ISO.
    """
    known = len(free.truth)
    kinds = [*(["truth"] if known else []), "forecast", free.baseline_name]
    with path.open("w", newline="", encoding="utf-8") as f:
        lines = csv.writer(f, lineterminator="\n")
        kinds += [f"q{level:g}" for level in free.levels]
        lines.writerow([time, *(f"{target}_{kind}" for target in targets for kind in kinds)])
        for i, at in enumerate(times):
            cells: list[Any] = [at]
            for j in range(len(targets)):
                truth = [free.truth[i, j].item() if i < known else ""] if known else []
                cells += [*truth, free.forecast[i, j].item(), free.baseline[i, j].item()]
                within = free.quantiles is not None and i < len(free.quantiles)
                cells += free.quantiles[i, j].tolist() if within else [""] * len(free.levels)
            lines.writerow(cells)


def inside(run: Any, name: str, option: str) -> Path:
    """A file of the run's figures/. Raises UserError where a link there leads out of the run's folder."""
    file: Path = run.figures / name
    if not file.resolve().is_relative_to(run.folder.resolve()):
        raise UserError(f"{file} is a link out of the run's folder; {option} FILE says where to write")
    return file


def make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be written there: {(error.strerror or str(error)).lower()}"
        ) from None
