"""A finished run trained for longer is the run that was never broken off."""

import json

import pytest
from lightning.pytorch.loggers.logger import DummyLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from remains import mismatches
from rnnlab import UserError
from rnnlab.runs.run import Run

CHARS = (
    "data=chars", "data.limit=4000", "data.segment=20", "data.batch_size=8", "model.hidden_size=8", "optimizer=sgd",
    "optimizer.momentum=0.9", "trainer.threads=1", "trainer.accelerator=cpu", "callbacks=none",
)  # fmt: skip
TOKENS = (
    "data=tokens", "data.n_sequences=300", "model.hidden_size=8", "trainer.threads=1", "trainer.accelerator=cpu",
    "callbacks=none",
)  # fmt: skip
EPOCH = {"sine": 4, "chars": 22, "tokens": 8}  # batches
STOPPING = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=0.1"]


def limits(epochs: int = -1, steps: int = -1) -> list[str]:
    return [f"trainer.max_epochs={epochs}", f"trainer.max_steps={steps}"]


@pytest.fixture
def longer(small, tmp_path):
    """What differs between a run trained at once and one trained for shorter first, [] where nothing does."""

    def train(kind: str, short: list[str], long: list[str], *more: str) -> list[str]:
        own = {"chars": CHARS, "tokens": TOKENS}.get(kind)
        base = {} if own is None else {"base": ()}
        named = [o.split("=")[0] for o in more]
        fixed = [*(own or ()), *(() if "scheduler" in named else ("scheduler=constant",)), *more]
        whole = small(*fixed, *long, outputs=tmp_path / "a", **base)
        first = small(*fixed, *short, outputs=tmp_path / "b", **base)
        assert first.results["steps"] < whole.results["steps"]
        second = small(f"resume={first.folder}", *long, outputs=tmp_path / "b", base=())
        assert second.record["parent"] == str(first.folder) and first.status == "finished"
        assert second.folder.name == whole.folder.name
        experiment = whole.folder.parent.name
        found = mismatches(tmp_path / "a" / experiment, tmp_path / "b" / experiment)
        return [m for m in found if m != "other runs"]

    return train


@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize(
    ("kind", "ended"),
    [
        *(
            ("sine", e)
            for e in ("max_epochs", "inside an epoch", "at an epoch's end", "max_epochs, then max_steps")
        ),
        *(("chars", e) for e in ("max_epochs", "inside an epoch", "at an epoch's end")),
        ("tokens", "at an epoch's end"),
    ],
)
def test_the_bits_are_those_of_the_unbroken_longer_run(longer, kind, ended, engine):
    epoch = EPOCH[kind]
    short, long = {
        "max_epochs": (limits(epochs=1), limits(epochs=3)),
        "inside an epoch": (limits(steps=epoch + 3), limits(steps=2 * epoch + 1)),
        "at an epoch's end": (limits(steps=2 * epoch), limits(steps=3 * epoch + 2)),
        "max_epochs, then max_steps": (limits(epochs=2), limits(steps=3 * epoch)),
    }[ended]
    assert longer(kind, short, long, f"model.engine={engine}") == []


@pytest.mark.parametrize(
    "steps", [2, 4, 6], ids=["before any validation", "at an epoch's end", "inside an epoch"]
)
@pytest.mark.parametrize(
    "more",
    [["scheduler=step", "scheduler.step_size=1"], ["scheduler=plateau", "scheduler.patience=0"], STOPPING],
    ids=["step", "plateau", "early-stopping"],
)
def test_what_counts_epochs_and_validations_counts_on(longer, steps, more):
    assert longer("sine", limits(steps=steps), limits(epochs=5), *more, "model.engine=native") == []


def test_tensorboard_shows_the_longer_runs_own_pages(small):
    first = small("scheduler=constant", "trainer.max_epochs=2")
    second = small(f"resume={first.folder}", "trainer.max_epochs=4", base=(), outputs=first.folder.parents[1])

    def page(run, tag: str) -> list[str]:
        events = EventAccumulator(str(run.folder))
        events.Reload()
        return [e.tensor_proto.string_val[0].decode() for e in events.Tensors(tag)]

    for tag in ("run/config", "run/asked", "run/manifest"):
        assert len(page(second, tag)) == 1, tag
    assert "max_epochs: 4" in page(second, "run/config")[0]
    assert second.folder.name in page(second, "run/manifest")[0]
    assert "max_epochs: 2" in page(first, "run/config")[0]


def test_what_changes_the_numbers_is_refused_and_named(small, tmp_path):
    run = small("scheduler=constant")
    asked = {"base": (), "outputs": tmp_path}
    with pytest.raises(UserError, match=r"optimizer\.lr cannot change in a resumed run; only its length can"):
        small(f"resume={run.folder}", "trainer.max_epochs=9", "optimizer.lr=0.5", **asked)
    with pytest.raises(UserError, match="max_epochs=3 is reached already"):
        small(f"resume={run.folder}", **asked)
    with pytest.raises(
        UserError, match=r"cannot change in a resumed run; only its length can: trainer\.max_steps or"
    ):
        small(f"resume={run.folder}", "optimizer=sgd", "trainer.max_epochs=9", **asked)
    cosine = small("scheduler=cosine")
    with pytest.raises(UserError, match=r"schedule cosine depends on the length .*scheduler\.total_steps"):
        small(f"resume={cosine.folder}", "trainer.max_epochs=9", **asked)


