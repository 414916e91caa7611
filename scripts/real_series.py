"""Checks real series with their quirks: each is trained and forecast, or refused in one line.

    python scripts/real_series.py            # installs three packages with data into outputs/real_series, once
    python scripts/real_series.py Airline    # only series with this word in their names

The packages (statsmodels, sktime, vega_datasets) are installed without their dependencies, because only their files are
read. Prints a line for each series: its time step, the test mae of a GRU of 32 with `data.scaling=window_standard`,
those of the baselines, and the time of its last forecast; or the refusal, which is right where the table expects it.
"""

import contextlib
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import rnnlab
from options import parsed
from rnnlab.cli import main as command
from rnnlab.data.calendar import Step
from rnnlab.errors import UserError

PACKAGES = ("statsmodels", "sktime", "vega_datasets")
STATS, SK, VEGA = "statsmodels/datasets/", "sktime/datasets/data/", "vega_datasets/_data/"
SERIES = [  # file, overrides, and a word of the expected refusal
    (STATS + "co2/co2.csv", "target=co2 time_column=date", "is no value"),
    (STATS + "co2/co2.csv", "target=co2 time_column=date missing=interpolate window=52 horizon=4", ""),
    (STATS + "nile/nile.csv", "target=volume time_column=year window=8 horizon=2", ""),
    (STATS + "sunspots/sunspots.csv", "target=SUNACTIVITY time_column=YEAR window=22 horizon=3", ""),
    (
        STATS + "elec_equip/elec_equip.csv",
        "target=STS.M.I7.W.TOVT.NS0016.4.000 time_column=DATE window=12 horizon=3",
        "",
    ),
    (STATS + "danish_data/data.csv", "target=lry time_column=period window=8 horizon=2", ""),
    (STATS + "copper/copper.csv", "target=COPPERPRICE time_column=YEAR window=4 horizon=1", ""),
    (STATS + "macrodata/macrodata.csv", "target=realgdp time_column=year", "times must increase"),
    (STATS + "macrodata/macrodata.csv", "target=realgdp columns=[realgdp,realinv] window=8 horizon=2", ""),
    (STATS + "macrodata/src/unemp.csv", "target=Value", "cells, the header has"),
    (STATS + "grunfeld/grunfeld.csv", "target=invest time_column=year", "data.id_column=firm"),
    (STATS + "grunfeld/grunfeld.csv", "target=invest time_column=year id_column=firm window=4 horizon=1", ""),
    (SK + "yahoo/yahoo.csv", "target=data window=48 horizon=6", ""),
    (SK + "Airline/Airline.csv", "target=Passengers time_column=Date log=true window=12 horizon=3", ""),
    (SK + "Lynx/Lynx.csv", "target='0' log=true window=20 horizon=3", ""),
    (
        SK + "solar/solar.csv",
        "target=solar_gen time_column=datetime_gmt calendar=[hour] window=48 horizon=4",
        "",
    ),
    (SK + "Uschange/Uschange.csv", "target=Income time_column=Quarter window=8 horizon=2", ""),
    (SK + "PBS_dataset/PBS_dataset.csv", "target=Scripts time_column=Month window=12 horizon=3", ""),
    (SK + "ShampooSales/ShampooSales.csv", "target=Sales time_column=Time window=6 horizon=1", ""),
    (SK + "seatbelts/seatbelts.csv", "target=KSI window=12 horizon=3", ""),
    (VEGA + "seattle-temps.csv", "target=temp time_column=date window=48 horizon=12", ""),
    (VEGA + "seattle-weather.csv", "target=temp_max columns=all time_column=date window=14 horizon=3", ""),
    (
        VEGA + "iowa-electricity.csv",
        "target=net_generation time_column=year id_column=source window=4 horizon=1",
        "",
    ),
    (VEGA + "us-employment.csv", "target=nonfarm time_column=month window=12 horizon=3", ""),
    (VEGA + "stocks.csv", "target=price time_column=date", "data.id_column=symbol"),
    (VEGA + "stocks.csv", "target=price time_column=date id_column=symbol log=true window=12 horizon=3", ""),
    (VEGA + "la-riots.csv", "target=age time_column=death_date", "times must increase"),
]


def data_folder() -> Path:
    folder = Path("outputs/real_series/packages")
    if not all((folder / package).is_dir() for package in PACKAGES):
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(folder),
            *PACKAGES,
        ]
        subprocess.run(pip, check=True)
    return folder


def tried(path: Path, asked: str) -> str:
    """A line with the results of one series; raises UserError where it is refused."""
    with tempfile.TemporaryDirectory() as outputs:
        run = rnnlab.train(
            "data=series", "model=forecaster", "model.cell=gru", f"data.path={path}", "name=real",
            *(f"data.{word}" for word in asked.split()), "data.scaling=window_standard", "optimizer.lr=3e-3",
            "trainer.max_epochs=-1", "trainer.max_steps=500", "trainer.check_val_every_n_epoch=5", "logger=none",
            "callbacks=none", f"paths.outputs={outputs}", quiet=True,
        )  # fmt: skip
        scores = {"model": run.results["test"]["mae"]}
        scores |= {name: found["mae"] for name, found in run.results["baselines"]["test"].items()}
        with contextlib.redirect_stdout(io.StringIO()):
            code = command(
                ["forecast", str(run.folder), "--start", "0", "--horizon", str(run.config["data"]["horizon"])]
            )
        if code:
            raise UserError("the forecast failed")
        last = next(run.figures.glob("*.csv")).read_text().splitlines()[-1].split(",")[0]
        unit, n = run.model.spec.get("step", ("", 0))
    step = str(Step(unit, n)) if n else "no times"
    return f"{step:15} mae " + "  ".join(f"{k} {v:.4g}" for k, v in scores.items()) + f"  forecast to {last}"


def name_of(file: str) -> str:
    return Path(file).stem if Path(file).stem != "data" else Path(file).parent.name


def main() -> int:
    _, words = parsed(__doc__, sys.argv[1:], others=None)
    chosen = [row for row in SERIES if any(word in name_of(row[0]) for word in words or [""])]
    if not chosen:
        names = dict.fromkeys(name_of(row[0]) for row in SERIES)
        sys.exit(f"{' '.join(words)}: in no name of a series; there are {', '.join(names)}")
    folder, wrong = data_folder(), 0
    for file, asked, refusal in chosen:
        name = name_of(file)
        try:
            line, fine = tried(folder / file, asked), not refusal
        except UserError as error:
            line, fine = (
                f"refused: {str(error).replace(str(folder), '')}",
                bool(refusal) and refusal in str(error),
            )
        wrong += not fine
        print(f"{'' if fine else 'WRONG '}{name:18} {line}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
