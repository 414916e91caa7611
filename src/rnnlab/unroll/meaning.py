"""What a model's output at a step means, in words: the likeliest next characters, a forecast in its own units."""

from typing import Any

import numpy as np
import torch

from rnnlab.data.vocabulary import Vocabulary
from rnnlab.tasks import CharLM, Classifier, Forecaster

SHOWN = 3  # characters or steps ahead


def meaning(task: Any, y: np.ndarray, last: torch.Tensor | None = None) -> str:
    """Of the head's output y (output,) in float64; `last` (inputs,) is what a forecaster subtracted, scaled."""
    if isinstance(task, CharLM):
        p, vocabulary = softmax(y), Vocabulary.from_spec(task.spec)
        likeliest = np.argsort(-p, kind="stable")[:SHOWN]
        return "next: " + ", ".join(f"{vocabulary.decode([int(i)])!r} {100 * p[i]:.0f}%" for i in likeliest)
    if isinstance(task, Classifier):
        p = np.array([1 / (1 + np.exp(y[0])), 1 / (1 + np.exp(-y[0]))]) if task.sigmoid else softmax(y)
        best = int(np.argmax(p))
        return f"were this the end: class {best} ({100 * p[best]:.0f}%)"
    if isinstance(task, Forecaster):
        scaled = torch.from_numpy(y).view(task.horizon, task.targets)
        if last is not None:
            scaled = scaled + last[task.target_index]
        values = task.unscaled(scaled)[:SHOWN].tolist()
        said = "; ".join(", ".join(f"{v:.4g}" for v in step) for step in values)
        return f"forecast: {said}{' ...' if task.horizon > SHOWN else ''}"
    return ""


def softmax(y: np.ndarray) -> np.ndarray:
    p = np.exp(y - y.max())
    return p / p.sum()
