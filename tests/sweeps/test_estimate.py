"""The time and memory of a sweep: guesses against counts by hand, estimates from runs and trials."""

from multiprocessing import Pipe
from types import SimpleNamespace

import pytest

import rnnlab
from rnnlab.config import check, compose
from rnnlab.errors import RunFailed
from rnnlab.runs.run import Run
from rnnlab.sweeps import estimate
from rnnlab.sweeps.probe import Probe


def test_finished_runs_give_ratios_and_a_damaged_one_is_skipped(tmp_path):
    config = check(compose(["experiment=sine", "trainer.accelerator=cpu"]))
    for i, made_with in enumerate((config, config, {"trainer": {}})):
        run = Run(tmp_path / "sine" / str(i))
        run.create(str(i), "sine", made_with, [], group="same", label="")
        run.update(status="finished", seconds=3.0 + i)
    ratios, own = estimate.finished([tmp_path / "sine"])
    guessed = estimate.guessed_seconds(config)
    assert ratios == [3.0 / guessed, 4.0 / guessed]
    assert own == {"same": [3.0, 4.0]}


def config(*overrides):
    return check(compose(["experiment=sine", "trainer.accelerator=cpu", *overrides]))


@pytest.mark.parametrize(("cell", "gates"), [("elman", 1), ("gru", 3), ("lstm", 4)])
def test_a_step_is_three_products_with_each_weight_at_each_time(cell, gates):
    one = config(f"model.cell={cell}", "model.hidden_size=8", "model.num_layers=1", "data.window=20",
                 "data.batch_size=32")  # fmt: skip
    weights = gates * (8 * 8 + 8 * 1)  # from the state and from one input
    assert estimate.weights(one) == weights
    # forward, and backward to the inputs and to the weights: a multiplication and an addition each
    assert estimate.flops(one) == 3 * 2 * 32 * 20 * weights


def test_each_layer_counts_and_takes_the_width_below():
    three = config("model.cell=gru", "model.hidden_size=8", "model.num_layers=3")
    assert estimate.weights(three) == 3 * (8 * 8 + 8) + 2 * 3 * (8 * 8 + 8 * 8)
    assert estimate.guessed_seconds(three) > estimate.guessed_seconds(
        config("model.cell=gru", "model.hidden_size=8")
    )


def test_a_run_is_its_steps_and_what_stands_beside_them():
    one = config("trainer.max_steps=100", "trainer.max_epochs=-1")
    step = 6e-5 + estimate.flops(one) / 1.5e10
    assert estimate.guessed_seconds(one) == pytest.approx(0.03 + 100 * step)
    epochs = config("trainer.max_steps=-1", "trainer.max_epochs=3", "data.n_points=1000", "data.batch_size=32",
                    "data.fractions=[0.8,0.1,0.1]")  # fmt: skip
    assert estimate.guessed_steps(epochs) == 3 * 25
    limits = {
        "accumulate_grad_batches=4": 3 * 7,
        "limit_train_batches=0.5": 3 * 12,
        "overfit_batches=2": 3 * 2,
    }
    for limit, steps in limits.items():
        few = config("trainer.max_epochs=3", "data.fractions=[0.8,0.1,0.1]", f"trainer.{limit}")
        assert estimate.guessed_steps(few) == steps, limit


@pytest.mark.parametrize(
    ("given", "step"),
    [
        ("max_epochs=5", 25),
        ("val_every_n_steps=7", 7),
        ("check_val_every_n_epoch=3", 75),
        ("val_check_interval=0.5", 12),
        ("val_check_interval=8 accumulate_grad_batches=4", 2),
        ("val_check_interval=40 check_val_every_n_epoch=null", 40),
        ("limit_train_batches=10", 10),
        ("accumulate_grad_batches=8 check_val_every_n_epoch=3", 12),
        ("val_check_interval=40 check_val_every_n_epoch=null accumulate_grad_batches=4", 10),
        ("limit_train_batches=10 check_val_every_n_epoch=2 val_check_interval=4", 14),
    ],
)
def test_the_first_validation_is_where_a_training_has_it(tmp_path, given, step):
    sizes = ("data.n_points=1000", "data.batch_size=32", "data.fractions=[0.8,0.1,0.1]", "model.hidden_size=2",
             "trainer.max_steps=-1", "trainer.max_epochs=5", "trainer.accelerator=cpu")  # fmt: skip
    asked = [*sizes, *(f"trainer.{argument}" for argument in given.split()), f"paths.outputs={tmp_path}"]
    assert estimate.first_validation(config(*asked)) == step
    steps, _ = rnnlab.train("experiment=sine", *asked).metrics["loss/val"]
    assert steps[0] == step


