"""Judges how well a run that was trained again agrees with the original."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rnnlab.errors import UserError
from rnnlab.reproduce.curves import Divergence, divergence
from rnnlab.runs.load import read_checkpoint
from rnnlab.runs.record import ENDED
from rnnlab.runs.run import Run, runs

VERDICTS = ("bitwise", "numeric", "statistical", "different")  # best first
EXIT_CODES = {"bitwise": 0, "numeric": 3, "statistical": 4, "different": 5}
RTOL = 1e-3  # the largest relative difference of a scalar for the verdict "numeric"
CHECKPOINTS = ("best_checkpoint", "last_checkpoint")  # whose weights are compared
SEEDS = 5  # the fewest other seeds for the verdict "statistical"
# 97.5% quantiles of Student's t for 4, 5, ... degrees of freedom
STUDENT = (
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
)


@dataclass(frozen=True)
class Verdict:
    """`word` is one of VERDICTS; `why` are sentences with the reasons."""

    word: str
    why: list[str] = field(default_factory=list)
    divergence: Divergence | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.word]


def judge(original: Run, again: Run, rtol: float = RTOL) -> Verdict:
    """Compares curves and weights; where they differ, compares the best value with those of other seeds.

    bitwise: every scalar and every weight has the same bits. numeric: both have the same scalars at the same steps,
    with relative differences of at most `rtol`. statistical: the best value lies in the 95% prediction interval of one
    more seed, by the other runs of its group. Raises UserError where the original cannot be read.
    """
    curves = divergence(original, again)
    weights = differing_weights(original, again)
    said = [str(curves)]
    said.append(
        f"{counted(weights)} differ{'s' * (len(weights) == 1)}"
        if weights
        else "the weights are the same, bit for bit"
    )
    if curves.bitwise and not weights:
        return Verdict("bitwise", said, curves)
    if curves.largest <= rtol and not curves.only:
        return Verdict("numeric", said, curves)
    inside, sentence = within_spread(original, again)
    return Verdict("statistical" if inside else "different", [*said, sentence], curves)


def look_through(original: Run) -> None:
    """Raises UserError where something of the original that `judge` compares cannot be read."""
    _ = original.metrics
    for path in (original.best_checkpoint, original.last_checkpoint):
        if path.exists() or path == original.best_checkpoint:
            weights(read_checkpoint(path), path)


def differing_weights(original: Run, again: Run, of: Sequence[str] = CHECKPOINTS) -> list[str]:
    """The names of tensors in the original's best.ckpt and last.ckpt that differ. last.ckpt may be missing."""
    found: list[str] = []
    for file in of:
        path = getattr(original, file)
        if not path.exists() and file == "last_checkpoint":
            continue
        ours, theirs = (
            weights(read_checkpoint(getattr(r, file)), getattr(r, file)) for r in (original, again)
        )
        for name in sorted(ours.keys() | theirs.keys()):
            same = name in ours and name in theirs and same_bits(ours[name], theirs[name])
            found += [] if same else [f"{path.stem}/{name}"]
    return found


def counted(tensors: list[str]) -> str:
    """The name of a single tensor (`last/head.bias`), or the number of tensors and the first name."""
    if len(tensors) <= 3:
        return " and ".join(tensors)
    return f"{len(tensors)} tensors, {', '.join(tensors[:2])} and others,"


def weights(checkpoint: Any, path: Any) -> dict[str, torch.Tensor]:
    found = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise UserError(f"{path}: holds no weights")
    return found


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(bits(a), bits(b))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor of any type: NumPy has no bfloat16."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def within_spread(original: Run, again: Run) -> tuple[bool, str]:
    """Whether the best value of `again` may come from one more seed, judged by the finished runs of other seeds.

    The 95% prediction interval of a normal distribution is used: mean +- t s sqrt(1 + 1/n).
    """
    ours, seeds = original.record, dict[Any, float]()  # by id: a copy of a folder is no other seed
    for run in runs(original.folder.parent):
        record = run.record
        if record.get("group") == ours.get("group") and record.get("status") in ENDED:
            seeds[record.get("id")] = run.objective
    seeds.pop(ours.get("id"), None)
    values = np.array([v for v in seeds.values() if math.isfinite(v)])
    if len(values) < SEEDS:
        beside = f"{len(values) or 'no'} other seed{'s' * (len(values) != 1)} beside the run"
        return False, f"{beside}; to judge by their spread takes at least {SEEDS}"
    n = len(values)
    t = STUDENT[n - SEEDS] if n - SEEDS < len(STUDENT) else 2.1
    half = t * values.std(ddof=1) * math.sqrt(1 + 1 / n)
    low, high = values.mean() - half, values.mean() + half
    value = again.objective
    inside = bool(low <= value <= high)
    return inside, (f"the best value {value:.6g} lies {'inside' if inside else 'outside'} {low:.6g} to {high:.6g}, "
                    f"the 95% prediction interval of the {n} other seeds; it was {original.objective:.6g}")  # fmt: skip
