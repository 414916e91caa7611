"""How well a run trained again agrees with the run as it was."""

import math
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
RTOL = 1e-3  # the largest relative difference of any scalar that is still called numeric
SEEDS = 5  # other seeds that a spread needs at least
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
    """`word` is one of VERDICTS; `why` are the sentences that it rests on."""

    word: str
    why: list[str] = field(default_factory=list)
    divergence: Divergence | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.word]


def judge(original: Run, again: Run, rtol: float = RTOL) -> Verdict:
    """Compares curves and weights; where they differ, the best value with that of the other seeds.

    bitwise: every scalar and every weight has the same bits. numeric: both have the same scalars at the same
    steps, none further apart than `rtol`, relatively. statistical: the best value lies where, by the others of its
    group, one more seed would with a chance of 95%. Raises UserError where the original cannot be read.
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


def differing_weights(original: Run, again: Run) -> list[str]:
    """Which tensors differ, of those in the original's best.ckpt and last.ckpt; the latter may be missing."""
    found: list[str] = []
    for file in ("best_checkpoint", "last_checkpoint"):
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
    """`last/head.bias`, or how many there are and the first of them."""
    if len(tensors) <= 3:
        return " and ".join(tensors)
    return f"{len(tensors)} tensors, {', '.join(tensors[:2])} and others,"


def weights(checkpoint: Any, path: Any) -> dict[str, torch.Tensor]:
    found = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise UserError(f"{path}: holds no weights")
    return found


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return (a.shape == b.shape and a.dtype == b.dtype
            and a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes())  # fmt: skip


def within_spread(original: Run, again: Run) -> tuple[bool, str]:
    """Whether the best value is what one more seed might give, by the finished runs that differ by their seed alone.

    By the 95% prediction interval of a normal distribution: mean +- t s sqrt(1 + 1/n).
    """
    group, seeds = original.record.get("group"), []
    for run in runs(original.folder.parent):
        record = run.record
        if record.get("group") == group and record.get("status") in ENDED and run.folder != original.folder:
            seeds.append(run.objective)
    values = np.array([v for v in seeds if math.isfinite(v)])
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
                    f"where 95% of seeds would by the {n} other ones; it was {original.objective:.6g}")  # fmt: skip
