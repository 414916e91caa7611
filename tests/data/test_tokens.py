import math

import numpy as np
import pytest
import torch

from rnnlab.data.tokens import Labelled, Tokens
from rnnlab.errors import UserError


def ready(**options) -> Tokens:
    data = Tokens(**options)
    data.setup()
    return data


def everything(data: Tokens) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [data.part(split) for split in ("train", "val", "test")]
    x, lengths, y = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return x, lengths, y


def last_kind(row: np.ndarray, classes: int, markers: int) -> int:
    return [(t - 1) // markers for t in row if 1 <= t <= classes * markers][-1]


def test_the_label_is_the_kind_of_the_last_marker():
    x, lengths, y = everything(ready(n_sequences=500, classes=3, markers=4, vocab_size=30, seed=7))
    assert all(last_kind(row, 3, 4) == label for row, label in zip(x, y, strict=True))
    for row, n in zip(x, lengths, strict=True):
        assert (row[:n] > 0).all()
        assert (row[n:] == 0).all()


def test_lengths_markers_and_labels_have_the_distribution_asked_for():
    x, lengths, y = everything(
        ready(n_sequences=20_000, marker_rate=0.3, min_length=10, max_length=19, seed=1)
    )
    assert np.bincount(lengths, minlength=20)[10:] == pytest.approx(2000, abs=5 * math.sqrt(2000 * 0.9))
    tokens = np.bincount(x[x > 0], minlength=1000)
    total = tokens.sum()
    assert tokens[1:41].sum() / total == pytest.approx(0.3, abs=0.01)  # and a hair for the one that must be
    assert tokens[1:41].min() > 0.8 * 0.3 * total / 40
    assert tokens[41:].min() > 0.5 * 0.7 * total / 959
    assert y.mean() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(20_000))


def test_a_rate_of_zero_still_gives_one_marker_anywhere_in_the_sequence():
    x, lengths, _ = everything(ready(n_sequences=4000, marker_rate=0.0, min_length=1, max_length=5))
    marked = (x >= 1) & (x <= 40)
    assert (marked.sum(axis=1) == 1).all()
    assert marked[lengths == 5].mean(axis=0) == pytest.approx(0.2, abs=0.08)


def test_a_rate_of_one_gives_markers_only():
    x, _, _ = everything(ready(n_sequences=100, marker_rate=1.0))
    assert x.max() <= 40


def test_noise_replaces_labels_by_other_classes_and_is_told():
    data = ready(n_sequences=10_000, classes=4, markers=5, label_noise=0.3, seed=2)
    x, _, y = everything(data)
    truth = np.array([last_kind(row, 4, 5) for row in x])
    wrong = y != truth
    assert wrong.mean() == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / 10_000))
    assert np.bincount((y - truth)[wrong] % 4, minlength=4)[1:] / wrong.sum() == pytest.approx(
        1 / 3, abs=0.05
    )
    assert data.facts("test") == {"sequences": 1000, "realised_label_noise": wrong[9000:].mean()}


def test_the_floor_is_what_one_who_knows_the_rule_reaches():
    data = ready(n_sequences=40_000, classes=3, markers=5, label_noise=0.2, fractions=[1, 0, 0])
    x, _, y = everything(data)
    truth = np.array([last_kind(row, 3, 5) for row in x])
    p = np.where(y == truth, 0.8, 0.1)
    floor = data.floor("train")
    assert floor["cross_entropy"] == pytest.approx(-np.log(p).mean(), abs=0.02)
    assert floor["accuracy"] == pytest.approx((y == truth).mean(), abs=0.01)
    assert ready(n_sequences=10, fractions=[1, 0, 0]).floor("train") == {"cross_entropy": 0, "accuracy": 1}
    # when every label is wrong, one of two classes is still certain
    assert Tokens(label_noise=1.0).floor("val") == {"cross_entropy": 0, "accuracy": 1}


