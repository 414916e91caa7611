"""What a run will cost, roughly: good enough to begin with the longest, and to say how long a sweep takes."""

import math
from typing import Any

from rnnlab.cells.description import multiplications

RATE = 1.5e10  # floating-point operations a second of one core, in small matrix products
STEP = 6e-5  # seconds of a training step beside them
RUN = 0.03  # seconds of a run beside its steps
BASE_BYTES = 350e6  # a worker with everything imported


def batches(config: dict[str, Any]) -> int:
    """Batches of an epoch, as far as the config tells."""
    data = config["data"]
    share = (data.get("fractions") or [0.8])[0]
    size = data.get("batch_size") or 0
    if "segment" in data:
        return max(1, int((data.get("limit") or 1e6) * share) // (max(size, 1) * data["segment"]))
    items = data.get("n_points") or data.get("n_sequences") or 10_000
    return max(1, math.ceil(round(items * share) / size)) if size else 1


def steps(config: dict[str, Any]) -> int:
    """Optimizer steps of the whole run, as far as the config tells."""
    trainer = config["trainer"]
    bounds = [trainer["max_steps"], trainer["max_epochs"] * batches(config)]
    return min([n for n in bounds if n > 0], default=1000)


def seconds(config: dict[str, Any]) -> float:
    """Seconds of a run on one core, by its multiplications."""
    return RUN + steps(config) * (STEP + flops(config) / RATE)


def flops(config: dict[str, Any]) -> float:
    """Floating-point operations of one training step."""
    model, data = config["model"], config["data"]
    length = data.get("window") or data.get("segment") or data.get("max_length") or 100
    # forward once, backward twice, two operations a multiplication and addition
    return 6.0 * (data.get("batch_size") or batches(config) * 32) * length * _products(model)


def _products(model: dict[str, Any], inputs: int = 1) -> float:
    cell, h = str(model.get("cell")), model.get("hidden_size") or 64
    ways = 2 if model.get("bidirectional") else 1
    inputs = model.get("embedding_size") or inputs
    layers = int(model.get("num_layers") or 1)
    return float(
        ways * (multiplications(cell, inputs, h) + (layers - 1) * multiplications(cell, ways * h, h))
    )


def parameters(config: dict[str, Any]) -> float:
    """Weights of the recurrence, about; the head comes on top."""
    return _products(config["model"])


def memory(config: dict[str, Any]) -> float:
    """Bytes of a worker that trains this run, about: weights, gradients, two moments, best and saved weights."""
    model, data = config["model"], config["data"]
    length = data.get("window") or data.get("segment") or data.get("max_length") or 100
    activations = 4.0 * (data.get("batch_size") or 1024) * length * (model.get("hidden_size") or 64) * 8
    return BASE_BYTES + 24.0 * parameters(config) + activations
