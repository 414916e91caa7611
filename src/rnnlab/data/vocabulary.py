"""`Vocabulary`: characters and their ids."""

from collections.abc import Sequence
from typing import Literal, cast, get_args

import numpy as np
import torch

from rnnlab.data.spec import TextSpec
from rnnlab.errors import UserError, nearest

Unknown = Literal["error", "skip", "replace"]
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
CHUNK = 1 << 22  # characters encoded at once, so that a long text needs no second copy of itself


class Vocabulary:
    """The characters that a model knows; a character's id is its place in `characters`.

    `unknown` is the rule for any other character: "error" raises UserError, "skip" leaves it out, "replace" gives
    it the last id, which decodes to U+FFFD. (A U+FFFD in the text itself has that id too.)
    """

    def __init__(self, characters: str, unknown: str = "error") -> None:
        if unknown not in get_args(Unknown):
            raise UserError(f"data.unknown={unknown}: no such rule.{nearest(unknown, get_args(Unknown))}")
        self.characters, self.unknown = characters, cast(Unknown, unknown)
        self._codes = _code_points(characters)
        # the entry above the highest code point stands for all higher code points
        self._ids = np.full(int(self._codes.max(initial=0)) + 2, -1, dtype=np.int64)
        self._ids[self._codes] = np.arange(len(characters))

    @classmethod
    def of(cls, text: str, unknown: str = "error") -> "Vocabulary":
        """The vocabulary of a text: its sorted characters, and U+FFFD as the last if `unknown` is "replace"."""
        characters = set(text)
        if unknown == "replace":
            return cls("".join(sorted(characters - {REPLACEMENT})) + REPLACEMENT, unknown)
        return cls("".join(sorted(characters)), unknown)

    @classmethod
    def from_spec(cls, spec: TextSpec) -> "Vocabulary":
        """The vocabulary that a run was trained with, from the `spec` of its data."""
        return cls(spec["vocabulary"], spec["unknown"])

    def __len__(self) -> int:
        return len(self.characters)

    def missing(self, text: str) -> str:
        """The sorted characters of `text` that have no id of their own."""
        return "".join(sorted(set(text) - set(self.characters)))

    def encode(self, text: str) -> torch.Tensor:
        """The ids (n,) int64 of a text's n characters (fewer where "skip" leaves some out).

        Raises UserError, which lists the unknown characters, if the rule is "error".
        """
        ids = np.empty(len(text), dtype=np.int64)
        for start in range(0, len(text), CHUNK):
            codes = _code_points(text[start : start + CHUNK])
            ids[start : start + len(codes)] = self._ids[np.minimum(codes, len(self._ids) - 1)]
        if ids.min(initial=0) < 0:
            if self.unknown == "error":
                raise UserError(
                    f"not in the model's vocabulary: {listed(self.missing(text))}."
                    f" Its {len(self)} characters: {self.characters!r}"
                )
            if self.unknown == "skip":
                ids = ids[ids >= 0]
            else:
                ids[ids < 0] = len(self) - 1
        return torch.from_numpy(ids)

    def decode(self, ids: torch.Tensor | np.ndarray | Sequence[int]) -> str:
        """The text for ids of any shape, read row by row."""
        if isinstance(ids, torch.Tensor):
            ids = ids.cpu().numpy()
        codes = self._codes[np.asarray(ids, dtype=np.int64).ravel()]
        return codes.tobytes().decode("utf-32-le", "surrogatepass")


def listed(characters: str, most: int = 12) -> str:
    """Characters for a message, with their code points: 'é' (U+00E9), ..."""
    shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in characters[:most])
    return shown + (f" and {len(characters) - most} more" if len(characters) > most else "")


def _code_points(text: str) -> np.ndarray:
    # "surrogatepass": some codecs accept a lone surrogate, which is then a character like any other
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
