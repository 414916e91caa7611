"""The same config gives the same bits, whatever else happened in the process."""

import random
from typing import ClassVar

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback


def weights(run):
    return torch.load(run.last_checkpoint, weights_only=True)["state_dict"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_training_twice_gives_the_same_bits_and_another_run_between_changes_nothing(small, tmp_path):
    first = small(outputs=tmp_path / "a")
    other = small("seed=7", "model.cell=gru", outputs=tmp_path / "a")
    again = small(outputs=tmp_path / "b")
    assert first.metrics_file.read_bytes() == again.metrics_file.read_bytes()
    assert same(weights(first), weights(again))
    assert first.folder.name == again.folder.name
    assert not same(weights(first), weights(small("seed=1", outputs=tmp_path / "c")))
    assert other.id != first.id


def test_the_global_generators_are_neither_read_nor_written(small, tmp_path):
    def state():
        return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()

    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    before = state()
    first = small("model.num_layers=2", "model.dropout=0.3", outputs=tmp_path / "a")
    assert state() == before
    torch.manual_seed(6), random.seed(6), np.random.seed(6)
    second = small("model.num_layers=2", "model.dropout=0.3", outputs=tmp_path / "b")
    assert first.metrics_file.read_bytes() == second.metrics_file.read_bytes()


class Look(Callback):
    """Looks at everything there is to see, step by step."""

    seen: ClassVar[list] = []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.seen.append(
            (trainer.global_step, float(outputs["loss"] if isinstance(outputs, dict) else outputs))
        )

    def on_before_optimizer_step(self, trainer, task, optimizer):
        self.seen.append(float(sum(p.grad.square().sum() for p in task.parameters())))

    def on_validation_end(self, trainer, task):
        self.seen.append(dict(trainer.callback_metrics))


BAR = ["+callbacks.progress._target_=rnnlab.terminal.progress.Progress", "+callbacks.progress.refresh_s=0.0"]
HARMLESS = {
    "no logger": ["logger=none"],
    "two loggers": ["logger=[tensorboard,csv]"],
    "sparse scalars": ["trainer.log_every_n_steps=7"],
    "a profiler": ["trainer.profiler=simple"],
    "a progress bar": ["callbacks=none", *BAR],
    "a callback that looks": ["callbacks=none", "+callbacks.look._target_=test_same_bits.Look"],
    "one step a call": ["trainer.steps_per_call=1"],
    "three steps a call": ["trainer.steps_per_call=3"],
    "checkpoints": ["checkpoint.every_n_steps=4"],
    "tags and notes": ["tags=[a,b]", "notes=hello"],
}


def test_torchs_own_steps_take_one_thread_unless_asked_however_many_there_are(trained):
    how = ["model.engine=torch", "model.cell=lstm", "model.hidden_size=128", "data.batch_size=64"]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        free = trained("free", *how, "trainer.max_epochs=2", "trainer.threads=null")
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    one = trained("one", *how, "trainer.max_epochs=2", "trainer.threads=1")
    assert free.manifest["threads"]["torch"] == 1 and free.id == one.id
    assert same(weights(free), weights(one)) and free.results == one.results


@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_only_says_how_changes_no_bit(small, tmp_path, harmless, engine):
    """Nor the id, where the callbacks are the same."""
    how = [f"model.engine={engine}", "model.num_layers=2", "model.dropout=0.2"]
    plain, other = (
        small(*how, outputs=tmp_path / "a"),
        small(*how, *HARMLESS[harmless], outputs=tmp_path / "b"),
    )
    assert same(weights(plain), weights(other)) and plain.results == other.results
    if harmless == "sparse scalars":
        assert len(other.metrics["loss/train"][0]) < len(plain.metrics["loss/train"][0])
    else:
        assert other.metrics_file.read_bytes() == plain.metrics_file.read_bytes()
    if harmless == "a callback that looks":
        assert Look.seen
    else:
        assert other.id == plain.id


CHARS = ("data=chars", "data.limit=4000", "data.segment=20", "data.batch_size=8", "model.hidden_size=8",
         "trainer.accelerator=cpu", "trainer.threads=1", "callbacks=none")  # fmt: skip


@pytest.fixture(params=["sine", "chars"])
def trained(request, small, tmp_path):
    """Trains a small run of sine or of characters, which carry their state on."""

    def train(name: str, *overrides: str):
        if request.param == "sine":
            return small("callbacks=none", *overrides, outputs=tmp_path / name)
        asked = {o.split("=")[0] for o in overrides}
        return small(
            *(o for o in CHARS if o.split("=")[0] not in asked), *overrides, base=(), outputs=tmp_path / name
        )

    return train


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit_on_the_native_engine(trained, threads):
    how = ["model.engine=native", "model.cell=lstm", "model.hidden_size=32", "data.batch_size=64"]
    one, many = (trained(str(n), *how, "trainer.max_epochs=2", f"trainer.threads={n}") for n in (1, threads))
    assert many.manifest["threads"]["torch"] == threads and one.id == many.id
    assert same(weights(one), weights(many)) and one.results == many.results
    assert one.metrics_file.read_bytes() == many.metrics_file.read_bytes()


@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize(
    "interval",
    [["trainer.check_val_every_n_epoch=4"], ["trainer.val_check_interval=1"],
     ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=3"]],
    ids=lambda o: o[-1],
)  # fmt: skip
def test_how_often_validation_runs_leaves_the_weights_alone(trained, interval, engine):
    how = ["trainer.max_epochs=4", f"model.engine={engine}"]
    each, other = trained("a", *how), trained("b", *how, *interval)
    assert len(each.metrics["loss/val"][0]) == 4 != len(other.metrics["loss/val"][0])
    assert same(weights(each), weights(other))
    for name in ("loss/train", "optim/grad_norm", "optim/lr"):
        assert np.array_equal(each.metrics[name][1], other.metrics[name][1])
