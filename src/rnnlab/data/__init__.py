"""Data sets in memory, each with its baselines and its floor."""

from rnnlab.data.chars import Chars, Segment
from rnnlab.data.tokens import Labelled, Tokens

__all__ = ["Chars", "Labelled", "Segment", "Tokens"]
