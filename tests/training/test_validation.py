"""Validations and tests on the kernels: the same numbers, whoever looks, and in one call where nobody does."""

import json

import numpy as np
import pytest
from lightning.pytorch import Callback

from rnnlab.data.loader import Loader
from rnnlab.native import Program

SINE = ("model.engine=native", "model.num_layers=2", "model.subtract_last=true")
TOKENS = ("data=tokens", "data.n_sequences=150", "data.max_length=12", "model=classifier", "model.hidden_size=7",
          "model.embedding_size=5", "trainer.max_epochs=2", "trainer.accelerator=cpu", "~callbacks.progress",
          "~callbacks.pictures", "trainer.threads=1")  # fmt: skip


class Sees(Callback):
    """Wants to see every batch of a validation and of the test."""

    def on_validation_batch_end(self, trainer, task, outputs, batch, batch_idx):
        assert len(batch[0])

    def on_test_batch_end(self, trainer, task, outputs, batch, batch_idx):
        assert len(batch[0])


class Hooked(Callback):
    """Looks at what the modules say in a validation."""

    seen = 0

    def on_validation_start(self, trainer, task):
        self.handles = [module.register_forward_hook(self.look) for module in (task.head, task.stack)]

    def look(self, module, given, said):
        Hooked.seen += 1

    def on_validation_end(self, trainer, task):
        for handle in self.handles:
            handle.remove()


def asks(name):
    return ("callbacks=none", f"+callbacks.one._target_=test_validation.{name}")


@pytest.fixture
def calls(monkeypatch):
    made = []
    inner = Program.score

    def score(self, *args, **kwargs):
        made.append(self)
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(Program, "score", score)
    return made


def numbers(run):
    record = json.loads((run.folder / "run.json").read_text())
    return run.metrics_file.read_bytes(), record["results"]["test"], record["results"]["best"]


@pytest.mark.parametrize(
    ("asked", "base"), [((*SINE, "data.batch_size=4"), None), ((), TOKENS)], ids=["sine", "tokens"]
)
def test_who_looks_changes_no_number_and_one_call_does_where_nobody_looks(
    small, tmp_path, calls, asked, base
):
    def train(at, *more):  # validations of several batches
        calls.clear()
        given = {"base": base} if base else {}
        return numbers(small(*asked, *more, outputs=tmp_path / at, **given)), len(calls)

    (alone, whole) = train("alone", "callbacks=none")
    epochs = 3 if base is None else 2
    assert whole == epochs + 1  # a call a validation, and one for the test
    for at, more in {
        "sees": asks("Sees"),
        "hooked": asks("Hooked"),
        "threads": ("callbacks=none", "trainer.threads=2"),
        "steps": ("callbacks=none", "trainer.steps_per_call=2"),
    }.items():
        found, n = train(at, *more)
        assert found == alone, at
        assert n == (0 if at in ("sees", "hooked") else whole)
    assert Hooked.seen


def test_a_callback_that_replaces_a_method_is_asked(small, tmp_path, calls):
    plain = numbers(small(*SINE, "callbacks=none", outputs=tmp_path / "a"))
    changed = numbers(small(*SINE, *asks("Doubles"), outputs=tmp_path / "b"))
    assert changed[0] != plain[0]
    assert changed[2]["metrics"]["metric/mse"] == pytest.approx(
        2 * plain[2]["metrics"]["metric/mse"], rel=1e-6
    )


class Doubles(Callback):
    """Has an idea of its own of the scores."""

    def on_validation_start(self, trainer, task):
        inner = type(task).scores
        task.scores = lambda batch: {k: (2 * s, n) for k, (s, n) in inner(task, batch).items()}

    def on_validation_end(self, trainer, task):
        del task.scores


def test_some_batches_of_a_part_are_scored_alone(small, tmp_path, calls):
    def train(at, *more):
        return numbers(small("data.batch_size=4", *more, outputs=tmp_path / at, base=TOKENS))

    some = train("a", "callbacks=none", "trainer.limit_val_batches=2")
    assert calls
    assert some == train("b", *asks("Sees"), "trainer.limit_val_batches=2")
    whole = train("c", "callbacks=none")
    assert some[0] != whole[0]


class OtherData(Callback):
    """Puts other data in for the validations, before the fit or on the way."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_fit_start(self, trainer, task):
        data = trainer.datamodule
        if self.how == "loader":
            before = data.val_dataloader()
            data.val_dataloader = lambda: Loader(lambda batch: halved(before.fetch(batch)), before.order)

    def on_train_epoch_start(self, trainer, task):
        loader = trainer.val_dataloaders
        if self.how == "series":
            trainer.datamodule.series = 0.5 * trainer.datamodule.series  # which the loaders do not see
        elif trainer.current_epoch == 1 and self.how == "fetch":
            before = loader.fetch
            loader.fetch = lambda batch: halved(before(batch))
        elif trainer.current_epoch == 1 and self.how == "batches":
            few = [loader.batches[0][:5]]
            loader._batches, loader.order = None, lambda epoch: few


def halved(batch):
    return tuple(part / 2 for part in batch)


@pytest.mark.parametrize("how", ["loader", "fetch", "batches", "series"])
def test_a_validation_scores_what_the_loader_gives(small, tmp_path, how):
    asked = "data.batch_size=4", *asks("OtherData"), f"+callbacks.one.how={how}"
    ours = small("model.engine=native", *asked, outputs=tmp_path / "native").metrics["loss/val"]
    torchs = small("model.engine=torch", *asked, outputs=tmp_path / "torch").metrics["loss/val"]
    np.testing.assert_allclose(ours[1], torchs[1], rtol=1e-4)


@pytest.mark.parametrize("how", ["trainer.limit_val_batches=0", "trainer.check_val_every_n_epoch=9"])
def test_a_run_that_validates_nothing_is_scored_on_its_training_part(small, how):
    """Although there is a validation part."""
    results = small(how).results
    assert results["train"]["mse"] > 0 and "train" in results["baselines"]
    assert "val" not in results["baselines"]
