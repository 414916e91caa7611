"""Cuts n items in a row into a training, a validation and a test part."""

from collections.abc import Sequence

from rnnlab.data.module import SPLITS, Split


def parts(n: int, fractions: Sequence[float], origin: int = 0) -> dict[Split, slice]:
    """The slice of each part, in order and without gaps; a fraction of 0 gives an empty slice.

    With an `origin` of k, the last k test parts are left out: the test part ends where that of origin k-1 begins.
    Validation and test part keep their lengths, and the training part is all that comes before them.
    """
    shares = [float(f) for f in fractions]
    ends = [round(n * shares[0]), n if shares[2] == 0 else round(n * (shares[0] + shares[1])), n]
    left_out = origin * (ends[2] - ends[1]) if shares[0] else 0
    ends = [max(0, end - left_out) for end in ends]
    return {split: slice(start, end) for split, start, end in zip(SPLITS, [0, *ends], ends, strict=False)}
