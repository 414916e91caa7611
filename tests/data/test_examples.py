"""The sequences that a data set gives to look at a model with, against its own loader's."""

from itertools import pairwise

import pytest
import torch

from rnnlab.data import Chars, Sine, Tokens
from rnnlab.data.module import spread


def test_windows_of_a_series():
    data = Sine(n_points=300, window=10, horizon=2)
    data.setup()
    x, y = data.examples("val", 1000)
    (own_x, own_y) = next(iter(data.loader("val")))
    assert torch.equal(x, own_x) and torch.equal(y, own_y)
    few, _ = data.examples("val", 5)
    assert torch.equal(few[0], own_x[0]) and torch.equal(few[-1], own_x[-1]) and len(few) == 5


def test_stretches_of_a_text(tmp_path):
    (tmp_path / "t.txt").write_text("".join(chr(97 + i % 23) for i in range(3000)))
    data = Chars(path=str(tmp_path / "t.txt"), segment=8, batch_size=4)
    data.setup()
    x, y = data.examples("train", 10_000)
    text = "".join(data.decode(row) + data.decode([after]) for row, after in zip(x, y, strict=True))
    assert x.shape[1] == 8 and len(text) == 9 * len(x)
    for piece in (text[:9], text[-9:]):
        assert all((ord(b) - ord(a)) % 23 == 1 for a, b in pairwise(piece))


def test_sequences_without_padding():
    data = Tokens(n_sequences=200, max_length=9, min_length=3)
    data.setup()
    x, y = data.examples("train", 1000)
    whole = data.part("train")
    longest = whole.lengths == 9
    assert torch.equal(x, whole.x[longest]) and torch.equal(y, whole.y[longest]) and (x != 0).all()


def test_sequences_of_a_part_without_the_longest_have_no_padding_either():
    data = Tokens(n_sequences=12, max_length=400, min_length=3)
    data.setup()
    part = data.part("val")
    assert part.lengths.max() < 400
    x, y = data.examples("val", 1000)
    assert x.shape == (1, part.lengths.max()) and len(y) == 1 and (x != 0).all()


def test_the_held_out_part_is_the_training_part_where_there_is_no_other():
    assert set_up(Sine(n_points=300)).held_out() == "val"
    assert set_up(Sine(n_points=300, fractions=(1.0, 0.0, 0.0))).held_out() == "train"


def set_up(data):
    data.setup()
    return data


@pytest.mark.parametrize(
    ("n", "expected"), [(1, [0]), (3, [0, 4, 9]), (10, list(range(10))), (99, list(range(10)))]
)
def test_rows_evenly_spread(n, expected):
    assert spread(torch.arange(10), n).tolist() == expected


def test_rows_of_more_than_single_precision_counts():
    rows = torch.arange(1).expand(2**24 + 4)  # one number in memory
    assert spread(rows, 3).tolist() == [0, 0, 0]


def test_a_source_knows_its_largest_batch(tmp_path):
    data = set_up(Sine(n_points=300, batch_size=32))
    loader = data.loader("train", shuffle=True)
    assert data.native_source("train").largest(loader.batches) == max(len(x) for x, _ in loader)
    assert data.native_source("train").largest([torch.zeros(2), torch.zeros(5), torch.zeros(3)]) == 5
    (tmp_path / "t.txt").write_text("abcdefg " * 400)
    text = set_up(Chars(path=str(tmp_path / "t.txt"), segment=8, batch_size=4))
    assert text.native_source("train").largest(text.loader("train").batches) == len(text.rows("train"))
