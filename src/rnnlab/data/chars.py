"""`Chars`: one text for a character language model, in rows of consecutive segments."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rnnlab.config import data_schema as schema
from rnnlab.config.arguments import check_arguments
from rnnlab.config.data_schema import ALL_TEST
from rnnlab.data import corpora
from rnnlab.data.loader import Loader
from rnnlab.data.module import NAMES, SPLITS, SequenceData, Split, spread
from rnnlab.data.ngrams import NGram, repeated
from rnnlab.data.parts import parts
from rnnlab.data.textfile import read_texts
from rnnlab.data.vocabulary import Vocabulary, listed
from rnnlab.errors import UserError, counted
from rnnlab.memory import check_memory

if TYPE_CHECKING:
    from rnnlab.native.sources import Source

COUNTED = 5_000_000  # the n-grams count at most so many characters, from the end of the training part


NUMBERS = 18  # bytes of memory per character while a text is turned into ids


class Segment(NamedTuple):
    """A segment of every row: x and y (B, T) int64, y one character later; `first`: whether the rows begin here."""

    x: torch.Tensor
    y: torch.Tensor
    first: bool


class Chars(SequenceData):
    """A text for a character language model; the keywords are described in conf/data/chars.yaml.

    A part is laid out as `batch_size` rows; each is a contiguous stretch of the text and starts where the row above
    ends. In training, rows consist of whole segments: fewer than batch_size * segment characters at the end of the
    part are left out. In validation and test the last segment may be shorter, and a short part gets fewer rows (but
    at least one). There, fewer than batch_size characters at the end are left out; all others, except the very
    first, are scored once.

    With split="rows" the whole text is laid out as `batch_size` rows of whole segments, and the segments of each row
    go to the parts in order, as in char-rnn (Karpathy 2015). Validation and test then lie between stretches that are
    trained on, and their loss is lower than that of a separate stretch of text.
    """

    kind = "text"

    def __init__(
        self,
        corpus: str = corpora.EMBEDDED,
        path: str | Path | Sequence[str | Path] | None = None,
        val_path: str | Path | Sequence[str | Path] | None = None,
        folder: str = "data",
        fractions: Sequence[float] = (0.9, 0.05, 0.05),
        segment: int = 50,
        batch_size: int = 50,
        unknown: str = "skip",
        split: str = "text",
        limit: int | None = None,
        encoding: str = "utf-8",
    ) -> None:
        check_arguments(schema.CharsSchema, "data", locals(), aside=("corpus", "path", "val_path"))
        corpora.check(corpus)
        super().__init__()
        self.corpus, self.path, self.folder, self.encoding = corpus, path, Path(folder), encoding
        self.val_path = val_path if fractions[0] else None  # a text that is all test has no validation part
        self.remarks: list[str] = []
        self._replaced = False  # whether a part has unknown characters, which are replaced
        self.fractions, self.unknown, self.limit = fractions, unknown, limit
        self.segment, self.batch_size, self.split = segment, batch_size, split
        self.vocabulary: Vocabulary | None = None
        self._baselines: dict[Split, dict[str, dict[str, float]]] = {}
        self._sources: dict[Split, Source] = {}
        self._ngram: NGram | None = None
        self._counted = 0
        self._trained = False  # whether the vocabulary is that of a trained model
        self._replaceable = True  # whether the vocabulary may hold a character for unknown ones

    def with_spec(self, spec: Mapping[str, Any]) -> "Chars":
        """Before `setup()`: takes the vocabulary of a trained run, so that the run can be scored on a new text.

        Raises UserError where `unknown` is "replace" and the run's vocabulary has no id for unknown characters.
        """
        if self.unknown == "replace" != spec["unknown"]:
            raise UserError("data.unknown=replace: this model was not trained with it; use skip or error")
        self.vocabulary, self._trained = Vocabulary(spec["vocabulary"], self.unknown), True
        self._replaceable = spec["unknown"] == "replace"
        return self

    def prepare_data(self) -> None:
        if self.path is None:
            corpora.fetch(self.corpus, self.folder)

    def setup(self, stage: str | None = None) -> None:
        """Raises UserError for a text that cannot be downloaded or read, or that is too short for its parts."""
        if hasattr(self, "spec"):
            return
        text = read_texts(self.path, self.encoding) if self.path else corpora.read(self.corpus, self.folder)
        text = text[: self.limit]
        check_memory(NUMBERS * len(text), f"a text of {len(text):,} characters")
        cut = self._by_rows(text) if self.split == "rows" else self._by_text(text)
        self._check_lengths()
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
        digest.update(cut.encode())
        if self._replaced:  # left out otherwise
            digest.update(b"|replaced")
        self.content_hash = digest.hexdigest()
        vocabulary = self.vocabulary
        assert vocabulary is not None
        self.spec = {
            "kind": self.kind,
            "vocabulary": vocabulary.characters,
            "vocabulary_size": len(vocabulary),
            "unknown": vocabulary.unknown,
        }

    def _by_text(self, text: str) -> str:
        """Cuts the text into parts; returns the places of the cuts as text, for the content hash."""
        places = parts(len(text), self.fractions)
        texts = {split: text[place] for split, place in places.items()}
        cut = f"|{places['train'].stop}|{places['val'].stop}"
        if self.val_path:
            held_out = read_texts(self.val_path, self.encoding, "data.val_path")
            texts |= {"train": texts["train"] + texts["val"], "val": held_out}
            cut += "|" + hashlib.sha256(texts["val"].encode("utf-8", "surrogatepass")).hexdigest()
        self.vocabulary = self.vocabulary or Vocabulary.of(texts["train"], self.unknown)
        self._ids = {split: self._encoded(texts[split], NAMES[split]) for split in SPLITS}
        self._rows: dict[Split, torch.Tensor] = {}
        return cut

    def _by_rows(self, text: str) -> str:
        """Lays the text out as rows and cuts each row into parts; returns the places of the cuts as text."""
        if len(text) <= self.batch_size * self.segment:
            raise UserError(
                f"the text is too short: it has {len(text):,} characters, and data.batch_size x data.segment + 1 ="
                f" {self.batch_size * self.segment + 1:,} are needed"
            )
        if self.vocabulary is None:
            segments, length = self._laid(len(text))
            seen = parts(segments, self.fractions)["train"].stop * self.segment + 1
            starts = range(0, self.batch_size * length, max(length, 1))
            self.vocabulary = Vocabulary.of("".join(text[i : i + seen] for i in starts), self.unknown)
        ids = self._encoded(text, "validation or test")
        segments, length = self._laid(len(ids))
        places = parts(segments, self.fractions)
        rows = ids[: self.batch_size * length + 1].unfold(0, length + 1, max(length, 1))
        self._rows = {
            split: rows[:, place.start * self.segment : place.stop * self.segment + 1]
            for split, place in places.items()
        }
        none = ids[:0]
        self._ids = {s: r[:, :-1].reshape(-1) if r.shape[1] > 1 else none for s, r in self._rows.items()}
        return f"|rows of {length}|{places['train'].stop}|{places['val'].stop}"

    def _laid(self, characters: int) -> tuple[int, int]:
        """The segments and the characters of a row, when `characters` are laid out as rows of whole segments."""
        segments = max(characters - 1, 0) // (self.batch_size * self.segment)
        return segments, segments * self.segment

    def encode(self, text: str) -> torch.Tensor:
        """See `Vocabulary.encode`."""
        assert self.vocabulary is not None, "setup() comes first"
        return self.vocabulary.encode(text)

    def decode(self, ids: torch.Tensor | np.ndarray | Sequence[int]) -> str:
        """See `Vocabulary.decode`."""
        assert self.vocabulary is not None, "setup() comes first"
        return self.vocabulary.decode(ids)

    def rows(self, split: Split) -> torch.Tensor:
        """The part as rows (B, L+1) int64, a view: x is all columns but the last, y all but the first."""
        if self.split == "rows":
            return self._rows[split]
        ids = self._ids[split]
        batch = min(self.batch_size, max((len(ids) - 1) // self.segment, 1))
        length = (len(ids) - 1) // batch
        if split == "train":
            length -= length % self.segment
        return ids[: batch * length + 1].unfold(0, length + 1, length)

    def loader(self, split: Split, shuffle: bool = False) -> Loader | None:
        """Batches are `Segment`s, views of one tensor, in the order of the text; `shuffle` has no effect."""
        if not len(self._ids[split]):
            return None
        rows, step = self.rows(split), self.segment
        length = rows.shape[1] - 1

        def fetch(i: int) -> Segment:
            start, stop = i * step, min((i + 1) * step, length)
            return Segment(rows[:, start:stop], rows[:, start + 1 : stop + 1], i == 0)

        order = range(math.ceil(length / step))
        return Loader(fetch, lambda epoch: order)

    def native_source(self, split: Split) -> "Source":
        from rnnlab.native.sources import Characters

        if split not in self._sources:  # kept: making it reads every character
            rows = self.rows(split)
            self._sources[split] = Characters(rows[:, :-1], rows[:, 1:], self.segment)
        return self._sources[split]

    def examples(self, split: Split, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Stretches x (B, segment) of the text, and the character (B,) that follows each."""
        text = self.rows(split)
        length = min(self.segment, text.shape[1] - 1)
        pieces = spread(text.unfold(1, length + 1, max(1, length // 2)).flatten(0, 1), rows)
        return pieces[:, :-1], pieces[:, -1]

    def baselines(self, split: Split) -> dict[str, dict[str, float]]:
        """Uniform, unigram, bigram and n-gram (see `NGram`): nats and bits per character, and perplexity.

        They count the last `COUNTED` characters of the training part. They are scored on exactly the characters on
        which a model is scored, and see of each only what a model can see: the characters before it in its row.
        """
        if split not in self._baselines and len(self._ids[split]):
            if self._ngram is None:
                self.count(self)
            assert self._ngram is not None
            most = self._ngram.order if self._counted else 0
            orders = {"uniform": 0, "unigram": 1, "bigram": 2, f"{most}-gram": most}
            rows = self.rows(split).numpy()
            self._baselines[split] = {
                name: {"nats": (nats := self._ngram.nats(rows, order)), "bits": nats / math.log(2)}
                | {"perplexity": math.exp(nats)}
                for name, order in orders.items()
                if order <= most and (order or name == "uniform")
            }
        return self._baselines.get(split, {})

    def count(self, other: "Chars") -> None:
        """Lets the n-grams count the training part of `other`, which was set up with the same vocabulary.

        For a trained model on a new text: the baselines then know the text that the model was trained on.
        """
        ids = other._ids["train"][-COUNTED:].numpy()
        self._ngram, self._counted = NGram(ids, self.spec["vocabulary_size"]), len(ids)
        self._baselines.clear()

    def known_to(self, other: "Chars", split: Split) -> float:
        """The share of a part, in pieces of up to 64 characters, that occurs in the training part of `other`, which was
        set up with the same vocabulary.
        """
        return repeated(self._ids[split].numpy(), other._ids["train"].numpy())

    def facts(self, split: Split) -> dict[str, float]:
        """Characters of the part, how many of them are scored, and the size of the vocabulary."""
        n = len(self._ids[split])
        scored = self.rows(split)[:, 1:].numel() if n else 0
        return {"characters": n, "scored": scored, "vocabulary": self.spec["vocabulary_size"]}

    def _encoded(self, text: str, part: str) -> torch.Tensor:
        """The ids of a part; adds a remark where the vocabulary lacks some of its characters."""
        assert self.vocabulary is not None
        what = "the text" if self._whole else f"the {part} part"
        ids = _encode(text, self.vocabulary, what, self._trained, self._replaceable)
        if self.unknown != "error" and (missing := set(self.vocabulary.missing(text))):
            n = (
                len(text) - len(ids)
                if self.unknown == "skip"
                else int((ids == len(self.vocabulary) - 1).sum())
            )
            self._replaced = self._replaced or self.unknown == "replace"
            done = "left out" if self.unknown == "skip" else "read as one unknown character"
            self.remarks.append(
                f"{what}: {n:,} of {len(text):,} characters {done}, as training has none like them: "
                f"{listed(''.join(sorted(missing)))}"
            )
        return ids

    @property
    def _whole(self) -> bool:
        """Whether all of the text is one part, as of a new text for a trained model."""
        return list(self.fractions) == ALL_TEST

    def _check_lengths(self) -> None:
        needed = {split: 2 if share else 0 for split, share in zip(SPLITS, self.fractions, strict=True)}
        if self.fractions[0]:
            needed["train"] = self.batch_size * self.segment + (self.split == "text")
        if self.val_path:
            needed["val"] = 2
        if any(len(self._ids[split]) < needed[split] for split in SPLITS):
            if self._whole:
                raise UserError(
                    f"the text is too short: it has {counted(len(self._ids['test']), 'character')}, and needs 2"
                )
            have = ", ".join(f"{NAMES[split]} {len(self._ids[split]):,}" for split in SPLITS)
            need = ", ".join(f"{NAMES[split]} {needed[split]:,}" for split in SPLITS)
            raise UserError(
                f"the text is too short: its parts have {have} characters and need {need}"
                f" (training: data.batch_size x data.segment{' + 1' * (self.split == 'text')})"
            )


def _encode(text: str, vocabulary: Vocabulary, what: str, trained: bool, replaceable: bool) -> torch.Tensor:
    """The ids of a text; `what` names it, as in "the test part".

    `trained`: the vocabulary is that of a trained model; `replaceable`: it may hold a character for unknown ones.
    """
    try:
        return vocabulary.encode(text)
    except UserError:
        whose = "the model's vocabulary" if trained else "the training vocabulary"
        or_one = ", data.unknown=replace reads them as one unknown character" * replaceable
        raise UserError(
            f"{what} has characters outside {whose}: {listed(vocabulary.missing(text))}. data.unknown=skip "
            f"leaves them out{or_one}"
        ) from None
