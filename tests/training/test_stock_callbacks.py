"""Lightning's own callbacks, and subclasses of them with hooks of their own, as in a plain Trainer."""

import json
from collections import Counter

import lightning
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    ModelSummary,
    StochasticWeightAveraging,
    Timer,
)
from torch import nn
from torch.utils.data import DataLoader

from rnnlab.errors import RunFailed, UserError

STOCK = "lightning.pytorch.callbacks"
HOOKS = tuple(
    name for name in vars(Callback) if name.startswith(("on_train", "on_validation", "on_before", "on_after"))
)
BASE = ("experiment=sine", "model.hidden_size=8", "data.n_points=200", "trainer.max_epochs=3", "trainer.threads=1",
        "trainer.accelerator=cpu")  # fmt: skip
HEARD: Counter = Counter()
OPTIONS = {
    EarlyStopping: {"monitor": "loss/val", "patience": 100},
    ModelCheckpoint: {"save_top_k": 1},
    ModelSummary: {},
    Timer: {},
}


def counting(kind: type) -> type:
    def of(hook):
        def hear(self, *args, **more):
            HEARD[hook] += 1
            return getattr(kind, hook)(self, *args, **more)

        return hear

    return type(f"My{kind.__name__}", (kind,), {hook: of(hook) for hook in HOOKS})


MyEarlyStopping, MyModelCheckpoint, MyModelSummary, MyTimer = map(counting, OPTIONS)


class Plain(lightning.LightningModule):
    """Four batches an epoch, automatic optimization."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch, i):
        return self.layer(batch).square().mean()

    def validation_step(self, batch, i):
        self.log("loss/val", self.layer(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def heard_by_lightning(kind: type, folder, validations: int) -> Counter:
    HEARD.clear()
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=folder,
        enable_model_summary=False, enable_checkpointing=kind is MyModelCheckpoint, num_sanity_val_steps=0,
        callbacks=[kind(**OPTIONS[kind.__bases__[0]])],
    )  # fmt: skip
    trainer.fit(Plain(), DataLoader(torch.ones(8, 1), 2), DataLoader(torch.ones(validations, 1), 1))
    return +HEARD


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.__name__)
def test_a_subclass_hears_each_hook_as_often_as_from_lightning(small, tmp_path, kind, engine):
    mine = globals()[f"My{kind.__name__}"]
    HEARD.clear()
    added = [f"+callbacks.c._target_={__name__}.{mine.__name__}"]
    added += [f"+callbacks.c.{key}={value}" for key, value in OPTIONS[kind].items()]
    small(f"model.engine={engine}", *added, outputs=tmp_path / "ours")
    ours = +HEARD
    assert ours["on_train_batch_end"] == ours["on_before_optimizer_step"] == ours["on_before_zero_grad"] == 12
    assert ours["on_validation_batch_end"] % 3 == 0
    assert ours == heard_by_lightning(mine, tmp_path / "theirs", ours["on_validation_batch_end"] // 3)


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("bar", ["RichProgressBar", "TQDMProgressBar"])
def test_a_stock_bar_is_shown(small, tmp_path, monkeypatch, bar, engine):
    drawn = []
    kind = getattr(lightning.pytorch.callbacks, bar)
    before = kind.on_train_batch_end
    monkeypatch.setattr(
        kind,
        "on_train_batch_end",
        lambda self, *args: (drawn.append(args[0].global_step), before(self, *args)),
    )
    run = small(  # beside the bar that there is
        f"model.engine={engine}", "callbacks=default", "~callbacks.pictures",
        f"+callbacks.bar._target_={STOCK}.{bar}", outputs=tmp_path, base=BASE,
    )  # fmt: skip
    assert run.status == "finished" and drawn[-1] == 12


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_the_rate_finder_finds_a_rate_and_leaves_the_run_whole(small, tmp_path, engine):
    run = small(
        f"model.engine={engine}", f"+callbacks.find._target_={STOCK}.LearningRateFinder",
        "+callbacks.find.num_training_steps=20", "+callbacks.find.update_attr=false", outputs=tmp_path,
    )  # fmt: skip
    plain = small(f"model.engine={engine}", outputs=tmp_path / "plain")
    assert run.metrics_file.read_bytes() == plain.metrics_file.read_bytes()


class Sizes(lightning.pytorch.callbacks.BatchSizeFinder):
    found: int | None = None

    def on_train_start(self, trainer, pl_module):
        Sizes.found = self.optimal_batch_size


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_the_batch_size_finder_finds_a_size_and_the_run_trains_with_it(small, tmp_path, engine):
    run = small(
        f"model.engine={engine}", f"+callbacks.find._target_={__name__}.Sizes", "+callbacks.find.max_trials=2",
        "+callbacks.find.steps_per_trial=2", "+callbacks.find.init_val=4", outputs=tmp_path,
    )  # fmt: skip
    assert Sizes.found == 8
    assert run.status == "finished" and run.results["steps"] > 12
    assert list(run.metrics["loss/train"][0]) == list(range(1, run.results["steps"] + 1))


def test_freezing_by_lightnings_own_finetuning(small, tmp_path):
    runs = {}
    for engine in ("native", "torch"):
        runs[engine] = small(
            f"model.engine={engine}", f"+callbacks.f._target_={__name__}.Thaw", outputs=tmp_path / engine
        )
    states = [torch.load(r.last_checkpoint, weights_only=True)["state_dict"] for r in runs.values()]
    for ours, theirs in zip(states[0].values(), states[1].values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


class Thaw(lightning.pytorch.callbacks.BaseFinetuning):
    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.stack, train_bn=False)

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            self.make_trainable(pl_module.stack)


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_the_best_weights_of_an_average_are_those_that_were_validated(small, tmp_path, engine):
    averaging = (
        "+callbacks.a._target_=lightning.pytorch.callbacks.EMAWeightAveraging",
        "+callbacks.a.decay=0.9",
    )
    run = small(f"model.engine={engine}", *averaging, outputs=tmp_path, base=BASE)
    measured = run.results["best"]["metrics"]["loss/val"]
    assert run.evaluate(split="val").metrics["loss"] == pytest.approx(measured, rel=1e-5)  # of best.ckpt
    plain = small(f"model.engine={engine}", outputs=tmp_path, base=BASE)
    assert run.results["test"]["mse"] != pytest.approx(plain.results["test"]["mse"], rel=1e-3)


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, *_):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_averaging_anneals_the_rate_by_epochs_as_in_a_plain_trainer(small, tmp_path, engine):
    asked, rates = {"swa_lrs": 0.1, "swa_epoch_start": 1, "annealing_epochs": 2}, Rates()
    trainer = lightning.Trainer(
        max_epochs=3, callbacks=[StochasticWeightAveraging(**asked), rates], logger=False, accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Plain(), DataLoader(torch.zeros(16, 1), 4))
    averaging = [f"+callbacks.swa.{key}={value}" for key, value in asked.items()]
    run = small(f"model.engine={engine}", f"+callbacks.swa._target_={STOCK}.StochasticWeightAveraging", *averaging,
                "optimizer=sgd", "optimizer.lr=0.01", outputs=tmp_path)  # fmt: skip
    assert len(set(rates.seen)) == 3 and len(rates.seen) == 12
    assert run.metrics["optim/lr"][1] == pytest.approx(rates.seen, rel=1e-5)


def test_what_is_refused_on_the_way_has_begun_and_failed(small, tmp_path):
    with pytest.raises(UserError, match="head has a hook") as refused:
        small("model.engine=native", f"+callbacks.h._target_={__name__}.HookingLater", outputs=tmp_path)
    assert refused.value.exit_code == 1


class HookingLater(Callback):
    def on_train_epoch_end(self, trainer, task):
        task.head.register_forward_hook(lambda module, given, said: said)


class Begins(Callback):
    """Has the run's Trainer begin something else."""

    def __init__(self, what, hook):
        setattr(
            self,
            hook,
            lambda trainer, module, *_: getattr(trainer, what)(module, datamodule=trainer.datamodule),
        )


