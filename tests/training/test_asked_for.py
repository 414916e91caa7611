"""What is asked for most: the run's length in any schedule, validation every so many steps, early stopping
on the training loss, and a model from its checkpoint.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import rnnlab
from rnnlab import UserError
from rnnlab.config.checking import check
from rnnlab.config.composing import compose
from rnnlab.runs.data import load_data
from rnnlab.tasks import CharLM, Forecaster
from rnnlab.tasks.evaluation import evaluate
from rnnlab.training.assembly import make_optimization

TORCHS = "scheduler._target_=torch.optim.lr_scheduler."
BARE = ("~scheduler.warmup_steps",)
STOPPER = ("callbacks=early_stopping", "callbacks.early_stopping.monitor=loss/train",
           "callbacks.early_stopping.min_delta=0.05", "callbacks.early_stopping.patience=1")  # fmt: skip


def base(*overrides):
    return ("data=sine", "data.n_points=200", "model.hidden_size=8", "trainer.accelerator=cpu", "trainer.threads=1",
            "~callbacks.progress", "~callbacks.pictures", "trainer.max_epochs=3", "data.batch_size=32",
            *overrides)  # fmt: skip


def rates(run):
    return run.metrics["optim/lr"][1]


def test_a_schedule_of_torchs_takes_the_runs_own_length(small):
    cosine = small(f"{TORCHS}CosineAnnealingLR", *BARE, "+scheduler.T_max=auto", base=base())
    steps = cosine.results["steps"]
    expected = [0.001 * 0.5 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    assert rates(cosine) == pytest.approx(expected, rel=1e-5)
    epochs = small(f"{TORCHS}CosineAnnealingLR", *BARE, "+scheduler.T_max=auto", "scheduler.interval=epoch",
                   base=base())  # fmt: skip
    by_epoch = [0.001 * 0.5 * (1 + math.cos(math.pi * epoch / 3)) for epoch in range(3)]
    assert rates(epochs) == pytest.approx(np.repeat(by_epoch, steps // 3), rel=1e-5)
    one = small(
        f"{TORCHS}OneCycleLR", *BARE, "+scheduler.total_steps=auto", "+scheduler.max_lr=0.01", base=base()
    )
    assert rates(one)[0] == pytest.approx(0.01 / 25) and rates(one).max() == pytest.approx(0.01, rel=0.2)
    assert rates(one)[-1] < 1e-5


def test_a_schedule_that_advances_at_validations_counts_them(small):
    """It got the validation's loss for the number of its step."""
    run = small("scheduler=step", "scheduler.step_size=1", "scheduler.interval=validation", base=base())
    assert rates(run) == pytest.approx(np.repeat([1e-3, 5e-4, 2.5e-4], run.results["steps"] // 3), rel=1e-5)
    with pytest.raises(UserError, match="the number of validations is not known"):
        small("scheduler=cosine", "scheduler.interval=validation", base=base())


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(20))


def test_a_schedule_reads_the_length_of_loaders_that_have_none_or_are_several():
    """Loaders of a data module of one's own: the first raised a TypeError, and of several it took their number."""

    def length(loaders, *overrides):
        config = check(compose(["data=sine", "scheduler=cosine", "trainer.max_epochs=3", *overrides]))
        made = make_optimization(config, SimpleNamespace(train_dataloader=lambda: loaders))
        return made.scheduler.node["total_steps"]

    endless = DataLoader(Endless())
    with pytest.raises(UserError, match=r"set scheduler\.total_steps, or trainer\.max_steps"):
        length(endless)
    assert length(endless, "trainer.max_steps=7") == 7
    assert length(endless, "scheduler.interval=epoch") == 3
    assert length(endless, "trainer.limit_train_batches=5") == 3 * 5
    several = {"short": DataLoader(range(4)), "long": DataLoader(range(11))}
    assert length(several) == length(list(several.values())) == 3 * 11


class Unscheduled(Forecaster):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("interval", ["step", "epoch", "validation"])
def test_a_model_that_makes_an_optimizer_alone_has_no_schedule(small, interval):
    run = small(f"model._target_={__name__}.Unscheduled", f"scheduler.interval={interval}", base=base())
    assert (rates(run) == 0.1).all()


def test_a_schedule_is_as_long_as_a_run_that_overfits_some_batches(small):
    run = small("scheduler=cosine", "trainer.overfit_batches=2", base=base())
    assert run.results["steps"] == 6
    assert rates(run) == pytest.approx(
        [0.0005 * (1 + math.cos(math.pi * step / 6)) for step in range(6)], rel=1e-5
    )


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_overfitting_takes_the_first_batches_of_the_first_epoch_in_each(small, engine):
    """Of data.batch_size rows each: without shuffling rnnlab takes larger ones, for validations."""
    more = (f"model.engine={engine}", "optimizer=sgd", "optimizer.lr=0")
    every = small(*more, base=base()).metrics["loss/train"][1]
    few = small(*more, "trainer.overfit_batches=2", base=base()).metrics["loss/train"][1]
    assert len(every) == 12
    np.testing.assert_allclose(few, [*every[:2]] * 3, rtol=1e-6)


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_a_test_of_one_batch_is_of_one_batch(small, engine):
    """1 is one batch, and 1.0 all of them."""
    asked = (f"model.engine={engine}", "data.n_points=8000", "trainer.max_steps=2", "trainer.max_epochs=-1")
    run = small(*asked, "trainer.limit_test_batches=1", base=base())
    batches = list(load_data(run, run.model.spec).loader("test"))
    assert len(batches) == 2
    one, both = (evaluate(run.model, batches[:n])["mse"] for n in (1, 2))
    assert run.results["test"]["mse"] == pytest.approx(one, rel=1e-5) and one != pytest.approx(both, rel=1e-3)
    whole = small(*asked, "trainer.limit_test_batches=1.0", base=base())
    assert whole.results["test"]["mse"] == pytest.approx(both, rel=1e-5)


def test_auto_is_the_same_run_as_null_and_needs_a_length(small, tmp_path):
    null = small("scheduler=cosine", base=base())
    assert small("scheduler=cosine", "scheduler.total_steps=auto", base=base()).id == null.id
    with pytest.raises(UserError, match=r"scheduler\.T_max=auto: the run's length in steps is not known"):
        small(f"{TORCHS}CosineAnnealingLR", *BARE, "+scheduler.T_max=auto", "trainer.max_epochs=-1",
              "trainer.max_time=00:00:00:05", base=base())  # fmt: skip
    auto = small(f"{TORCHS}CosineAnnealingLR", *BARE, "+scheduler.T_max=auto", base=base())
    with pytest.raises(UserError, match=r"depends on the length of the run \(scheduler\.T_max=auto\)"):
        rnnlab.train(f"resume={auto.folder}", "trainer.max_epochs=5", f"paths.outputs={tmp_path}")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_validation_every_n_steps_is_lightnings_two_keys(small, tmp_path, accumulate):
    more = (f"trainer.accumulate_grad_batches={accumulate}", "data.batch_size=20", "trainer.max_epochs=4")
    plain = small("trainer.val_every_n_steps=3", *more, base=base(), outputs=tmp_path / "a")
    pair = small("trainer.check_val_every_n_epoch=null", f"trainer.val_check_interval={3 * accumulate}", *more,
                 base=base(), outputs=tmp_path / "b")  # fmt: skip
    steps = plain.metrics["loss/val"][0]
    assert list(steps) == [3 * (i + 1) for i in range(len(steps))] and len(steps) > 2
    assert plain.metrics_file.read_bytes() == pair.metrics_file.read_bytes()
    with pytest.raises(UserError, match=r"trainer.val_check_interval=7: trainer.val_every_n_steps says when"):
        small("trainer.val_every_n_steps=3", "trainer.val_check_interval=7", base=base())


def epoch_losses(run, per_epoch):
    return run.metrics["loss/train"][1].reshape(-1, per_epoch).mean(axis=1)


@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize("fractions", ["[0.6,0.2,0.2]", "[0.8,0,0.2]"])
def test_early_stopping_on_the_training_loss(small, engine, fractions, capsys):
    more = (
        f"model.engine={engine}",
        f"data.fractions={fractions}",
        "trainer.max_epochs=60",
        "optimizer.lr=0.01",
    )
    run = small(*STOPPER, *more, base=base())
    assert "never stops" not in capsys.readouterr().err
    losses = epoch_losses(run, 4 if fractions.startswith("[0.6") else 5)
    best, stopped = math.inf, None
    for epoch, loss in enumerate(losses):
        if loss < best - 0.05:
            best = loss
        else:
            stopped = epoch
            break
    assert stopped == len(losses) - 1 and len(losses) < 60
    assert "loss/train" not in run.results["best"]["metrics"]


def test_early_stopping_on_the_training_loss_survives_a_resume(small, tmp_path):
    whole = small(*STOPPER, "trainer.max_epochs=60", base=base(), outputs=tmp_path / "whole")
    stop = "+callbacks.stop={_target_: stopping.StopAtBatch, batches: 3}"
    broken = [small(*STOPPER, "trainer.max_epochs=60", stop, base=base(), outputs=tmp_path / "broken")]
    while broken[-1].status == "stopped":
        broken.append(
            small(*STOPPER, "trainer.max_epochs=60", stop, base=base(), outputs=tmp_path / "broken")
        )
    assert len(broken) > 2 and broken[-1].metrics_file.read_bytes() == whole.metrics_file.read_bytes()


def test_a_model_from_its_checkpoint(small, tmp_path):
    run = small()
    model = Forecaster.load_from_checkpoint(run.best_checkpoint)
    x = torch.zeros(2, run.config["data"]["window"], 1)
    assert torch.equal(model(x), run.model(x)) and not model.training
    last = Forecaster.load_from_checkpoint(str(run.last_checkpoint), map_location="cpu").state_dict()
    saved = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(last[name], saved[name]) for name in saved)
    with pytest.raises(UserError, match="holds a Forecaster, not a CharLM"):
        CharLM.load_from_checkpoint(run.best_checkpoint)
    moved = tmp_path / "moved.ckpt"
    moved.write_bytes(run.best_checkpoint.read_bytes())
    with pytest.raises(
        UserError, match=r"moved.ckpt: lies in no run's folder.*Forecaster.load_from_checkpoint\(path"
    ):
        Forecaster.load_from_checkpoint(moved)
    again = Forecaster.load_from_checkpoint(moved, hidden_size=8, cell=run.config["model"]["cell"])
    assert torch.equal(again(x), run.model(x))


def test_a_model_from_its_checkpoint_takes_lightnings_arguments(small, tmp_path):
    run = small()
    for strict in (True, False, None):
        model = Forecaster.load_from_checkpoint(run.best_checkpoint, strict=strict, weights_only=True)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), run.model.parameters(), strict=True))
    with pytest.raises(UserError, match=r"^hparams_file: the model's options are in the run's config\.yaml"):
        Forecaster.load_from_checkpoint(run.best_checkpoint, hparams_file="hparams.yaml")
    part = torch.load(run.best_checkpoint, weights_only=True)
    del part["state_dict"]["head.bias"]
    torch.save(part, moved := tmp_path / "moved.ckpt")
    options = {"hidden_size": 8, "cell": run.config["model"]["cell"]}
    Forecaster.load_from_checkpoint(moved, strict=False, **options)
    with pytest.raises(
        UserError, match=r"^\S+moved\.ckpt: its weights .* with these options, head\.bias differ"
    ):
        Forecaster.load_from_checkpoint(moved, **options)
