"""The time and memory of runs: guessed from the config, and estimated by measurements before a sweep.

Guesses order the runs by their time. An estimate scales the guesses by finished runs of the same experiments, or else
by measurements, which train the first steps of some runs.
"""

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rnnlab.cells.description import multiplications
from rnnlab.config.run_config import RunConfig
from rnnlab.errors import RunFailed, UserError
from rnnlab.runs.run import Run
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.probe import Measurement, Probe, measure

FLOPS = 1.5e10  # floating-point operations per second of one core, in small matrix products
STEP_SECONDS = 6e-5  # fixed cost of a batch in training
RUN_SECONDS = 0.03  # fixed cost of a run
WORKER_BYTES = 350e6  # memory of a worker with everything imported

FINISHED = 100  # the most finished runs of an experiment that are read
ENOUGH = 3  # the fewest finished runs for an estimate: the first run of a process is slower than the others
KINDS = 200  # at most so many runs that differ by more than the seed may be measured
BUDGET = 1.0  # seconds for measurements after the first one; then no other starts
LENGTHS = ("window", "segment", "max_length")  # the keys of data that give the length of a sequence
TIMEOUT: float | None = 15.0  # seconds for one measurement, including the preparation of its data


# ---------------------------------------------------------------------- guesses


def number(value: Any, otherwise: float) -> Any:
    """A value of a config; `otherwise` where it is 0 or no number, such as a list of sizes for a user's own class."""
    return value if isinstance(value, int | float) and value else otherwise


