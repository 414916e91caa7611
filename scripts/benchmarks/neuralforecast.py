"""Compares GRU and LSTM of neuralforecast and of rnnlab on three real series: the same split and targets, equal hidden
size, one layer, equal steps and batches, both scaled by window (neuralforecast by mean and standard deviation).

    python scripts/benchmark.py neuralforecast [seeds=5] [series=airline]

The packages (neuralforecast, what it imports, and two that contain the series) are installed once, without their
dependencies, into outputs/neuralforecast; rnnlab itself does not need them.
"""

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = (
    "neuralforecast", "coreforecast", "utilsforecast", "narwhals", "cloudpickle", "ray", "msgpack", "pyarrow",
    "tensorboardX", "requests", "charset-normalizer", "idna", "urllib3", "certifi", "statsmodels", "sktime",
    "vega_datasets",
)  # fmt: skip
SERIES = {  # file, overrides, rnnlab's scaling by window, steps
    "airline passengers": (
        "sktime/datasets/data/Airline/Airline.csv",
        "target=Passengers time_column=Date log=true window=12 horizon=3",
        "window_mean",
        2000,
    ),
    "CO2 by month": (
        "statsmodels/datasets/co2/co2.csv",
        "target=co2 time_column=date resample=1month missing=interpolate window=24 horizon=6",
        "window_standard",
        1000,
    ),
    "temperatures by hour": (
        "vega_datasets/_data/seattle-temps.csv",
        "target=temp time_column=date window=48 horizon=12",
        "seasonal_difference",
        1000,
    ),
}
HIDDEN, RATE, BATCH = 32, 3e-3, 32


def main(options: dict[str, str]) -> None:
    folder = Path(options.get("packages", "outputs/neuralforecast"))
    if not (folder / "neuralforecast").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, *PACKAGES], check=True)
    sys.path.append(str(folder.absolute()))
    os.environ["NIXTLA_ID_AS_COL"] = "1"
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "pytorch_lightning", "lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    seeds = int(options.get("seeds", 5))
    print(f"  test mse, mean of {seeds} seeds; {HIDDEN} units, steps of {BATCH} windows, Adam {RATE:g}")
    for name, (file, asked, scaling, steps) in SERIES.items():
        if options.get("series", "") not in name:
            continue
        for cell in ("gru", "lstm"):
            runs = [
                ours(folder / file, f"{asked} scaling={scaling}", cell, seed, steps) for seed in range(seeds)
            ]
            theirs = [other(folder / file, asked, cell, seed, steps) for seed in range(seeds)]
            assert {n for n, _ in theirs} == {runs[0][0]}, "not the same targets"
            mine, other_mse = (statistics.mean(mse for _, mse, *_ in found) for found in (runs, theirs))
            linear = runs[0][2]
            print(
                f"  {name:21} {cell:5} {steps} steps: rnnlab {mine:10.4g}   neuralforecast {other_mse:10.4g}   "
                f"{mine / other_mse:5.2f} of it   linear {linear:.4g}, {mine / linear:.2f} times it",
                flush=True,
            )


def ours(path: Path, asked: str, cell: str, seed: int, steps: int) -> tuple[int, float, float]:
    """rnnlab: number of test windows, test mse, test mse of the linear baseline."""
    import rnnlab
    from rnnlab.training.train import load_data

    with tempfile.TemporaryDirectory() as outputs:
        run = rnnlab.train(
            "data=series", "model=forecaster", f"model.cell={cell}", f"model.hidden_size={HIDDEN}", "name=theirs",
            f"data.path={path}", *(f"data.{word}" for word in asked.split()),
            f"data.batch_size={BATCH}", f"optimizer.lr={RATE}", "trainer.max_epochs=-1", f"trainer.max_steps={steps}",
            "trainer.val_every_n_steps=25", "logger=none", "callbacks=none", f"seed={seed}",
            f"paths.outputs={outputs}", quiet=True,
        )  # fmt: skip
        windows = len(load_data(run.config).starts("test"))
        results = run.results
    return windows, results["test"]["mse"], results["baselines"]["test"]["linear"]["mse"]


def other(path: Path, asked: str, cell: str, seed: int, steps: int) -> tuple[int, float]:
    """neuralforecast: number of test windows and test mse."""
    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MSE
    from neuralforecast.models import GRU, LSTM

    import rnnlab.data

    words: dict[str, Any] = dict(word.split("=") for word in asked.split())
    words |= {key: int(words[key]) for key in ("window", "horizon")} | {"log": words.get("log") == "true"}
    data = rnnlab.data.Series(path=path, **words)
    data.setup("fit")
    values = data.frame.values[:, 0]
    y = np.log(values) if words["log"] else values
    parts = {split: np.subtract(*reversed(data.forecast_rows(split))) for split in ("val", "test")}
    model = {"gru": GRU, "lstm": LSTM}[cell](
        h=words["horizon"], input_size=words["window"], inference_input_size=words["window"], encoder_n_layers=1,
        encoder_hidden_size=HIDDEN, decoder_hidden_size=HIDDEN, loss=MSE(), max_steps=steps, learning_rate=RATE,
        windows_batch_size=BATCH, scaler_type="standard", random_seed=seed, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", alias="model",
    )  # fmt: skip
    frame = pd.DataFrame({"unique_id": "series", "ds": np.arange(len(y)), "y": y})
    with tempfile.TemporaryDirectory() as folder:
        here = Path.cwd()
        os.chdir(folder)
        try:
            found = NeuralForecast([model], freq=1).cross_validation(
                frame, n_windows=None, val_size=int(parts["val"]), test_size=int(parts["test"]), step_size=1
            )
        finally:
            os.chdir(here)
    (column,) = set(found) - {"unique_id", "ds", "cutoff", "y", "index"}
    truth, predicted = values[found["ds"].to_numpy()], found[column].to_numpy()
    error = truth - (np.exp(predicted) if words["log"] else predicted)
    return found["cutoff"].nunique(), float(np.mean(error**2))
