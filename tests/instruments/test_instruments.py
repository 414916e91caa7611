"""Instruments measure what they say, and change nothing of a training."""

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.overrides import TorchFunctionMode

from rnnlab.cells import GRU, LSTM, Gate
from rnnlab.data import Chars, Series, Sine
from rnnlab.errors import UserError
from rnnlab.instruments.horizon import free_runs
from rnnlab.instruments.probe import looking, probe, trace
from rnnlab.instruments.spectrum import candidate
from rnnlab.instruments.states import States, dead, saturation
from rnnlab.instruments.through_time import Memory, ablated, gradient_norms, lag, reach
from rnnlab.instruments.writing import Writing
from rnnlab.tasks import CharLM, Forecaster
from rnnlab.tasks.distribution import t_quantiles
from rnnlab.tasks.rollout import free_run


@pytest.fixture(scope="module")
def sine():
    data = Sine(n_points=300, noise_std=0.1)
    data.setup()
    return data


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog.\n" * 200)
    data = Chars(path=str(path), segment=20, batch_size=4)
    data.setup()
    return data


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_the_probe_gives_the_tasks_own_loss(sine, text, cell):
    task = Forecaster(sine.spec, cell=cell, hidden_size=6, num_layers=2, engine="torch", subtract_last=True)
    with looking(task):
        seen = probe(task, sine)
        starts = sine.starts("val")
        picked = starts[torch.linspace(0, len(starts) - 1, 64).long()] if len(starts) > 64 else starts
        x = torch.stack([sine.series[s : s + sine.window, :1] for s in picked])
        y = torch.stack([sine.series[s + sine.window : s + sine.window + 1, :1] for s in picked])
        torch.testing.assert_close(task.end_loss(trace(task, seen.x).y, seen), task.loss((x, y)))
    model = CharLM(text.spec, cell=cell, hidden_size=6, engine="torch")
    with looking(model):
        seen = probe(model, text)
        logits, _ = model(seen.x)
        own = torch.nn.functional.cross_entropy(logits[:, -1], seen.y)
        torch.testing.assert_close(model.end_loss(trace(model, seen.x).y, seen), own)