def batches(config: RunConfig) -> int:
    """Guessed batches of an epoch."""
    data = config["data"]
    fractions = data.get("fractions")
    share = number(fractions[0], 0) if isinstance(fractions, list) and fractions else 0.8
    size = number(data.get("batch_size"), 0)
    if segment := number(data.get("segment"), 0):
        return max(1, int(number(data.get("limit"), 1e6) * share) // (max(size, 1) * segment))
    items = number(data.get("n_points"), 0) or number(data.get("n_sequences"), 10_000)
    return max(1, math.ceil(round(items * share) / size)) if size else 1


def guessed_steps(config: RunConfig, known: int | None = None) -> int:
    """Guessed optimizer steps of the whole run; `known`: the batches of an epoch, where the data was read."""
    trainer = config["trainer"]
    of_epoch = math.ceil(_of_epoch(config, known) / trainer.get("accumulate_grad_batches", 1))
    bounds = [trainer["max_steps"], trainer["max_epochs"] * of_epoch]
    return min([n for n in bounds if n > 0], default=1000)


def first_validation(config: RunConfig, known: int | None = None) -> int:
    """Guessed optimizer step of the first validation; `known` as above."""
    trainer, of_epoch = config["trainer"], _of_epoch(config, known)
    if (steps := trainer.get("val_every_n_steps")) is not None:
        return steps
    accumulated = trainer.get("accumulate_grad_batches", 1)
    whole = math.ceil(of_epoch / accumulated)  # steps of an epoch: its last one may have fewer batches
    epochs, interval = trainer["check_val_every_n_epoch"], trainer["val_check_interval"]
    interval = 1.0 if interval is None else interval
    due = interval if isinstance(interval, int) else int(interval * of_epoch)  # batches, in the last epoch
    before, due = divmod(due, of_epoch) if epochs is None or due == of_epoch else (0, due)
    return max(1, ((epochs or 1) - 1 + before) * whole + due // accumulated)


def _of_epoch(config: RunConfig, known: int | None) -> int:
    """Batches of an epoch that are trained on."""
    trainer, of_epoch = config["trainer"], batches(config) if known is None else known
    if (limit := trainer.get("overfit_batches") or trainer.get("limit_train_batches")) is not None:
        of_epoch = int(of_epoch * limit) if isinstance(limit, float) else min(limit, of_epoch)
    return max(1, of_epoch)


def guessed_seconds(config: RunConfig) -> float:
    """Guessed seconds of a run on one core."""
    taken = guessed_steps(config) * config["trainer"].get("accumulate_grad_batches", 1)  # batches
    return RUN_SECONDS + taken * (STEP_SECONDS + flops(config) / FLOPS)


def flops(config: RunConfig) -> float:
    """Floating-point operations of a training step of one batch."""
    # a multiplication and an addition for each weight, once in the forward pass and twice in the backward pass
    return (
        6.0
        * number(config["data"].get("batch_size"), batches(config) * 32)
        * _length(config)
        * weights(config)
    )


def weights(config: RunConfig) -> float:
    """Weights of the recurrent layers without the head; the input is the embedding, or else a scalar."""
    model = config["model"]
    cell, h = str(model.get("cell")), number(model.get("hidden_size"), 64)
    directions = 2 if model.get("bidirectional") else 1
    inputs = number(model.get("embedding_size"), 1)
    layers = int(number(model.get("num_layers"), 1))
    deeper = multiplications(cell, directions * h, h)
    return float(directions * (multiplications(cell, inputs, h) + (layers - 1) * deeper))


def guessed_bytes(config: RunConfig) -> float:
    """Guessed memory of a worker that trains the run, in bytes."""
    width = number(config["model"].get("hidden_size"), 64)
    activations = 4.0 * number(config["data"].get("batch_size"), 1024) * _length(config) * width * 8
    # six float32 for a weight: itself, its gradient, the optimizer's two moments, the best and the saved weights
    return WORKER_BYTES + 24.0 * weights(config) + activations


def _length(config: RunConfig) -> int:
    """Time steps of a sequence."""
    data = config["data"]
    return int(next(filter(None, (number(data.get(key), 0) for key in LENGTHS)), 100))


# ---------------------------------------------------------------------- measured


@dataclass
class Estimate:
    seconds: list[float]  # for each run to train
    basis: str  # how the seconds were found
    worker_bytes: float  # memory of each worker alone
    shared_bytes: float  # memory that all workers share
    memory_basis: str

    def wall(self, due: list[Planned], workers: dict[str, int]) -> float:
        """Seconds until the last run ends. Each kind of device has its own workers and its own runs."""
        longest = 0.0
        for kind in {p.accelerator for p in due}:
            took = [s for s, p in zip(self.seconds, due, strict=True) if p.accelerator == kind]
            longest = max(longest, sum(took) / min(workers.get(kind, 1), len(took)), max(took))
        return longest


def estimate(due: list[Planned], probe: Probe) -> Estimate:
    """Time from finished runs of the same experiments if there are enough, else from measurements; memory from
    measurements.
    """
    # one of each group of runs that differ only in their seed
    first = list({p.place.group: p for p in reversed(due)}.values())
    kinds = first[:: -(-len(first) // KINDS)]
    ratios, by_group = finished({p.place.folder.parent for p in due})
    measured, why = measurements(kinds, probe, just_one=len(ratios) >= ENOUGH)

    def ratio(planned: Planned) -> float:
        """Measured over guessed seconds, of the measurement with the nearest guess."""
        if len(ratios) >= ENOUGH:
            return median(ratios)
        if not measured:
            return 1.0
        near = min(measured, key=lambda m: max(m.guessed / planned.cost, planned.cost / m.guessed))
        return near.seconds / near.guessed

    seconds = [
        median(by_group[p.place.group]) if p.place.group in by_group else p.cost * ratio(p) for p in due
    ]
    if len(ratios) >= ENOUGH:
        basis = f"from {len(ratios)} finished runs of this experiment"
    elif measured:
        basis = (
            f"from a trial of {len(measured)} of {len(first):,} kinds of runs, engine {measured[0].engine}"
        )
    else:
        basis = f"a guess: no such run has finished, and the trial failed: {why}"
    most = max(guessed_bytes(p.config) for p in kinds)
    if not measured:
        return Estimate(seconds, basis, most, 0.0, "a guess")
    beyond = max(0.0, most - max(m.guessed_bytes for m in measured))
    held = max(m.private for m in measured) + beyond
    return Estimate(seconds, basis, held, max(m.shared for m in measured), "from the trial")


def finished(experiments: Iterable[Path]) -> tuple[list[float], dict[str, list[float]]]:
    """From finished runs: the ratios of measured to guessed seconds, and {group: seconds}."""
    ratios, by_group = [], dict[str, list[float]]()
    for experiment in experiments:
        for path in sorted(experiment.glob("*/run.json"))[:FINISHED]:
            run = Run(path.parent)
            record = run.known
            if record.get("status") == "finished" and record.get("seconds"):
                with suppress(UserError, KeyError, TypeError):  # its config is damaged
                    ratios.append(record["seconds"] / guessed_seconds(run.config))
                    by_group.setdefault(record.get("group", ""), []).append(record["seconds"])
    return ratios, by_group


def measurements(kinds: Sequence[Planned], probe: Probe, just_one: bool) -> tuple[list[Measurement], str]:
    """Measures the run that needs the most memory, then the longest and the shortest run of each cell and engine.

    Returns the measurements, and why one failed ("" if none did); after a failure none is made any more.
    """
    order = [max(kinds, key=lambda p: guessed_bytes(p.config))]
    if not just_one:
        alike: dict[tuple[str, ...], list[Planned]] = {}
        for planned in kinds:
            model = planned.config["model"]
            named = (str(model.get(key)) for key in ("_target_", "cell", "engine"))
            alike.setdefault((planned.accelerator, *named), []).append(planned)
        for choose in (max, min):
            order += [choose(some, key=lambda p: p.cost) for some in alike.values()]
    found: list[Measurement] = []
    why = ""
    begin = time.monotonic()
    for planned in {p.place.group: p for p in order}.values():
        if found and time.monotonic() - begin > BUDGET:
            break
        config = planned.config
        try:
            one = probe.call(partial(measure, config, guessed_steps(config)), TIMEOUT)
        except RunFailed as error:
            one = str(error)
        if not isinstance(one, Measurement):
            why = one or f"it took longer than {TIMEOUT:g} s"
            break
        if not found:
            begin = time.monotonic()  # the first measurement includes starting a worker
        one.guessed, one.guessed_bytes = planned.cost, guessed_bytes(config)
        found.append(one)
    return found, why