def test_baselines_against_a_loop_over_tokens():
    data = ready(n_sequences=300, classes=3, markers=3, vocab_size=20, max_length=8, label_noise=0.1)
    train, test = data.part("train"), data.part("test")
    counts = [[1.0] * 20 for _ in range(3)]
    labels = [1.0] * 3
    for row, n, label in zip(*(t.tolist() for t in train), strict=True):
        labels[label] += 1
        for token in row[:n]:
            counts[label][token] += 1
    scores = {"majority": [], "naive Bayes": []}
    for row, n, label in zip(*(t.tolist() for t in test), strict=True):
        prior = [c / sum(labels) for c in labels]
        likelihood = [math.prod(c[t] / sum(c[1:]) for t in row[:n]) for c in counts]
        joint = [p * q for p, q in zip(prior, likelihood, strict=True)]
        for name, p in {"majority": prior, "naive Bayes": [j / sum(joint) for j in joint]}.items():
            scores[name].append((-math.log(p[label]), p.index(max(p)) == label))
    for name, found in data.baselines("test").items():
        cross_entropy, accuracy = np.mean(scores[name], axis=0)
        assert found == pytest.approx({"cross_entropy": cross_entropy, "accuracy": accuracy}, rel=1e-9)
    assert data.baselines("test")["naive Bayes"]["accuracy"] > data.baselines("test")["majority"]["accuracy"]


def test_batches_hold_every_sequence_once_in_an_order_of_the_epoch():
    data = ready(n_sequences=100, batch_size=32)
    loader = data.train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        epochs.append(list(loader))
    assert [len(b.y) for b in epochs[0]] == [32, 32, 16]
    x = [torch.cat([b.x for b in batches]) for batches in epochs]
    assert torch.equal(x[0], x[2])
    assert not torch.equal(x[0], x[1])
    assert sorted(x[0].tolist()) == sorted(x[1].tolist()) == sorted(data.part("train").x.tolist())
    batch = epochs[1][0]
    assert isinstance(batch, Labelled)
    assert all(t.dtype == torch.int64 for t in batch)
    assert batch.x.shape == (32, 40)
    assert ((batch.x > 0).sum(1) == batch.lengths).all()
    assert torch.equal(torch.cat([b.x for b in data.val_dataloader()]), data.part("val").x)
    assert [len(b.y) for b in ready(batch_size=0).train_dataloader()] == [3200]


def test_an_empty_test_part_has_no_loader():
    data = ready(n_sequences=100, fractions=[0.9, 0.1, 0])
    assert data.loader("test") is None
    assert data.baselines("test") == {}
    assert data.facts("test") == {"sequences": 0}


def test_a_seed_decides_everything_and_the_global_generators_nothing():
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = ready(seed=0)
    np.random.seed(2)
    assert ready(seed=0).content_hash == first.content_hash != ready(seed=1).content_hash
    assert ready(seed=0, fractions=[0.7, 0.2, 0.1]).content_hash != first.content_hash
    np.random.seed(1)
    ready(seed=0, batch_size=7)
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])
    assert first.spec == {"kind": "labelled", "vocab_size": 1000, "classes": 2, "max_length": 40}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 41}, "data.vocab_size=41: .* need at least 42"),
        ({"min_length": 41}, "data.min_length=41: is more than data.max_length=40"),
        ({"min_length": 0}, "data.min_length=0"),
        ({"classes": 1}, "data.classes=1: must be a whole number of at least 2"),
        ({"markers": 0}, "data.markers=0"),
        ({"marker_rate": 1.1}, "data.marker_rate=1.1"),
        ({"label_noise": -0.1}, "data.label_noise=-0.1"),
        ({"label_noise": 1.01}, "data.label_noise=1.01"),
        ({"batch_size": -1}, "data.batch_size=-1"),
        ({"n_sequences": 0}, "data.n_sequences=0"),
        ({"n_sequences": 3}, "the test part would be empty"),
        ({"fractions": [0.5, 0.6, 0]}, "data.fractions"),
    ],
)
def test_impossible_values_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Tokens(**options)


class Relabelled(Tokens):
    """Other labels than the floor is computed for."""

    def setup(self, stage=None):
        super().setup(stage)
        self._all.y.zero_()


def test_a_subclass_that_makes_other_sequences_has_not_the_floor_of_the_rule():
    data = Relabelled(n_sequences=200)
    data.setup()
    assert data.floor("val") == {} and data.facts("val") == {"sequences": 20}
    assert ready(n_sequences=200).floor("val")
