"""`rnnlab find-lr OVERRIDES`: a range test (Smith 2017) that suggests a learning rate before a training.

The rate rises by a constant factor at each optimizer step, from --from to --to, until the loss has grown fourfold.
The suggestion is a tenth of the rate at which the smoothed loss was lowest. --batch-sizes tests each batch size, and
measures how many examples it learns from a second; the suggested command takes the smallest batch size that reaches
nine tenths of the fastest. No run's folder is made.
"""

import argparse
import tempfile
from collections.abc import Sized
from contextlib import suppress
from pathlib import Path
from shlex import quote
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from rnnlab.cli.arguments import Arguments
from rnnlab.config.run_config import RunConfig
from rnnlab.errors import RunFailed, UserError

GROWN = 4.0  # a test ends when the loss is this many times the first one
MEMORY = 0.9  # weight of the previous value in the smoothed loss
SETTLED = 10  # steps after which the smoothed loss is a mean of several losses
SHARE = 0.1  # the suggested rate, as a share of the rate with the lowest loss


class Tried(NamedTuple):
    """One range test: a rate and a loss for each of its steps."""

    batch_size: int
    rates: np.ndarray
    losses: np.ndarray
    examples_per_s: float

    @property
    def smooth(self) -> np.ndarray:
        return smoothed(self.losses)

    @property
    def lowest(self) -> float:
        """The rate with the lowest smoothed loss, after the first `SETTLED` steps."""
        return float(self.rates[SETTLED:][int(np.argmin(self.smooth[SETTLED:]))])

    @property
    def suggested(self) -> float | None:
        """The rate to take, with two digits; None if the loss has not fallen by more than its noise."""
        before = self.losses[: max(SETTLED, len(self.losses) // 4)]
        noise = float(before.std()) * ((1 - MEMORY) / (1 + MEMORY)) ** 0.5
        if self.smooth[SETTLED:].min() > before.mean() - 2 * noise:
            return None
        return float(f"{SHARE * self.lowest:.1e}")


def main(argv: list[str]) -> None:
    parser = Arguments(prog="rnnlab find-lr", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for rnnlab train")
    parser.add_argument("--config-dir", metavar="FOLDER", help="as for rnnlab train")
    parser.add_argument(
        "--steps", type=int, default=200, metavar="N", help="optimizer steps of a test (default: 200)"
    )
    parser.add_argument(
        "--from", dest="first", type=float, default=1e-6, metavar="RATE", help="first rate (default: 1e-6)"
    )
    parser.add_argument(
        "--to", dest="last", type=float, default=1.0, metavar="RATE", help="last rate (default: 1)"
    )
    parser.add_argument(
        "--batch-sizes", default="", metavar="N,N", help="batch sizes to test (default: the config's own)"
    )
    parser.add_argument(
        "--picture", metavar="FILE", default="find-lr.png", help="where to draw (default: find-lr.png)"
    )
    arguments = parser.parse_intermixed_args(argv)
    if not 0 < arguments.first < arguments.last < float("inf"):
        raise UserError(
            f"--from {arguments.first:g} --to {arguments.last:g}: must be rates above 0, --from below --to"
        )
    if arguments.steps < 2 * SETTLED:
        raise UserError(f"--steps {arguments.steps}: must be at least {2 * SETTLED}")
    sizes = arguments.batch_sizes.split(",") if arguments.batch_sizes else [None]
    if not all(size is None or (size.isdecimal() and int(size)) for size in sizes):
        raise UserError(
            f"--batch-sizes {arguments.batch_sizes}: must be whole numbers of at least 1, such as 16,32,64"
        )

    from rnnlab.config import check, compose
    from rnnlab.figures.canvas import alike, check_format, save
    from rnnlab.terminal.scores import console
    from rnnlab.training import accelerator

    if Path(arguments.picture).suffix:
        check_format(Path(arguments.picture))
    tried = []
    for size in sizes:
        asked = [*arguments.overrides, *([f"data.batch_size={size}"] if size else [])]
        config = check(compose(asked, arguments.config_dir), asked, arguments.config_dir)
        config.pop("sweep", None)
        config["trainer"]["accelerator"], _ = accelerator.take(config["trainer"]["accelerator"])
        tried.append(range_test(config, arguments.first, arguments.last, arguments.steps))
    console.print(table(tried))
    # printed before the picture, which may not be possible there
    console.print(advice(tried, arguments), soft_wrap=True)
    with alike():
        save(picture(tried), Path(arguments.picture))
    console.print(f"picture  {quote(arguments.picture)}", soft_wrap=True)


def advice(tried: list[Tried], arguments: argparse.Namespace) -> str:
    """The suggested command, or a line that says why there is none."""
    found = [one for one in tried if one.suggested is not None]
    if not found:
        return f"The loss has not fallen at any rate from {arguments.first:g} to {arguments.last:g}."
    fastest = max(one.examples_per_s for one in found)
    best = min((one for one in found if one.examples_per_s >= 0.9 * fastest), key=lambda one: one.batch_size)
    words = [*arguments.overrides, *([f"data.batch_size={best.batch_size}"] if arguments.batch_sizes else []),
             f"optimizer.lr={best.suggested:g}"]  # fmt: skip
    folder = ["--config-dir", arguments.config_dir] if arguments.config_dir else []
    return f"train    rnnlab train {' '.join(map(quote, [*words, *folder]))}"


def range_test(config: RunConfig, first: float, last: float, steps: int) -> Tried:
    """Trains in a temporary folder. Raises UserError if the config cannot be trained, or no rates are recorded."""
    from lightning.pytorch import Callback

    from rnnlab.runs.run_path import Place
    from rnnlab.training.train import train_config

    class Clock(Callback):
        patient = True  # can wait for the end of a call of the kernels
        began = ended = rows = 0.0

        def on_train_start(self, trainer: Any, *_: Any) -> None:
            self.rows = rows_of(trainer.train_dataloader, config["data"].get("batch_size") or 0)
            self.began = perf_counter()

        def on_train_end(self, *_: Any) -> None:
            self.ended = perf_counter()

        def on_exception(self, *_: Any) -> None:
            self.ended = perf_counter()

    clock = Clock()

    def watch(trainer: Any) -> None:
        trainer.callbacks.append(clock)

    schedule = {"_target_": "rnnlab.training.schedules.rising", "_partial_": True, "first": first, "last": last,
                "total_steps": steps, "interval": "step"}  # fmt: skip
    trainer = config["trainer"] | {
        "max_steps": steps, "max_epochs": -1, "max_time": None, "limit_val_batches": 0, "fast_dev_run": False,
        "divergence_factor": GROWN, "log_every_n_steps": 1, "val_every_n_steps": None, "val_check_interval": None,
        "check_val_every_n_epoch": 1, "profiler": None}  # fmt: skip
    config = config | {
        "callbacks": {}, "logger": {}, "checkpoint": {"every_n_steps": None, "every_seconds": None},
        "scheduler": schedule, "trainer": trainer}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "find-lr" / "run", "find-lr", "find-lr", "")
        with suppress(RunFailed):  # the loss has grown: the test is at its end
            train_config(config, place, [], command=[], watch=watch,
                         tell=lambda note: None)  # fmt: skip
        from rnnlab.runs.run import Run

        found = Run(place.folder).metrics
    if "optim/lr" not in found or "loss/train" not in found:
        raise UserError(
            "find-lr needs a model that logs optim/lr and loss/train at each step, as those of rnnlab do"
        )
    losses = found["loss/train"][1]
    whole = np.isfinite(losses)
    if whole.sum() <= SETTLED:
        raise UserError(
            f"--from {first:g}: the loss has grown {GROWN:g}-fold, or is not finite, within {SETTLED} steps; begin "
            "with a smaller rate"
        )
    examples = clock.rows * config["trainer"]["accumulate_grad_batches"] * len(losses)
    return Tried(config["data"].get("batch_size") or 0, found["optim/lr"][1][: len(losses)][whole], losses[whole],
                 examples / max(1e-9, clock.ended - clock.began))  # fmt: skip


def rows_of(loader: Any, batch_size: int) -> float:
    """The mean number of examples in a batch: the last one, or a single one with all examples, may be smaller."""
    batches = getattr(loader, "batches", ())
    sizes = [len(one) for one in batches if isinstance(one, Sized)]
    return float(np.mean(sizes)) if sizes else float(batch_size)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """An exponential moving average that begins without a bias towards 0 (as Adam's moments do)."""
    found, mean = np.empty(len(losses)), 0.0
    for i, loss in enumerate(losses):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        found[i] = mean / (1 - MEMORY ** (i + 1))
    return found


def table(tried: list[Tried]) -> Any:
    from rich.table import Table

    found = Table(box=None, pad_edge=False)
    for name in ("batch size", "suggested optimizer.lr", "lowest loss at", "examples a second"):
        found.add_column(name, justify="right")
    for one in tried:
        size = f"{one.batch_size:,}" if one.batch_size else "all"
        speed = f"{one.examples_per_s:,.0f}" if one.batch_size else ""
        rate = "none" if one.suggested is None else f"{one.suggested:g}"
        found.add_row(size, rate, f"{one.lowest:.2g}", speed)
    return found


def picture(tried: list[Tried]) -> Any:
    """Loss over rate, a line for each batch size; a dot marks the suggested rate."""
    from rnnlab.figures.canvas import BLUE, GREEN, INK, ORANGE, Label, canvas, label_ends, quiet

    figure = canvas(7.0, 4.2)
    axes = figure.subplots()
    positive = all((one.losses > 0).all() for one in tried)  # a likelihood's loss may be below 0
    quiet(axes, "learning rate, log scale", "training loss, smoothed" + ", log scale" * positive)
    labels = []
    for one, colour in zip(tried, (BLUE, ORANGE, GREEN, INK) * len(tried), strict=False):
        axes.plot(one.rates, one.losses, color=colour, alpha=0.2, linewidth=0.7)
        axes.plot(one.rates, one.smooth, color=colour, linewidth=1.6)
        name = f"batch of {one.batch_size}" if len(tried) > 1 else ""
        if one.suggested is not None:
            at = int(np.argmin(np.abs(np.log(one.rates / one.suggested))))
            axes.plot(one.rates[at], one.smooth[at], "o", color=colour, markersize=6)
            name = f"{name}: {one.suggested:g}".removeprefix(": ")
        labels.append(Label(float(one.smooth[-1]), name, colour))
    axes.set_xscale("log")
    axes.set_yscale("log" if positive else "linear")
    figure.draw_without_rendering()  # limits and layout must stand before labels are placed
    label_ends(axes, labels)
    return figure
