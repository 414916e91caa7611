"""Lightning's own callbacks, and subclasses of them with hooks of their own, as in a plain Trainer."""

from collections import Counter

import lightning
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, ModelSummary, Timer
from torch import nn
from torch.utils.data import DataLoader

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
