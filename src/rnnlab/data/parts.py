"""How n things in a row become a training, a validation and a test part."""

from collections.abc import Sequence

from rnnlab.data.module import SPLITS, Split


def parts(n: int, fractions: Sequence[float]) -> dict[Split, slice]:
    """The stretch of each part, in order and without gaps; a fraction of 0 is an empty stretch."""
    shares = [float(f) for f in fractions]
    ends = [round(n * shares[0]), n if shares[2] == 0 else round(n * (shares[0] + shares[1])), n]
    return {split: slice(start, end) for split, start, end in zip(SPLITS, [0, *ends], ends, strict=False)}
