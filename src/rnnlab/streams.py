"""A run's streams: named, counter-based sources of random numbers.

One integer seed gives every stream. A stream's key comes from the seed and the stream's name, its counter
from the step or the epoch, so there is nothing to save or restore and no order of calls to preserve. The
global generators of Python, NumPy and torch are neither read nor written here; for a user's own code, the stream
"user" seeds them (runs/generators.py).

The bits are Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

import hashlib

import numpy as np

STREAMS = (
    *("init", "data", "shuffle", "sample", "user"),
    *("dropout", "input_dropout", "recurrent_dropout", "zoneout"),
)


def key(seed: int, stream: str) -> np.ndarray:
    """The 128-bit Philox key of a stream, as two uint64.

    Raises ValueError for a stream that is not one of `STREAMS`.
    """
    if stream not in STREAMS:
        raise ValueError(f"{stream!r} is no stream; the streams are {', '.join(STREAMS)}")
    digest = hashlib.sha256(f"{seed}:{stream}".encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)


def philox(seed: int, stream: str, *counter: int) -> np.random.Philox:
    """The bit generator of a stream at a place; `counter` holds up to two numbers, such as (step, layer).

    They take the two high words of the 256-bit counter; the low ones count the blocks drawn there.
    """
    high = (*counter, 0, 0)[:2]
    return np.random.Philox(key=key(seed, stream), counter=np.array([0, 0, *high], dtype=np.uint64))


def generator(seed: int, stream: str, *counter: int) -> np.random.Generator:
    """A NumPy generator over `philox(seed, stream, *counter)`."""
    return np.random.Generator(philox(seed, stream, *counter))


def words(seed: int, stream: str, shape: tuple[int, ...], *counter: int, row: int = 0) -> np.ndarray:
    """The first 16-bit words of a stream at a place, uint16 in C order; with `row`, those from that row on."""
    n = int(np.prod(shape))
    before = row * int(np.prod(shape[1:]))
    raw = philox(seed, stream, *counter).random_raw((before + n + 3) // 4)
    return raw.astype("<u8").view("<u2")[before : before + n].reshape(shape)


def threshold(p: float) -> int:
    """The number below which a share `p` of all 16-bit words lies: an integer, so that all engines draw the same."""
    return round(p * 65536)


def keep_mask(
    seed: int, p: float, shape: tuple[int, ...], *counter: int, stream: str = "dropout", row: int = 0
) -> np.ndarray:
    """A dropout mask, float32: 0 with chance `p`, where a word is below the threshold, else 1 / (1 - p)."""
    dropped = words(seed, stream, shape, *counter, row=row) < threshold(p)
    return np.where(dropped, np.float32(0), np.float32(1 / (1 - p)))
