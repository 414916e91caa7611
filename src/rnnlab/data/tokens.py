"""`Tokens`: labelled token sequences with a known rule: the class is the kind of the last marker."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rnnlab import streams
from rnnlab.config import data_schema as schema
from rnnlab.config.arguments import check_arguments
from rnnlab.data.loader import Loader, in_order, shuffled
from rnnlab.data.module import NAMES, SequenceData, Split, spread
from rnnlab.data.parts import parts
from rnnlab.errors import UserError
from rnnlab.memory import check_memory

if TYPE_CHECKING:
    from rnnlab.native.sources import Source


class Labelled(NamedTuple):
    """x (B, T) int64, padded with 0 on the right; lengths (B,) and y (B,) int64."""

    x: torch.Tensor
    lengths: torch.Tensor
    y: torch.Tensor


class Tokens(SequenceData):
    """Synthetic sequences for classification; the keywords are described in conf/data/tokens.yaml.

    Token 0 is the padding, token 1 + kind * markers + i is marker i of a kind (0 to classes - 1), all others
    are filler. Lengths are uniform in [min_length, max_length]. Each position holds a marker with chance
    `marker_rate`, of uniform kind; a sequence without one gets one at a uniform position. The label is the
    kind of the last marker, or with chance `label_noise` one of the other classes.

    All sequences are padded to max_length, so that all batches have the same width. The constructor raises UserError
    where a part would be empty.
    """

    kind = "labelled"

    def __init__(
        self,
        n_sequences: int = 4000,
        vocab_size: int = 1000,
        min_length: int = 5,
        max_length: int = 40,
        classes: int = 2,
        markers: int = 20,
        marker_rate: float = 0.1,
        label_noise: float = 0.0,
        fractions: Sequence[float] = (0.8, 0.1, 0.1),
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        check_arguments(schema.TokensSchema, "data", locals())
        super().__init__()
        self.n_sequences, self.vocab_size, self.seed = n_sequences, vocab_size, seed
        self.min_length, self.max_length = min_length, max_length
        self.classes, self.markers, self.batch_size = classes, markers, batch_size
        self.marker_rate, self.label_noise, self.fractions = marker_rate, label_noise, fractions
        self._parts = parts(n_sequences, fractions)
        for (split, part), share in zip(self._parts.items(), fractions, strict=True):
            if share and part.start == part.stop:
                raise UserError(
                    f"data.n_sequences={n_sequences}: too few: the {NAMES[split]} part would be empty"
                )

    def with_spec(self, spec: Mapping[str, Any]) -> "Tokens":
        """Raises UserError where the model was trained with fewer tokens or with other classes."""
        for key, ours in {"classes": self.classes, "vocab_size": self.vocab_size}.items():
            if ours > spec[key] or (key == "classes" and ours != spec[key]):
                raise UserError(f"data.{key}={ours}: the model was trained with {spec[key]}")
        return self

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "spec"):
            return
        cells, counts = self.n_sequences * self.max_length, self.classes * self.vocab_size
        asked = f"data.n_sequences={self.n_sequences} of data.max_length={self.max_length}, {self.classes} classes"
        check_memory(8.0 * ((8 + self.classes) * cells + 4 * counts), asked)
        rng = streams.generator(self.seed, "data")
        n, width = self.n_sequences, self.max_length
        lengths = rng.integers(self.min_length, width + 1, n)
        inside = np.arange(width) < lengths[:, None]  # (n, width)
        marked = (rng.random((n, width)) < self.marker_rate) & inside
        spare = (rng.random(n) * lengths).astype(np.int64)
        bare = ~marked.any(axis=1)
        marked[bare, spare[bare]] = True
        kinds = rng.integers(0, self.classes, (n, width))
        marker = 1 + kinds * self.markers + rng.integers(0, self.markers, (n, width))
        filler = rng.integers(1 + self.classes * self.markers, self.vocab_size, (n, width))
        x = np.where(inside, np.where(marked, marker, filler), 0)
        last = width - 1 - marked[:, ::-1].argmax(axis=1)
        truth = kinds[np.arange(n), last]
        noisy = rng.random(n) < self.label_noise
        y = np.where(noisy, (truth + rng.integers(1, self.classes, n)) % self.classes, truth)
        self._noisy = noisy
        self._all = Labelled(torch.from_numpy(x), torch.from_numpy(lengths), torch.from_numpy(y))
        digest = hashlib.sha256(f"{[(p.start, p.stop) for p in self._parts.values()]}".encode())
        for array in (x, lengths, y):
            digest.update(array.astype("<i8").tobytes())
        self.content_hash = digest.hexdigest()
        self.spec = {
            "kind": self.kind,
            "vocab_size": self.vocab_size,
            "classes": self.classes,
            "max_length": self.max_length,
        }

    def part(self, split: Split) -> Labelled:
        """A whole part, as views."""
        return Labelled(*(tensor[self._parts[split]] for tensor in self._all))

    def loader(self, split: Split, shuffle: bool = False) -> Loader | None:
        """Batches are `Labelled`; `shuffle` draws each epoch's order from the "shuffle" stream."""
        x, lengths, y = self.part(split)
        if not len(y):
            return None
        order = shuffled(len(y), self.batch_size, self.seed) if shuffle else in_order(len(y), self.batch_size)
        return Loader(lambda i: Labelled(x[i], lengths[i], y[i]), order)

    def native_source(self, split: Split) -> "Source":
        from rnnlab.native.sources import Sequences

        return Sequences(*self.part(split))

    def examples(self, split: Split, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The longest sequences of a part, x (B, T) without padding, and their labels y (B,)."""
        x, lengths, y = self.part(split)
        longest = int(lengths.max()) if len(lengths) else 0
        whole = lengths == longest
        return spread(x[whole, :longest], rows), spread(y[whole], rows)

    def baselines(self, split: Split) -> dict[str, dict[str, float]]:
        """The majority class, and naive Bayes on the bag of tokens, each with 1 added to every count.

        cross_entropy is in nats. Naive Bayes assumes independent tokens; under this rule they are dependent, so its
        cross-entropy may exceed that of the majority class.
        """
        x, _, y = (tensor.numpy() for tensor in self.part(split))
        if not len(y):
            return {}
        seen, _, labels = (tensor.numpy() for tensor in self.part("train"))
        prior = np.log(np.bincount(labels, minlength=self.classes) + 1.0)
        counts = np.zeros((self.classes, self.vocab_size))
        np.add.at(counts, (labels[:, None], seen), 1)
        counts[:, 0] = 0  # the padding is no token
        likelihood = np.log((counts + 1) / (counts + 1)[:, 1:].sum(axis=1, keepdims=True))
        likelihood[:, 0] = 0
        bayes = prior + likelihood.T[x].sum(axis=1)  # (n, classes)
        return {"majority": _scores(np.tile(prior, (len(y), 1)), y), "naive Bayes": _scores(bayes, y)}

    def floor(self, split: Split) -> dict[str, float]:
        """The entropy of the label noise in nats, as cross_entropy, and the accuracy of a model that knows the rule; {}
        for a subclass that makes other sequences.
        """
        if not self._is_by_rule:
            return {}
        p, others = self.label_noise, self.classes - 1
        entropy = sum(q * math.log(k / q) for q, k in ((p, others), (1 - p, 1)) if q > 0)
        return {"cross_entropy": entropy, "accuracy": max(1 - p, p / others)}

    def facts(self, split: Split) -> dict[str, float]:
        """The number of sequences in the part, and the share of its labels that noise has replaced."""
        if not self._is_by_rule:
            return {"sequences": len(self.part(split).y)}
        noisy = self._noisy[self._parts[split]]
        return {"sequences": len(noisy)} | (
            {"realised_label_noise": float(noisy.mean())} if len(noisy) else {}
        )

    @property
    def _is_by_rule(self) -> bool:
        return type(self).setup is Tokens.setup and type(self).part is Tokens.part


def _scores(logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return {
        "cross_entropy": -float(log_p[np.arange(len(y)), y].mean()),
        "accuracy": float((logits.argmax(axis=1) == y).mean()),
    }
