"""How n things in a row become a training, a validation and a test part."""

import math
from collections.abc import Sequence

from rnnlab.data.module import SPLITS, Split
from rnnlab.errors import UserError


def parts(n: int, fractions: Sequence[float]) -> dict[Split, slice]:
    """The stretch of each part, in order and without gaps; a fraction of 0 is an empty stretch.

    Raises UserError unless `fractions` are three shares of one whole, of which the first is not 0;
    except that all may be a test part, for a model that is trained already.
    """
    shares = [float(f) for f in fractions]
    proper = len(shares) == 3 and min(shares) >= 0 and (shares[0] > 0 or shares[2] == 1)
    if not proper or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise UserError(
            f"data.fractions={shares}: give three shares (training, validation, test) that add up to 1;"
            " the first must be above 0"
        )
    ends = [round(n * shares[0]), n if shares[2] == 0 else round(n * (shares[0] + shares[1])), n]
    return {split: slice(start, end) for split, start, end in zip(SPLITS, [0, *ends], ends, strict=False)}