class Empties(Callback):
    def on_train_start(self, trainer, module):
        trainer.callbacks.clear()


class Appends(Callback):
    def on_train_start(self, trainer, module):
        trainer.callbacks.append(Callback())


@pytest.mark.parametrize(
    ("what", "hook"),
    [("fit", "on_train_epoch_end"), ("fit", "on_fit_start"), ("fit", "on_train_end"),
     ("validate", "on_train_epoch_end"), ("test", "on_train_batch_end"), ("predict", "on_validation_epoch_end")],
)  # fmt: skip
def test_a_trainer_does_one_thing_at_a_time(small, tmp_path, what, hook):
    with pytest.raises(
        RunFailed, match=rf"^(Begins|a callback) calls trainer\.{what} while that Trainer trains"
    ):
        small(f"+callbacks.c._target_={__name__}.Begins", f"+callbacks.c.what={what}", f"+callbacks.c.hook={hook}",
              outputs=tmp_path)  # fmt: skip
    (record,) = (json.loads(path.read_text()) for path in tmp_path.rglob("run.json"))
    assert record["status"] == "failed" and f"trainer.{what}" in record["why"]


@pytest.mark.parametrize("what, hook", [("validate", "on_train_end"), ("test", "on_fit_end")])
def test_behind_the_last_step_a_trainer_may_validate_and_test(small, tmp_path, what, hook):
    run = small(f"+callbacks.c._target_={__name__}.Begins", f"+callbacks.c.what={what}", f"+callbacks.c.hook={hook}",
                outputs=tmp_path)  # fmt: skip
    assert run.status == "finished" and run.results["steps"] == 12


def test_rnnlabs_own_callbacks_may_not_be_taken_away(small, tmp_path):
    with pytest.raises(RunFailed, match=r"took rnnlab's own .*Checkpoints.* out of trainer.callbacks"):
        small(f"+callbacks.c._target_={__name__}.Empties", outputs=tmp_path)
    assert small(f"+callbacks.c._target_={__name__}.Appends", outputs=tmp_path).status == "finished"
