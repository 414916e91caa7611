"""What a batch holds, against slices of the series taken one by one."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch

from rnnlab.data import Series, Sine
from rnnlab.errors import UserError


@pytest.fixture
def two_targets(tmp_path):
    """Inputs b and a, targets a and c: one target is an input, one is not."""
    path = tmp_path / "abc.csv"
    table = np.random.default_rng(0).normal(size=(60, 3)) * (1, 10, 100) + (0, 5, -7)
    path.write_text("a,b,c\n" + "\n".join(",".join(map(repr, row.tolist())) for row in table))
    data = Series(
        path, ["a", "c"], columns=["b", "a"], window=5, horizon=3, batch_size=4, fractions=(0.5, 0.3, 0.2)
    )
    data.setup()
    return data, table


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_windows_are_slices_of_the_scaled_file(two_targets, split):
    data, table = two_targets
    first, behind = {"train": (0, 30), "val": (30 - 5, 48), "test": (48 - 5, 60)}[split]  # inputs reach back
    scaled = (table - table[:30].mean(0)) / table[:30].std(0)
    expected = [
        (scaled[s : s + 5, [1, 0]], scaled[s + 5 : s + 8, [0, 2]]) for s in range(first, behind - 5 - 3 + 1)
    ]
    x, y = map(torch.cat, zip(*data.loader(split), strict=True))
    assert x.dtype == y.dtype == torch.float32
    np.testing.assert_allclose(x, np.stack([x for x, _ in expected]), atol=1e-5)
    np.testing.assert_allclose(y, np.stack([y for _, y in expected]), atol=1e-5)


def test_the_public_tensors_give_the_same_windows(two_targets):
    data, _ = two_targets
    x, y = next(iter(data.loader("val")))
    for i, s in enumerate(data.starts("val").tolist()):
        assert torch.equal(x[i], data.series[s : s + 5, : data.inputs])
        assert torch.equal(y[i], data.series[s + 5 : s + 8, data.target_columns])


def test_spec_unscales_inputs_and_targets_and_values_are_raw(two_targets):
    data, table = two_targets
    spec = data.spec
    assert (spec["inputs"], spec["targets"], spec["target_index"]) == (2, 2, [1, None])
    x, y = next(iter(data.loader("test")))
    raw_x = x.numpy() * spec["input_scale"] + spec["input_shift"]
    raw_y = y.numpy() * spec["target_scale"] + spec["target_shift"]
    np.testing.assert_allclose(raw_x[0], table[43:48, [1, 0]], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(raw_y[0], table[48:51, [0, 2]], rtol=1e-5, atol=1e-4)
    times, values = data.values("test")
    np.testing.assert_array_equal(times, np.arange(48, 60))
    np.testing.assert_array_equal(values, table[48:][:, [1, 0, 2]])


@pytest.mark.parametrize("window", [2, 7, 25])
def test_the_targets_of_a_part_do_not_depend_on_the_window(tmp_path, window):
    path = tmp_path / "x.csv"
    path.write_text("x\n" + "\n".join(map(str, range(60))))
    data = Series(path, "x", window=window, horizon=3, fractions=(0.5, 0.3, 0.2), scaling="none")
    data.setup()
    forecast = {s: {int(v) for _, y in data.loader(s) for v in y.flatten()} for s in ("train", "val", "test")}
    assert forecast == {"train": {*range(window, 30)}, "val": {*range(30, 48)}, "test": {*range(48, 60)}}
    x, y = next(iter(data.loader("val")))
    assert x[0, :, 0].tolist() == list(range(30 - window, 30)) and y[0, :, 0].tolist() == [30, 31, 32]
    assert data.forecast_rows("val") == (30, 48) and data.forecast_rows("train") == (window, 30)
    apart = Series(path, "x", window=7, horizon=3, fractions=(0.5, 0.3, 0.2), scaling="none", split="rows")
    apart.setup()
    x, y = next(iter(apart.loader("val")))
    assert x[0, :, 0].tolist() == list(range(30, 37)) and y[0, 0, 0] == 37 and len(x) == 18 - 10 + 1
    assert apart.forecast_rows("val") == (37, 48)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_sines_inputs_may_reach_back_too(split):
    data = Sine(n_points=200, window=30, split="targets", fractions=(0.7, 0.2, 0.1))
    data.setup()
    first, behind = {"train": (30, 140), "val": (140, 180), "test": (180, 200)}[split]
    assert (data.starts(split) + 30).tolist() == list(range(first, behind))


def test_a_shuffled_epoch_holds_every_window_once_in_a_new_order():
    data = Sine(n_points=200, batch_size=32, seed=0)
    data.setup()
    loader, orders = data.loader("train", shuffle=True), []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = [x for x, _ in loader]
        assert [len(x) for x in batches] == [32, 32, 32, 24]
        orders.append(torch.cat(batches)[:, 0, 0])
    in_order = torch.cat([x for x, _ in data.loader("train")])[:, 0, 0]
    assert not torch.equal(orders[0], orders[1])
    for order in orders:
        assert torch.equal(order.sort().values, in_order.sort().values)


def test_batch_size_0_is_the_whole_training_part():
    data = Sine(batch_size=0)
    data.setup()
    ((x, y),) = data.train_dataloader()
    assert (x.shape, y.shape) == ((680, 20, 1), (680, 1, 1))


def test_batches_do_not_alias_the_series():
    data = Sine()
    data.setup()
    x, y = next(iter(data.loader("train")))
    before = data.series.clone()
    x.zero_(), y.zero_()
    assert torch.equal(data.series, before)


def test_the_hash_follows_what_models_see_alone():
    def content(**settings):
        data = Sine(n_points=300, **settings)
        data.setup()
        return data.content_hash

    assert content() == content(batch_size=7)
    others = [
        content(seed=1),
        content(noise_std=0.2),
        content(fractions=(0.6, 0.2, 0.2)),
        content(split="windows"),
    ]
    assert len({content(), *others}) == 5


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_hash_tells_apart_what_float32_does_not():
    """At 1e9 it has steps of 64, above 3.4e38 and below 1e-45 no numbers; scaled, models see them all."""
    sine = np.sin(np.arange(100) / 4)

    def content(values, **settings):
        frame = pd.DataFrame({"x": values, "y": values})
        data = Series(frame, "x", columns=["x", "y"], window=5, horizon=2, **settings)
        data.setup()
        return data.content_hash

    columns = [1e9 + 10 * sine, 1e9 + 3 * sine, 1e9 + 1 + 3 * sine, 1e9 + 3 * np.abs(sine)]
    columns += [1e50 * sine, 2e50 * sine, 1e50 * np.abs(sine), 1e-50 * sine, 2e-50 * sine]
    assert len({content(values) for values in columns}) == len(columns)
    assert content(columns[0], scaling="none") == content(columns[0]) != content(columns[1], scaling="none")


@pytest.mark.parametrize("curve", ["level + sine", "steep", "constant"])
def test_a_hash_of_what_float32_holds_stays_as_it_was(curve):
    sine = np.sin(np.arange(100) / 4)
    values = {"level + sine": 1000 + sine, "steep": 0.1 + 1e8 * sine, "constant": np.full(100, 0.1)}[curve]
    data = Series(pd.DataFrame({"x": values}), "x", window=5, horizon=2, scaling="none")
    data.setup()
    digest = hashlib.sha256(b"<f4(100, 1)" + data.frame.values.astype("<f4").tobytes())
    for split in ("train", "val", "test"):
        starts = data.starts(split).numpy().astype("<i8")
        digest.update(f"<i8{starts.shape}".encode() + starts.tobytes())
    assert data.content_hash == digest.hexdigest()


def test_a_part_too_short_for_a_window_is_refused_with_its_rows():
    with pytest.raises(
        UserError,
        match=r"20 \+ 1 = 21 rows, and of 100 rows the parts have training 70, validation 15, test 15",
    ):
        Sine(n_points=100).setup()


def test_an_empty_part_has_no_loader_and_no_scores():
    data = Sine(fractions=(0.8, 0.2, 0.0))
    data.setup()
    assert data.loader("test") is None
    assert data.baselines("test") == data.facts("test") == {}


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.6, -0.1), (0.5, 0.3, 0.3)])
def test_wrong_fractions_are_refused(fractions):
    with pytest.raises(UserError, match=r"data\.fractions=.*(must be three numbers|must sum to 1)"):
        Sine(fractions=fractions)