@pytest.mark.parametrize("kind", ["StochasticWeightAveraging", "EMAWeightAveraging"])
def test_averaged_weights_are_not_trained_for_longer(small, tmp_path, kind):
    """At its end such a callback replaces the trained weights, with which an unbroken run would go on."""
    swa = ["+callbacks.a.swa_lrs=0.01"] if kind.startswith("Stochastic") else []
    own = [f"+callbacks.a._target_=lightning.pytorch.callbacks.{kind}", *swa]
    run = small("scheduler=constant", *own)
    with pytest.raises(UserError, match=r"callbacks\.a has put averages in the place of the trained weights"):
        small(f"resume={run.folder}", *own, "trainer.max_epochs=9", base=(), outputs=tmp_path)


def test_all_batches_are_not_taken_for_one(small, tmp_path):
    run = small("scheduler=constant", "trainer.limit_val_batches=1")
    with pytest.raises(UserError, match=r"trainer\.limit_val_batches cannot change in a resumed run"):
        small(f"resume={run.folder}", "trainer.max_epochs=9", "trainer.limit_val_batches=1.0", base=(),
              outputs=tmp_path)  # fmt: skip


class Words(DummyLogger):
    given: list[str]

    def __init__(self, words):
        super().__init__()
        Words.given = words


def test_a_longer_run_may_have_other_lists_for_its_loggers(small, tmp_path):
    own = f"+logger.own._target_={__name__}.Words"
    run = small("scheduler=constant", own, "+logger.own.words=[a]")
    child = small(f"resume={run.folder}", "trainer.max_epochs=4", own, "+logger.own.words=[b]", base=(),
                  outputs=tmp_path)  # fmt: skip
    assert child.config["logger"]["own"]["words"] == Words.given == ["b"] and type(Words.given) is list


def test_the_last_word_on_a_key_counts(small, tmp_path):
    """The parent's list holds both, and what is asked for now is not dropped as known."""
    run = small("trainer.max_epochs=2", "scheduler=constant")
    asked = {"base": (), "outputs": tmp_path}
    child = small(f"resume={run.folder}", "trainer.max_epochs=3", **asked)
    with pytest.raises(UserError, match="max_epochs=2 is reached already"):
        small(f"resume={child.folder}", "trainer.max_epochs=2", **asked)


def test_another_engine_is_refused_unless_asked_for(small, tmp_path):
    run = small("scheduler=constant", "model.engine=auto")
    run.update(status="running")
    import torch

    from rnnlab.training.checkpoints import WholeFiles

    checkpoint = torch.load(run.last_checkpoint, weights_only=True)
    WholeFiles().save_checkpoint(checkpoint | {"engine": "reference"}, run.last_checkpoint)
    with pytest.raises(
        UserError, match=r"trained by the engine reference and would go on with .*resume_engine=any"
    ):
        small("scheduler=constant", "model.engine=auto")
    assert small("scheduler=constant", "model.engine=auto", "resume_engine=any").status == "finished"


def test_the_time_of_a_run_is_that_of_all_its_parts(small, tmp_path):
    """Else the steps of all parts would stand beside the seconds of the last."""
    words = ("trainer.max_epochs=2", "scheduler=constant")
    run = small(*words)
    run.update(seconds=1000.0)
    longer = small(f"resume={run.folder}", "trainer.max_epochs=3", base=(), outputs=tmp_path)
    assert 1000 < longer.record["seconds"] < 2000
    run.update(status="running")  # as it is left by a kill behind its last checkpoint
    assert 1000 < small(*words).record["seconds"] < 2000
    assert small(*words, "rerun=true").record["seconds"] < 1000


def test_a_checkpoint_notes_how_long_the_run_has_taken(small, monkeypatch):
    noted, update = [], Run.update
    monkeypatch.setattr(Run, "update", lambda run, **changes: (noted.append(changes), update(run, **changes)))
    run = small("checkpoint.every_n_steps=2")
    seconds = [changes["seconds"] for changes in noted if "seconds" in changes]
    assert len(seconds) > 2 and seconds == sorted(seconds) and seconds[-1] == run.record["seconds"]


def test_what_is_refused_after_it_was_prepared_leaves_no_folder(small):
    """The data are other than the run's, which only the training itself sees."""
    run = small("scheduler=constant")
    manifest = json.loads(run.manifest_file.read_text())
    run.manifest_file.write_text(json.dumps(manifest | {"data_hash": "0" * 64}))
    with pytest.raises(UserError, match="has been trained on other data"):
        small(f"resume={run.folder}", "trainer.max_epochs=5", base=())
    assert [folder.name for folder in run.folder.parent.iterdir()] == [run.folder.name]


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_early_stopping_on_the_training_loss_does_not_look_where_max_steps_cuts_an_epoch_off(longer, engine):
    watching = ("callbacks=early_stopping", "callbacks.early_stopping.monitor=loss/train", "optimizer=sgd",
                "callbacks.early_stopping.patience=2", "optimizer.lr=0.001")  # fmt: skip
    assert not longer("sine", limits(steps=6), limits(epochs=12), f"model.engine={engine}", *watching)
