"""Interpolated n-grams: they predict a character from counts of the last few characters."""

import numpy as np

CHUNK = 1 << 22  # windows scored at once


class NGram:
    """n-grams of orders 1 to `order`, each interpolated with the next lower one.

    The weights are Witten and Bell's (1991, "The zero-frequency problem"), in the interpolated form of Chen
    and Goodman (1998, "An empirical study of smoothing techniques for language modeling"):

        p_k(c | h) = (count(hc) + kinds(h) p_{k-1}(c | h')) / (total(h) + kinds(h)),    p_0(c) = 1 / size

    h are the k-1 characters before c, h' is h without its first character, total(h) is the number of characters that
    followed h in the counted text, and kinds(h) the number of different ones; for a new h, p_k = p_{k-1}. Every
    character has a probability above 0 after every history, and the probabilities add up to 1.

    A stretch of k characters is stored as one number in base `size`, whose lowest digit is the last character;
    `order` is lowered where these numbers would not fit into 63 bits.
    """

    def __init__(self, ids: np.ndarray, size: int, order: int = 5) -> None:
        while order > 1 and size**order >= 2**63:
            order -= 1
        self.size, self.order = size, order
        self._tables = [_Table(windows(ids[None], k, size), size) for k in range(1, order + 1)]

    def probability(self, codes: np.ndarray, order: int) -> np.ndarray:
        """p_order of the last character of each stretch of `order` characters; codes and result of any one shape."""
        p = np.full(codes.shape, 1 / self.size)
        for k, table in enumerate(self._tables[:order], start=1):
            gram = codes % self.size**k
            count = table.counts[table.grams.find(gram)]
            context = table.contexts.find(gram // self.size)
            total, kinds = table.totals[context], table.kinds[context]
            p = np.where(total > 0, (count + kinds * p) / np.maximum(total + kinds, 1), p)
        return p

    def nats(self, rows: np.ndarray, order: int) -> float:
        """The mean of -ln p over all characters of `rows` (B, L) except the first column.

        The history of a character is what precedes it in its own row: near the row's start, where there are fewer
        than order-1 characters before it, the highest possible order is used.
        """
        if order == 0:
            return float(np.log(self.size))
        total, (batch, length) = 0.0, rows.shape
        for k in range(2, min(order - 1, length) + 1):
            total += self._sum(rows[:, :k], k)
        first, width = (1 if order == 1 else 0), max(CHUNK // batch, 1)
        for start in range(first, length - order + 1, width):
            total += self._sum(rows[:, start : start + width + order - 1], order)
        return total / (batch * (length - 1))

    def _sum(self, rows: np.ndarray, order: int) -> float:
        # many stretches occur often in a text: look each different one up once
        codes, counts = np.unique(windows(rows, order, self.size), return_counts=True)
        return -float(counts @ np.log(self.probability(codes, order)))


def repeated(text: np.ndarray, known: np.ndarray, length: int = 64) -> float:
    """The share of a text that occurs in another one; `text` (N) and `known` (M) are ids of characters.

    `text` is cut into pieces of `length` ids, and each is looked for everywhere in `known`. A shorter text is cut into
    pieces of 32 or 16 ids; a text of fewer than 16 ids gives 0.
    """
    while length > len(text):
        length //= 2
    if length < 16:
        return 0.0
    step = max(CHUNK // length, 1) * length
    hashed = [_hashes(text[start : start + step], length)[::length] for start in range(0, len(text), step)]
    pieces, counts = np.unique(np.concatenate(hashed), return_counts=True)
    found = np.zeros(len(pieces), dtype=bool)
    bits = np.uint64((1 << 22) - 1)
    few = np.zeros(1 << 22, dtype=bool)  # of all hashes only those with such last bits are looked up
    few[pieces & bits] = True
    for start in range(0, len(known) - length + 1, CHUNK):
        hashes = _hashes(known[start : start + CHUNK + length - 1], length)
        hashes = hashes[few[hashes & bits]]
        place = np.minimum(np.searchsorted(pieces, hashes), len(pieces) - 1)
        found[place[pieces[place] == hashes]] = True
    return float(counts[found].sum() / counts.sum())


def _hashes(ids: np.ndarray, length: int) -> np.ndarray:
    """A hash of 64 bits of each stretch of `length` ids, a power of two: (N) -> (N-length+1)."""
    hashes = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    hashes ^= hashes >> np.uint64(29)
    width, factor = 1, np.uint64(0xD1342543DE82EF95)
    with np.errstate(over="ignore"):
        while width < length:  # of two halves to a whole
            hashes = hashes[:-width] * factor + hashes[width:]
            width, factor = 2 * width, factor * factor
    return hashes


def windows(rows: np.ndarray, order: int, size: int) -> np.ndarray:
    """Each stretch of `order` ids in each row as a number in base `size`, int64: rows (B, L) -> (B, L-order+1)."""
    last = rows.shape[1] - order + 1
    codes = np.zeros((rows.shape[0], max(last, 0)), dtype=np.int64)
    for i in range(order if last > 0 else 0):
        codes *= size
        codes += rows[:, i : i + last]
    return codes


class _Table:
    """Counts of one order; the last entry of each array is 0, for stretches that were never seen."""

    def __init__(self, codes: np.ndarray, size: int) -> None:
        grams, counts = np.unique(codes, return_counts=True)
        contexts, starts, kinds = np.unique(grams // size, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, starts) if len(starts) else counts
        self.grams, self.contexts = _Index(grams), _Index(contexts)
        self.counts, self.totals, self.kinds = np.append(counts, 0), np.append(totals, 0), np.append(kinds, 0)


class _Index:
    """Finds numbers in a sorted array of different numbers."""

    def __init__(self, keys: np.ndarray) -> None:
        self.keys = keys

    def find(self, codes: np.ndarray) -> np.ndarray:
        """The index of each code in `keys`; -1 for one that is not there."""
        if not len(self.keys):
            return np.full(codes.shape, -1)
        place = np.minimum(np.searchsorted(self.keys, codes), len(self.keys) - 1)
        return np.where(self.keys[place] == codes, place, -1)
