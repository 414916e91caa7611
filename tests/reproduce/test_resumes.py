"""Stopped at every step and gone on with: the short form of scripts/torture.py."""

import pytest

import rnnlab
from tortures import configurations
from tortures.enumeration import Case, cases, check_all, told
from tortures.resumption import Resumption

ISSUE = (
    "experiment=sine", "data.n_points=400", "data.window=5", "trainer.max_epochs=5", "trainer.val_check_interval=8",
    "checkpoint.every_n_steps=8", "model.hidden_size=4", "trainer.threads=1", "trainer.accelerator=cpu",
    "callbacks=none", "checkpoint.every_seconds=null",
)  # fmt: skip


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_the_last_batch_is_trained_where_a_validation_came_just_before_it(tmp_path, engine):
    """Nine batches an epoch, validations and checkpoints behind the eighth of the first: 45 steps, and not 44."""
    resumption = Resumption(tmp_path, [*ISSUE, f"model.engine={engine}"], every_place=False, signals=False)
    resumption.check()
    assert resumption.wrong == [] and resumption.counts["resumes"] == 6  # behind 8, 16 ... 40, and the end
    (run,) = rnnlab.runs(tmp_path / "outputs" / "sine")
    assert run.results["steps"] == 45


def test_no_resume_differs_from_the_unbroken_run():
    """The first configurations of all pairs, a longer run, and one of the combinations on each engine."""
    chosen = [*cases(product=False)]
    asked = [*chosen[:2], chosen[-1]]
    for engine in configurations.FACTORS["engine"]:
        one = configurations.plain() | {"engine": engine, "validation": "last but one", "accumulation": "2"}
        asked.append(Case(told(one), configurations.overrides(one), [], True))
    found = [(case.name, counts, wrong) for case, counts, wrong in check_all(asked, workers=1)]
    assert [(name, wrong) for name, _, wrong in found if wrong] == []
    assert len(found) == len(asked) and sum(counts["resumes"] for _, counts, _ in found) > 60


CALLBACKS = "lightning.pytorch.callbacks."
STOCK = f"+callbacks.stock._target_={CALLBACKS}ModelCheckpoint"
SMALL = (
    "data=sine", "data.n_points=100", "data.window=4", "data.batch_size=14", "model.hidden_size=3", "trainer.threads=1",
    "trainer.accelerator=cpu", "model.engine=torch", "checkpoint.every_seconds=null", "checkpoint.every_n_steps=3",
)  # fmt: skip


MONITORED = ("callbacks=none", STOCK, "+callbacks.stock.every_n_train_steps=2", "+callbacks.stock.monitor=loss/val",
             "+callbacks.stock.save_top_k=2", "trainer.max_epochs=3")  # fmt: skip
PUT_OFF = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "~callbacks.progress",
           "~callbacks.pictures", "optimizer.lr=2.0", "+trainer.min_epochs=5", "trainer.check_val_every_n_epoch=2",
           "trainer.max_epochs=8")  # fmt: skip
LOGGED = (
    "callbacks=none",
    f"+callbacks.rates._target_={CALLBACKS}LearningRateMonitor",
    "trainer.max_epochs=2",
)


AT_THE_END = ("callbacks=none", STOCK, "+callbacks.stock.monitor=loss/val", "+callbacks.stock.save_last=true",
              "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=-1", "trainer.max_steps=7")  # fmt: skip


DOUBLE = ("callbacks=none", "trainer.precision=64-true", "trainer.max_epochs=3")


@pytest.mark.parametrize(
    "words",
    [MONITORED, PUT_OFF, LOGGED, AT_THE_END, DOUBLE],
    ids=["the last validation's metrics", "a stop that min_epochs puts off", "the order of what is logged",
         "what is written when all has ended", "weights in double precision"],
)  # fmt: skip
def test_what_lightning_forgets_is_kept(tmp_path, words):
    resumption = Resumption(tmp_path, [*SMALL, *words], every_place=False, signals=False)
    resumption.check()
    assert resumption.wrong == [] and resumption.counts["resumes"] > 2


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_a_stock_checkpoint_leaves_no_file_more_and_none_of_others_is_touched(tmp_path, place):
    """Of a folder that the run shares, only the run's own files are removed."""
    words = ["experiment=sine", "data.n_points=200", "trainer.max_epochs=2", "model.hidden_size=4", "trainer.threads=1",
             "trainer.accelerator=cpu", "callbacks=none", "model.engine=torch", "checkpoint.every_n_steps=3", STOCK,
             "+callbacks.stock.every_n_train_steps=1"]  # fmt: skip
    shared = tmp_path / "shared"
    if place == "outside":
        words.append(f"+callbacks.stock.dirpath={shared}")
    run = rnnlab.train(*words, f"paths.outputs={tmp_path / 'a'}")
    folder = shared if place == "outside" else run.folder / "metrics" / "checkpoints"
    names = [path.name for path in folder.glob("*.ckpt")]
    assert names == ["epoch=1-step=8.ckpt"]
    other = rnnlab.train(*words, "seed=1", f"paths.outputs={tmp_path / 'b'}").last_checkpoint
    (folder / "epoch=7-step=70.ckpt").write_bytes(other.read_bytes())
    (folder / "epoch=1-step=9.ckpt").write_bytes((folder / names[0]).read_bytes())  # as a kill leaves it
    (folder / "notes.ckpt").write_bytes(b"of the user's own")
    run.update(status="running")
    rnnlab.train(*words, f"paths.outputs={tmp_path / 'a'}")
    left = {path.name for path in folder.glob("*.ckpt")}
    assert left >= {*names, "epoch=7-step=70.ckpt", "notes.ckpt"} and "epoch=1-step=9.ckpt" not in left
