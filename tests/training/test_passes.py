"""Loaders of every kind: a run that goes on in the middle of an epoch trains on the batches that were left."""

import signal
from pathlib import Path

import loaders_project
import pytest
import torch
from test_plain_lightning import bits
from torch.utils.data import BatchSampler, DataLoader

import rnnlab
from rnnlab.runs.generators import EPOCH
from rnnlab.training.generators import Generators
from rnnlab.training.passes import seeded

HERE = Path(__file__).parent
PLAIN = (
    "model=own", "data=own", "name=loaders", "callbacks=none", "logger=none", "trainer.max_epochs=3",
    "+callbacks.jolt._target_=plain_project.Jolt", "trainer.accelerator=cpu", "trainer.threads=1",
)  # fmt: skip


@pytest.fixture
def train(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))

    def train(folder: str, *words: str, model: str = "Module", data: str = "Data") -> rnnlab.Run:
        for group, name in (("model", model), ("data", data)):
            file = tmp_path / "conf" / group / "own.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"_target_: loaders_project.{name}\n")
        asked = f"paths.outputs={tmp_path / folder}"
        return rnnlab.train(*PLAIN, *words, asked, config_dir=str(tmp_path / "conf"), quiet=True)

    return train


@pytest.fixture
def goes_on(train, monkeypatch):
    def goes_on(step: int, *words: str, **parts: str) -> rnnlab.Run:
        """The run itself, once it was seen that one which stops at a step goes on to the same bits."""
        whole = train("whole", *words, **parts)
        monkeypatch.setenv("DIE_AT", str(step))
        monkeypatch.setenv("DIE_OF", str(int(signal.SIGINT)))
        assert train("cut", *words, **parts).status == "stopped"
        monkeypatch.delenv("DIE_AT")
        assert bits(train("cut", *words, **parts)) == bits(whole)
        return whole

    return goes_on


# each worker gives the whole stream, and a second pass over one that has ended gives nothing
STEPS = {"stream": 18, "workers": 36, "dictionary": 18, "longest": 18, "mixed": 18, "iterable": 18, "counted": 12,
         "subclass": 18}  # fmt: skip


@pytest.mark.parametrize("kind", STEPS)
def test_an_epoch_that_was_cut_goes_on_with_the_batches_that_were_left(goes_on, kind):
    assert goes_on(10, f"+data.kind={kind}").results["steps"] == STEPS[kind]


def test_an_epoch_ends_with_the_shortest_loader(goes_on):
    assert goes_on(3, "+data.kind=shortest").results["steps"] == 6


@pytest.mark.parametrize("step", [8, 16])
def test_loaders_that_are_made_anew_are_so_at_the_same_epochs(goes_on, step):
    goes_on(step, "+data.kind=anew", "+trainer.reload_dataloaders_every_n_epochs=2")


def test_a_stream_that_ended_is_trained_for_longer(train):
    run = train("short", "trainer.max_epochs=2")
    longer = train("short", f"resume={run.folder}")
    assert bits(longer)[1] == bits(train("long"))[1]


def test_loaders_of_the_module_are_seeded_and_scored(goes_on):
    run = goes_on(10, model="WithLoaders", data="TrainAlone")
    assert run.results["best"]["value"] > 0
    assert run.evaluate().metrics["loss/test"] == run.results["test"]["loss/test"]


@pytest.mark.parametrize("val", ["two", "combined", "stream"])
def test_several_validation_loaders_and_one_without_a_length(goes_on, val):
    run = goes_on(10, "+data.kind=subclass", f"+data.val={val}")
    assert ("loss/other" in run.results["best"]["metrics"]) == (val != "stream")


@pytest.mark.parametrize("kind", ["dictionary", "anew", "iterable"])
def test_overfitting_trains_on_the_same_batches_each_epoch(train, kind):
    assert train("a", f"+data.kind={kind}", "trainer.overfit_batches=2").results["steps"] == 6


@pytest.mark.parametrize("when", ["start,end", "epoch_start,epoch_end", "batch_start,batch_end"])
def test_the_best_weights_are_those_that_a_modules_own_hooks_put_in(train, when):
    hooks = ",".join(f"on_validation_{name}" for name in when.split(","))
    run = train("a", "+data.kind=iterable", f"+model.hooks=[{hooks}]", model="Averaged")
    best = torch.load(run.best_checkpoint, weights_only=True)["state_dict"]
    net = torch.cat([value.flatten() for name, value in best.items() if name.startswith("net.")])
    assert torch.equal(net, best["mean"])
    assert not torch.equal(net, torch.cat([p.flatten() for p in _last(run)]))


def _last(run):
    state = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    return [value for name, value in state.items() if name.startswith("net.")]


def test_a_callback_tests_the_best_weights(train):
    tested = "+callbacks.test._target_=loaders_project.TestsBest"
    assert train("a", "+data.kind=iterable", tested).status == "finished"


def test_samplers_of_several_loaders_are_told_the_epoch():
    samplers = [loaders_project.ByEpoch(), loaders_project.ByEpoch()]
    rows = range(48)
    loaders = {
        "whole": DataLoader(rows, batch_size=8, sampler=samplers[0]),
        "batched": DataLoader(rows, batch_sampler=BatchSampler(samplers[1], 8, False)),
    }
    drawing = Generators(1)
    assert len(list(seeded(loaders, drawing, EPOCH))) == 6
    assert [sampler.told for sampler in samplers] == [(0,), (0,)]


def test_what_a_loader_draws_leaves_the_generators_of_gpus_alone(monkeypatch):
    drawing, seen = Generators(1), []
    data = loaders_project.Data("subclass")
    data.setup("fit")
    drawing.wrap(data)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seen.append)
    data.val_dataloader()
    assert not seen
    list(data.train_dataloader())
    assert len(seen) == 1  # where the epoch begins
