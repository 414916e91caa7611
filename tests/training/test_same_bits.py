"""The same config gives the same bits, whatever else happened in the process."""

import random

import numpy as np
import pytest
import torch


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


@pytest.mark.parametrize(
    "harmless",
    [["trainer.log_every_n_steps=7"], ["logger=none"], ["logger=[tensorboard,csv]"], ["trainer.profiler=simple"],
     ["checkpoint.every_n_steps=4"], ["tags=[a,b]", "notes=hello"]],
    ids=lambda o: o[0],
)  # fmt: skip
def test_what_only_says_how_changes_neither_id_nor_weights(small, tmp_path, harmless):
    plain, other = small(outputs=tmp_path / "a"), small(*harmless, outputs=tmp_path / "b")
    assert other.id == plain.id
    assert same(weights(plain), weights(other))


def test_validating_less_often_leaves_the_weights_alone(small, tmp_path):
    options = ["callbacks=none", "trainer.max_epochs=4"]
    often = small(*options, outputs=tmp_path / "a")
    seldom = small(*options, "trainer.check_val_every_n_epoch=4", outputs=tmp_path / "b")
    assert len(often.metrics["loss/val"][0]) == 4
    assert len(seldom.metrics["loss/val"][0]) == 1
    assert same(weights(often), weights(seldom))
