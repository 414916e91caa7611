"""`rnnlab forecast`: a forecast in which the model reads its own output, as a table (CSV) and a picture.

On the run's own data it covers the last steps, so that truth, forecast and a baseline can be compared; on new data
(--data) it starts at the end.
"""

import argparse
from pathlib import Path
from typing import Any

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import UserError, counted


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
    parser.add_argument(
        "--picture", metavar="FILE", help="where to draw, .png, .svg or .pdf (default: in the run's figures/)"
    )
    parser.add_trust()
    arguments = parser.parse_intermixed_args(argv)
    run_on(arguments)
    return None


def run_on(arguments: argparse.Namespace) -> None:
    """Forecasts, writes and reports. Raises UserError as `rnnlab.api.forecast.forecast`."""
    from rnnlab.api.forecast import forecast
    from rnnlab.figures.canvas import check_format, save
    from rnnlab.runs.run import Run
    from rnnlab.terminal.scores import Row, console, score_table

    if arguments.picture and Path(arguments.picture).suffix:
        check_format(Path(arguments.picture))
    run = Run.open(arguments.run)
    found = forecast(run, arguments.horizon, arguments.overrides, start=arguments.start, data_file=arguments.data,
                     series=arguments.id, trust=arguments.trust)  # fmt: skip
    table = Path(arguments.csv) if arguments.csv else inside(run, f"{found.name}.csv", "--csv")
    picture = Path(arguments.picture) if arguments.picture else inside(run, f"{found.name}.png", "--picture")
    for file in (table, picture):
        make_folder(file)
    table.write_text(found.to_csv(), encoding="utf-8", newline="")
    save(found.figure(), picture)

    if found.errors:
        rows: list[Row] = [
            (name, {"": scores}, "bold" if name == "forecast" else "dim")
            for name, scores in found.errors.items()
        ]
        console.print(score_table({counted(len(found.truth), "step"): ""}, ["mse", "mae"], rows))
    if found.within_training:
        console.print("note: the forecast begins within the training part, which the model has seen")
    console.print(f"table    {table}", soft_wrap=True)
    console.print(f"picture  {picture}", soft_wrap=True)


def inside(run: Any, name: str, option: str) -> Path:
    """A file of the run's figures/. Raises UserError if a link there leads out of the run's folder."""
    from rnnlab.runs.files import part_hard_links

    file: Path = run.figures / name
    if not file.resolve().is_relative_to(run.folder.resolve()):
        raise UserError(f"{file} is a link out of the run's folder; {option} FILE says where to write")
    part_hard_links(file)
    return file


def make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be written there: {(error.strerror or str(error)).lower()}"
        ) from None