def test_memory_is_a_worker_and_six_copies_of_the_weights_and_the_activations():
    small, wide = (config("model.cell=lstm", f"model.hidden_size={h}") for h in (16, 1024))
    window, batch = small["data"]["window"], small["data"]["batch_size"]
    assert estimate.guessed_bytes(small) == pytest.approx(350e6, rel=0.02)
    weights = 4 * (1024 * 1024 + 1024)
    assert estimate.guessed_bytes(wide) == 350e6 + 6 * 4 * weights + 4 * batch * window * 1024 * 8


def due(*kinds):
    return [SimpleNamespace(accelerator=kind) for kind in kinds]


def test_the_wall_time_is_shared_by_the_workers_of_each_device():
    found = estimate.Estimate([4.0, 2.0, 2.0, 2.0, 2.0], "", 0.0, 0.0, "")
    assert found.wall(due(*["cpu"] * 5), {"cpu": 1}) == 12
    assert found.wall(due(*["cpu"] * 5), {"cpu": 3}) == 4
    assert found.wall(due(*["cpu"] * 5), {"cpu": 100}) == 4  # the longest run alone
    assert found.wall(due("gpu", "cpu", "cpu", "cpu", "cpu"), {"cpu": 4, "gpu": 1}) == 4
    assert found.wall(due("cpu", "gpu", "gpu", "gpu", "gpu"), {"cpu": 4, "gpu": 1}) == 8


class FakeProbe:
    """Trials that take three times the guess."""

    def __init__(self):
        self.tried = []

    def call(self, function, timeout):
        one, total = function.args
        assert total == estimate.guessed_steps(one)
        self.tried.append((one["model"]["cell"], one["model"]["hidden_size"]))
        return estimate.Measurement(
            3 * estimate.guessed_seconds(one), "native", private=100_000_000, shared=50_000_000
        )


def planned(group, folder, *overrides):
    one = config(*overrides)
    place = SimpleNamespace(group=group, folder=folder / "sine" / group)
    return SimpleNamespace(place=place, config=one, accelerator="cpu", cost=estimate.guessed_seconds(one))


def test_guesses_are_scaled_by_trials_of_the_longest_and_shortest_of_each_cell(tmp_path):
    runs = [planned(f"{cell}{h}", tmp_path, f"model.cell={cell}", f"model.hidden_size={h}")
            for cell in ("gru", "lstm") for h in (8, 16, 32)]  # fmt: skip
    probe = FakeProbe()
    found = estimate.estimate(runs, probe)
    assert set(probe.tried) == {("gru", 8), ("gru", 32), ("lstm", 8), ("lstm", 32)} and probe.tried[0] == (
        "lstm",
        32,
    )
    assert found.seconds == pytest.approx([3 * p.cost for p in runs])
    assert found.basis == "from a trial of 4 of 6 kinds of runs, engine native"
    assert (found.worker_bytes, found.shared_bytes) == (100e6, 50e6)


def test_finished_runs_of_the_same_group_give_their_own_time(tmp_path):
    runs = [planned("a", tmp_path), planned("b", tmp_path, "model.hidden_size=32")]
    for i, seconds in enumerate((5.0, 6.0, 7.0)):
        run = Run(tmp_path / "sine" / str(i))
        run.create(str(i), "sine", runs[0].config, [], group="a", label="")
        run.update(status="finished", seconds=seconds)
    probe = FakeProbe()
    found = estimate.estimate(runs, probe)
    assert found.seconds == pytest.approx([6.0, 6.0 / runs[0].cost * runs[1].cost])
    assert found.basis == "from 3 finished runs of this experiment" and len(probe.tried) == 1


class Dying:
    """A server whose workers are killed before they answer."""

    why = "its worker was killed (SIGKILL); out of memory?"

    def start_worker(self):
        ours, theirs = Pipe()
        theirs.close()
        return 0, ours

    def exit_reason(self, pid):
        return self.why


def test_a_worker_that_is_killed_while_it_plans_is_named_without_the_configs(tmp_path):
    probe = Probe(Dying())
    with pytest.raises(RunFailed) as failed:
        probe.answers([config()])
    assert str(failed.value) == f"the sweep could not be planned: {Dying.why}"
    found = estimate.estimate([planned("a", tmp_path)], probe)
    assert found.basis == f"a guess: no such run has finished, and the trial failed: {Dying.why}"


@pytest.mark.parametrize("value", [[64, 32], {"train": 64}, "many", None])
def test_keys_of_a_users_own_class_may_hold_anything(value):
    model = dict.fromkeys(("hidden_size", "num_layers", "embedding_size", "bidirectional"), value)
    data = dict.fromkeys(("fractions", "batch_size", "segment", "limit", "n_points", "window"), value)
    own = {"model": model, "data": data, "trainer": {"max_steps": -1, "max_epochs": 2}}
    assert estimate.guessed_seconds(own) > 0 and estimate.guessed_bytes(own) > 0