def test_the_gradient_through_time_is_the_one_of_finite_differences(sine):
    task = Forecaster(sine.spec, cell="elman", hidden_size=3, engine="torch").double()
    task.scale = task.scale.double()
    with looking(task):
        seen = probe(task, sine, rows=5)
        seen = seen._replace(x=seen.x.double(), y=seen.y.double())
        norms = gradient_norms(task, seen)
        cell, t, eps = task.stack.layers[0], 12, 1e-6
        u = cell.project(seen.x)

        def loss(shift):
            h = torch.zeros(5, 3, dtype=torch.float64)
            for s in range(u.shape[1]):
                h, _ = cell.step(u[:, s], (h,))
                h = h + shift if s == t else h
            return float(task.end_loss(h[:, None], seen))

        gradient = []
        for i in range(15):
            shift = torch.zeros(15, dtype=torch.float64)
            shift[i] = eps
            shift = shift.view(5, 3)
            gradient.append((loss(shift) - loss(-shift)) / (2 * eps))
    assert norms[t] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
    assert all(p.grad is None for p in task.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_looking_leaves_the_mode_as_it_was(sine, training):
    task = Forecaster(sine.spec, cell="elman", hidden_size=3).train(training)
    with looking(task):
        assert not task.training and not torch.is_grad_enabled()
    assert task.training is training and task.stack.training is training and torch.is_grad_enabled()


def test_lag_and_reach_by_hand():
    assert lag(np.array([1e-3, 5e-3, 0.02, 0.5, 1.0])) == 3
    assert lag(np.array([0.5, 0.2, 1.0])) == 3  # never: the whole length
    assert lag(np.array([np.nan, 1.0])) == 1
    assert reach([1, 2, 4, 8], [3.0, 1.0, 1.005, 1.0]) == 2
    assert reach([1, 2, 4, 8], [1.0, 1.0, 1.5, 1.0]) == 8  # a lucky short one does not count
    assert reach([1, 2], [float("nan"), 1.0]) == 2


def test_a_model_without_recurrence_needs_one_step_and_has_no_gradient_before(text):
    task = CharLM(text.spec, cell="elman", hidden_size=8, engine="torch")
    with torch.no_grad():
        task.stack.layers[0].weight_hh.zero_()
    with looking(task):
        seen = probe(task, text)
        kept, losses = ablated(task, seen)
        norms = gradient_norms(task, seen)
    assert reach(kept, losses) == 1 and np.ptp(losses) < 1e-6
    assert norms[-1] > 0 and not norms[:-1].any()


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_gates_make_the_states(sine, kind):
    """With the gates that the trace shows, the equations give the outputs that it shows."""
    task = Forecaster(sine.spec, cell=kind.__name__.lower(), hidden_size=4, engine="torch")
    with looking(task):
        run = trace(task, probe(task, sine, rows=3).x)
    h = torch.stack(run.steps[0])
    before = torch.cat([torch.zeros(1, 3, 4), h[:-1]])
    gates = run.gates[0]
    if kind is GRU:
        z = gates["update"]
        torch.testing.assert_close((1 - z) * gates["candidate"] + z * before, h)
    else:
        c = torch.zeros(3, 4)
        for t in range(len(h)):
            c = gates["forget"][t] * c + gates["input"][t] * gates["candidate"][t]
            torch.testing.assert_close(gates["output"][t] * torch.tanh(c), h[t])


def test_free_runs_in_a_batch_are_those_one_by_one(sine):
    task = Forecaster(sine.spec, cell="gru", hidden_size=4, engine="torch")
    starts = np.array([30, 50, 77])
    with looking(task):
        batch = free_runs(task, sine, starts, 12)
        for i, row in enumerate(starts):
            alone = free_run(task, sine, int(row), 12)
            for ours, its in zip(batch, (alone.truth, alone.forecast, alone.baseline), strict=True):
                np.testing.assert_allclose(ours[i], its, rtol=1e-5, atol=1e-6)


def test_the_season_before_a_second_series_is_not_the_first_ones(tmp_path):
    """Its window is shorter than a season: the baseline holds its last value, and does not look into the other one."""
    days = np.datetime64("2020-01-01") + np.arange(60)
    rows = [
        f"{day},{name},{level + i % 7}"
        for name, level in (("a", 0), ("b", 1000))
        for i, day in enumerate(days)
    ]
    (tmp_path / "two.csv").write_text("day,id,x\n" + "\n".join(rows) + "\n")
    data = Series(tmp_path / "two.csv", "x", time_column="day", id_column="id", window=3, horizon=1, season=7)
    data.setup()
    task = Forecaster(data.spec, cell="gru", hidden_size=4, engine="torch")
    starts = np.array([3, 63, 80])
    held = free_runs(task, data, starts, 4)[2][..., 0]
    assert held.tolist() == [[2, 2, 2, 2], [1002, 1002, 1002, 1002], [1006, 1000, 1001, 1002]]
    for row, expected in zip(starts, held, strict=True):
        assert free_run(task, data, int(row), 4).baseline[:, 0].tolist() == expected.tolist()


def test_saturation_and_dead_units_by_hand():
    assert saturation(Gate("forget", "f", "sigmoid"), torch.tensor([0.0, 0.5, 0.995, 0.98])) == 0.5
    assert saturation(Gate("candidate", "g", "tanh"), torch.tensor([0.0, -0.995, 0.5, 1.0])) == 0.5
    h = torch.randn(10, 4, 5, generator=torch.Generator().manual_seed(0))
    h[..., 1] = 0.7
    assert dead(h) == pytest.approx(0.2)
    states = States()
    states.step, states.h, states.saturated, states.dead = 1, [torch.randn(3, 2, 400)], {}, 1 / 400
    drawn = states.draw(None, None)
    assert drawn.get_suptitle() == "0.25% of 400 units are dead"
    assert len(drawn.axes) == 2  # the heat map and its colours: the shares would be a panel with one bar
    states.saturated = {"update": 0.5}
    assert len(states.draw(None, None).axes) == 3


def test_the_block_of_the_candidate(sine):
    cell = LSTM(1, 3)
    with torch.no_grad():
        cell.weight_hh.copy_(torch.arange(36.0).view(12, 3))
    np.testing.assert_array_equal(candidate(cell), np.arange(18.0, 27.0).reshape(3, 3))


def test_a_training_with_instruments_has_the_same_bits(small, tmp_path):
    engine = ("model.engine=auto", "trainer.max_epochs=4", "model.num_layers=2", "model.dropout=0.2")
    plain = small(*engine, outputs=tmp_path / "plain")
    # `small` takes callbacks off that only draw; every=1 looks as often as can be
    every = [f"callbacks.{c}.every=1" for c in ("gradient", "memory", "states", "weights", "horizon")]
    seen = small(*engine, "callbacks=inspect", *every, outputs=tmp_path / "seen")
    assert seen.folder.name == plain.folder.name  # how a run is watched is no part of what it is
    assert seen.record["engine"] == plain.record["engine"]
    weights = [torch.load(r.last_checkpoint, weights_only=True)["state_dict"] for r in (plain, seen)]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    own = [line for line in seen.metrics_file.read_text().splitlines() if ",inspect/" not in line]
    assert own == plain.metrics_file.read_text().splitlines()
    looked = {name for name in seen.metrics if name.startswith("inspect/")}
    assert looked >= {"inspect/gradient_lag", "inspect/memory_steps", "inspect/dead_units",
                      "inspect/spectral_radius", "inspect/free_run_rmse"}  # fmt: skip
    assert len(seen.metrics["inspect/gradient_lag"][0]) == 4
    figures = {"gradient_through_time", "memory", "states", "recurrent_weights", "horizon"}
    assert {p.stem for p in seen.figures.glob("*.png")} == figures
    events = EventAccumulator(str(seen.folder), size_guidance={"images": 0})
    events.Reload()
    titles = {"how far back the gradient reaches", "how far back the input counts", "states of the hidden units",
              "eigenvalues of the recurrent weights", "free-running forecast"}  # fmt: skip
    assert set(events.Tags()["images"]) == {f"recurrence/{title}" for title in titles}
    assert not any(tag.startswith("inspect/") for tags in events.Tags().values() if tags and tags is not True
                   for tag in tags)  # fmt: skip
    first, *_, last = [e.step for e in events.Images("recurrence/states of the hidden units")]
    assert {e.width for e in events.Images("recurrence/states of the hidden units")} == {528}  # 4.4 inches
    assert (first, last) == (seen.metrics["loss/val"][0][0], seen.results["steps"])


def test_a_short_training_is_looked_at_often_enough_for_a_curve():
    from rnnlab.instruments.instrument import look_at

    assert [look_at(v, 10) for v in range(12)] == [*range(1, 11), 11, 0]
    looks = [v for v in range(35) if look_at(v, 10)]
    assert looks == [*range(10), 10, 20, 30] and [look_at(v, 10) for v in looks] == [*range(1, 14)]
    assert all(look_at(v, 1) == v + 1 for v in range(9))


class WithoutDoubles(TorchFunctionMode):
    """As on an Apple GPU: only what was copied to the CPU can become float64."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, copied = getattr(function, "__name__", ""), any(hasattr(a, "copied") for a in args)
        if name == "double" and not copied:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        found = function(*args, **(kwargs or {}))
        if name == "cpu":
            found = found.clone()
        if (name == "cpu" or copied) and isinstance(found, torch.Tensor):
            found.copied = True
        return found


def test_nothing_is_made_float64_before_it_has_left_the_device(text):
    task = CharLM(text.spec, cell="gru", hidden_size=6, engine="torch")
    instrument = Writing()
    instrument.step = 0
    with WithoutDoubles(), looking(task):
        seen = probe(task, text)
        run = trace(task, seen.x)
        assert len(list(task.sample(seen.x[0], 3))) == 3
        assert instrument.look(task, seen, text)["passage_nats"] > 0
        assert len(gradient_norms(task, seen)) == seen.x.shape[1]
        assert 0 <= dead(torch.stack(run.steps[0])) <= 1
        for gate in task.stack.layers[0].named_gates:
            assert 0 <= saturation(gate, run.gates[0][gate.name]) <= 1
        assert candidate(task.stack.layers[0]).shape == (6, 6)
        assert t_quantiles(torch.tensor([3.0])).shape == (1, 19)


@pytest.mark.parametrize("loss", ["quantile", "student_t"])
def test_a_distribution_is_measured_by_its_own_loss(sine, loss):
    task = Forecaster(sine.spec, cell="gru", hidden_size=6, engine="torch", loss=loss)
    with looking(task):
        seen = probe(task, sine)
        starts = sine.starts("val")
        x = torch.stack([sine.series[s : s + sine.window, :1] for s in starts])
        y = torch.stack([sine.series[s + sine.window : s + sine.window + 1, :1] for s in starts])
        torch.testing.assert_close(task.end_loss(trace(task, seen.x).y, seen), task.loss((x, y)))
        assert (gradient_norms(task, seen) > 0).all()


def test_measuring_at_no_validation_is_refused():
    with pytest.raises(UserError, match=r"^Memory: every=0: must be at least 1$"):
        Memory(every=0)
