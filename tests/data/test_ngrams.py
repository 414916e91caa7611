"""The n-grams against a brute-force definition with dictionaries."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from rnnlab.data.ngrams import NGram, repeated, windows


def brute(text: tuple[int, ...], history: tuple[int, ...], c: int, size: int) -> float:
    """p(c | history) straight from the definition, with as many orders as the history allows."""
    p = 1 / size
    for k in range(len(history) + 1):
        h = history[len(history) - k :]
        after = Counter(text[i + k] for i in range(len(text) - k) if text[i : i + k] == h)
        if after:
            p = (after[c] + len(after) * p) / (sum(after.values()) + len(after))
    return p


@pytest.fixture(scope="module")
def text() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.choice(4, size=150, p=[0.6, 0.25, 0.1, 0.05])  # of five characters, one is never seen


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_probability_is_that_of_the_definition_and_they_sum_to_one(text, order):
    size, model = 5, NGram(text, 5, order)
    stretches = np.array(list(itertools.product(range(size), repeat=order)))
    p = model.probability(windows(stretches, order, size)[:, 0], order)
    expected = [brute(tuple(text), tuple(s[:-1]), s[-1], size) for s in stretches.tolist()]
    np.testing.assert_allclose(p, expected, rtol=1e-12)
    np.testing.assert_allclose(p.reshape(-1, size).sum(axis=1), 1, rtol=1e-12)
    assert p.min() > 0


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("length", [2, 3, 4, 12])
def test_rows_are_scored_with_the_history_that_they_hold(text, order, length, monkeypatch):
    monkeypatch.setattr("rnnlab.data.ngrams.CHUNK", 7)  # several chunks, cut inside rows
    rows = np.random.default_rng(4).integers(0, 5, (3, length))
    expected = [
        -math.log(brute(tuple(text), tuple(row[max(0, i - order + 1) : i]), row[i], 5) if order else 1 / 5)
        for row in rows.tolist()
        for i in range(1, length)
    ]
    assert NGram(text, 5, 5).nats(rows, order) == pytest.approx(np.mean(expected), rel=1e-12)


def test_a_large_alphabet_lowers_the_order_until_the_numbers_fit():
    ids = np.array([60_000, 65_534, 65_535, 65_533] * 3)
    model = NGram(ids, 2**16)
    assert model.order == 3
    code = windows(np.array([[60_000, 65_534, 65_535]]), 3, 2**16)
    assert model.probability(code[0], 3)[0] == pytest.approx(
        brute(tuple(ids.tolist()), (60_000, 65_534), 65_535, 2**16), rel=1e-12
    )
    assert NGram(ids % 2, 1 << 12).order == 5


@pytest.mark.parametrize("chunk", [1 << 22, 50])
def test_what_a_text_repeats_is_counted_as_by_comparing_all_its_pieces(monkeypatch, chunk):
    monkeypatch.setattr("rnnlab.data.ngrams.CHUNK", chunk)
    rng = np.random.default_rng(5)
    known = rng.integers(0, 3, 700)
    known[:100] = 1  # a long run of one character
    for n in (0, 15, 16, 40, 64, 130, 500):
        for at in (0, 3, 333):
            text = rng.integers(0, 3, n)
            text[n // 3 : 2 * n // 3] = known[at : at + 2 * n // 3 - n // 3]
            length = next((size for size in (64, 32, 16) if size <= n), 0)
            pieces = [text[i : i + length] for i in range(0, n - length + 1, length)] if length else []
            held = [
                any((known[j : j + length] == piece).all() for j in range(701 - length)) for piece in pieces
            ]
            assert repeated(text, known) == (np.mean(held) if held else 0.0), (n, at)
    assert repeated(known, known) == repeated(known[37:301], known) == 1.0
