"""What a config and the sizes of its data rule out is one line with key, value and remedy, and leaves nothing."""

import inspect
import math

import pytest
from lightning.pytorch import Trainer
from torch.optim import LBFGS

from rnnlab.cli import main
from rnnlab.config.trainer_schema import TrainerSchema as Schema
from rnnlab.training import preflight
from rnnlab.training.assembly import NOT_FOR_THE_TRAINER, OF_A_STEP
from rnnlab.training.preflight import epochs, limited, validated

SINE = ("data=sine", "data.n_points=200", "model.hidden_size=4", "trainer.accelerator=cpu", "trainer.max_epochs=2",
        "~callbacks.progress", "~callbacks.pictures")  # fmt: skip
STOPPER = "callbacks=early_stopping"
ONE_CYCLE = ("scheduler._target_=torch.optim.lr_scheduler.OneCycleLR", "~scheduler.warmup_steps",
             "~scheduler.final_ratio", "scheduler=cosine", "+scheduler.max_lr=0.1")  # fmt: skip
CHECKPOINT = "+callbacks.c._target_=lightning.pytorch.callbacks.ModelCheckpoint"


class MyLBFGS(LBFGS):
    """A user's own."""


def made(parameters, lr):
    return LBFGS(parameters, lr)


CASES = {
    "trainer.limit_train_batches=0.001": "trainer.limit_train_batches=0.001: leaves no batch: the training part has 4",
    "trainer.val_check_interval=1000": "trainer.val_check_interval=1000: an epoch has 4 batches; "
    "trainer.check_val_every_n_epoch=null counts batches across epochs",
    "trainer.limit_train_batches=2 trainer.val_check_interval=3": "trainer.val_check_interval=3: an epoch has 2",
    f"{STOPPER} callbacks.early_stopping.monitor=metric/ms": "callbacks.early_stopping.monitor=metric/ms: a validation "
    "gives loss/val, metric/mse, metric/mae, metric/rmse. Did you mean metric/mse?",
    "+callbacks.c._target_=lightning.pytorch.callbacks.ModelCheckpoint +callbacks.c.monitor=nope":
    "callbacks.c.monitor=nope: a validation gives loss/val",
    "scheduler=cosine trainer.max_epochs=-1 trainer.max_time=00:00:00:05": "scheduler.total_steps=null: the run's "
    "length in steps is not known",
    "scheduler=cosine scheduler.warmup_steps=8": "scheduler.warmup_steps=8: the run has 8 steps; its rate would",
    " ".join((*ONE_CYCLE, "scheduler.total_steps=3")): "scheduler.total_steps=3: the run has 8 steps, and OneCycleLR",
    "scheduler.interval=epoch scheduler.warmup_steps=2": "scheduler.warmup_steps=2: with scheduler.interval=epoch it "
    "counts epochs, and the run has 2 epochs; its rate would only rise",
    "trainer.overfit_batches=0.1": "trainer.overfit_batches=0.1: leaves no batch: the training part has 4",
    "trainer.overfit_batches=0.5": "trainer.overfit_batches=0.5: leaves no batch: the validation part has 1 batch;",
    "trainer.overfit_batches=1 trainer.val_check_interval=2": "trainer.val_check_interval=2: an epoch has 1 batch;",
    "trainer.overfit_batches=2 scheduler=cosine scheduler.warmup_steps=4": "scheduler.warmup_steps=4: the run has 4",
    "trainer.val_every_n_steps=3 trainer.accumulate_grad_batches=3": "trainer.val_every_n_steps=3: an epoch has 4 "
    "batches, and with trainer.accumulate_grad_batches=3 its last step has fewer",
    "+trainer.min_epochs=3": "trainer.min_epochs=3: above trainer.max_epochs=2, which ends the run",
    "+trainer.min_steps=5 trainer.max_steps=4": "trainer.min_steps=5: above trainer.max_steps=4",
    f"{STOPPER} callbacks.early_stopping.monitor=train_loss": "the training loss/train. Did you mean loss/train?",
    f"{STOPPER} callbacks.early_stopping.monitor=val_loss": "Did you mean loss/val?",
    f"{STOPPER} +callbacks.early_stopping.check_on_train_epoch_end=true trainer.check_val_every_n_epoch=2":
    "check_on_train_epoch_end=true: the first epoch ends without a validation",
    "monitor=valid_mae": "monitor=valid_mae: a validation gives loss/val, metric/mse, metric/mae, metric/rmse. Did you "
    "mean metric/mae?",
    f"{CHECKPOINT} +callbacks.c.filename='{{val_loss:.2f}}'": "callbacks.c.filename: there is no {val_loss}, but "
    "epoch, step, loss/val, metric/mse, metric/mae, metric/rmse. Did you mean loss/val?",
    "+callbacks.c._target_=lightning.pytorch.callbacks.ThroughputMonitor +callbacks.c.batch_size_fn=len":
    "callbacks.c.batch_size_fn=len: ThroughputMonitor needs a function: {_target_: hydra.utils.get_object, path: "
    "builtins.len}",
    "optimizer._target_=torch.optim.LBFGS ~optimizer.betas ~optimizer.eps ~optimizer.weight_decay":
    "optimizer._target_=torch.optim.LBFGS: computes the loss several times in a step",
    "optimizer._target_=torch.optim.lbfgs.LBFGS ~optimizer.betas ~optimizer.eps ~optimizer.weight_decay":
    "optimizer._target_=torch.optim.lbfgs.LBFGS: computes the loss several times in a step",
    f"optimizer._target_={__name__}.MyLBFGS ~optimizer.betas ~optimizer.eps ~optimizer.weight_decay":
    f"optimizer._target_={__name__}.MyLBFGS: computes the loss several times in a step",
    f"optimizer._target_={__name__}.made ~optimizer.betas ~optimizer.eps ~optimizer.weight_decay":
    "optimizer: LBFGS computes the loss several times in a step",
    "optimizer._target_=torch.optim.sparse_adam.SparseAdam ~optimizer.weight_decay":
    "optimizer._target_=torch.optim.sparse_adam.SparseAdam: takes only sparse gradients",
    "optimizer._target_=torch.optim.SparseAdam ~optimizer.weight_decay":
    "optimizer._target_=torch.optim.SparseAdam: takes only sparse gradients",
    "+hydra.callbacks.x._target_=nope.Nope": "hydra.callbacks.x._target_=nope.Nope: there is no Python module nope",
    "seed=${seed}": "seed=${seed}: Recursive interpolation detected",
    "notes=x${hydra:job.num}": "notes=x${hydra:job.num}: Hydra has no value for it in a run",
    "mode=max": "mode=max: the best loss/val is the lowest; use mode=min",
    "mode=max monitor=metric/mae": "mode=max: the best metric/mae is the lowest; use mode=min",
    "notes=${oc.env:RNNLAB_NOPE}": "notes=${oc.env:RNNLAB_NOPE}: the environment variable RNNLAB_NOPE is not set",
    "seed=99999999999999999999 data.seed=1": "seed=99999999999999999999: must be a whole number from 0 to 2^63 - 1",
    "hydra.run.dir=here": "hydra.run.dir=here: has no effect in rnnlab: a run's folder lies in paths.outputs",
    "hydra.job.name=a": "hydra.job.name=a: has no effect in rnnlab: name=NAME names the experiment",
    "trainer.enable_progress_bar=false": "trainer.enable_progress_bar: no such key. the bar is a callback",
    "+trainer.plugins=[]": "trainer.plugins: rnnlab writes its checkpoints by a plugin of its own",
}  # fmt: skip


@pytest.mark.parametrize("asked", CASES)
def test_a_config_that_cannot_be_is_one_line_and_leaves_nothing(asked, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SINE, *asked.split(" ")]) == 2
    said = capsys.readouterr()
    assert CASES[asked] in said.err, said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.json")) and not list(tmp_path.rglob("*.yaml"))


@pytest.mark.parametrize(
    "asked", ["trainer.max_steps=0", "trainer.max_epochs=0", "trainer.limit_train_batches=0"]
)
def test_no_steps_at_all_show_what_the_untrained_model_scores(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SINE, asked, "scheduler=cosine"]) == 0


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (f"{STOPPER} trainer.limit_val_batches=0", "callbacks.early_stopping: nothing is validated in this run"),
        (f"{STOPPER} trainer.check_val_every_n_epoch=5", "callbacks.early_stopping: nothing is validated in this run"),
        ("scheduler=plateau trainer.check_val_every_n_epoch=5", "scheduler: nothing is validated in this run"),
        ("trainer.gradient_clip_algorithm=value", "trainer.gradient_clip_algorithm=value: clips nothing without "
         "trainer.gradient_clip_val"),
        ("trainer.accumulate_grad_batches=9", "trainer.accumulate_grad_batches=9: an epoch has 4 batches, so that "
         "each step has 4 instead of 9; the missing ones count as zeros in its gradient"),
        ("trainer.accumulate_grad_batches=3", "trainer.accumulate_grad_batches=3: an epoch has 4 batches, so that "
         "the last step of each epoch has 1 instead of 3; the missing ones count as zeros in its gradient"),
        ("trainer.overfit_batches=1 trainer.check_val_every_n_epoch=9", "nothing is validated in this run"),
        (f"{CHECKPOINT} +callbacks.c.every_n_train_steps=9", "every_n_train_steps=9: the run has 8 steps, so that"),
        (f"{CHECKPOINT} +callbacks.c.every_n_epochs=3", "every_n_epochs=3: the run has 2 epochs, so that it saves"),
        ("trainer.log_every_n_steps=9", "trainer.log_every_n_steps=9: the run has 8 steps, so that its training"),
        ("scheduler=cosine scheduler.interval=epoch scheduler.total_steps=8", "scheduler.total_steps=8: the run has 2 "
         "epochs, so that the schedule is cut off before its end"),
    ],
)  # fmt: skip
def test_what_is_seldom_meant_is_said_and_trained(asked, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SINE, *asked.split(" ")]) == 0
    assert line in " ".join(capsys.readouterr().err.split())


def test_a_callback_may_have_numbers_as_keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scheduling = [
        "+callbacks.c._target_=lightning.pytorch.callbacks.Timer",
        "+callbacks.c.duration={days:0,hours:1}",
    ]
    assert main(["train", *SINE, *scheduling]) == 0
    numbers = ["+callbacks.c._target_=numbered.Numbered", "+callbacks.c.at={0:2,4:1}"]
    (tmp_path / "numbered.py").write_text(
        "from lightning.pytorch import Callback\nclass Numbered(Callback):\n"
        "    def __init__(self, at):\n        assert at == {0: 2, 4: 1}, at\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["train", *SINE, *numbers]) == 0
    assert main(["train", *SINE, *numbers, "trainer.max_epochs=3"]) == 0


def test_what_nobody_can_foresee_is_a_line_with_its_trace_in_the_runs_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "stumbling.py").write_text(
        "from lightning.pytorch import Callback\nclass Stumbling(Callback):\n"
        "    def on_train_epoch_end(self, trainer, task):\n        raise ValueError('two\\nlines')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SINE, "+callbacks.c._target_=stumbling.Stumbling"]) == 1
    (trace,) = tmp_path.rglob("traceback.txt")
    assert "raise ValueError" in trace.read_text()
    said = capsys.readouterr().err.strip().splitlines()
    assert said == [
        f"ValueError: two lines (stumbling.py, line 4); its trace is in {trace.relative_to(tmp_path)}"
    ]


def test_a_finished_run_is_not_lost_to_a_wrong_callback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SINE]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    wrong = [
        "rerun=true",
        "+callbacks.c._target_=lightning.pytorch.callbacks.LearningRateMonitor",
        "+callbacks.c.depth=1",
    ]
    assert main(["train", *SINE, *wrong]) == 2
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_every_argument_of_lightnings_trainer_is_a_key_or_is_explained():
    arguments = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    keys, explained = set(Schema.model_fields), set(Schema.reserved)
    assert arguments <= keys | explained
    assert not keys & explained
    assert keys - arguments == set(NOT_FOR_THE_TRAINER) - set(OF_A_STEP) - {"log_every_n_steps"}


def trainer(**changed):
    asked = {
        "max_epochs": 2,
        "max_steps": -1,
        "accumulate_grad_batches": 1,
        "limit_val_batches": None,
        "check_val_every_n_epoch": 1,
        "val_check_interval": None,
        "fast_dev_run": False,
        "overfit_batches": 0.0,
    }
    return asked | changed  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "due"),
    [
        ({}, True),
        ({"limit_val_batches": 0}, False),
        ({"limit_val_batches": 0.1}, False),  # of 5 batches
        ({"max_epochs": -1, "max_steps": 3}, False),
        ({"max_epochs": -1, "max_steps": 4}, True),
        ({"max_epochs": -1, "max_steps": 3, "val_check_interval": 3}, True),
        ({"max_epochs": -1, "max_steps": 2, "val_check_interval": 3}, False),
        ({"check_val_every_n_epoch": 3}, False),
        ({"check_val_every_n_epoch": 2, "val_check_interval": 2, "max_epochs": 1}, False),
        ({"check_val_every_n_epoch": 2, "val_check_interval": 2, "max_epochs": -1, "max_steps": 6}, True),
        ({"check_val_every_n_epoch": None, "val_check_interval": 9}, False),
        ({"check_val_every_n_epoch": None, "val_check_interval": 8}, True),
        ({"max_epochs": -1}, True),
        ({"val_check_interval": 0.5, "max_epochs": -1, "max_steps": 2}, True),
    ],
)
def test_whether_a_validation_is_due_is_what_lightning_does(changed, due):
    assert validated(trainer(**changed), batches=4, val=5) is due


def test_sizes_are_counted_as_lightning_does():
    assert [limited(4, n) for n in (None, 2, 9, 0.5, 0.24, 1.0, 0)] == [4, 2, 4, 2, 0, 4, 0]
    assert epochs(trainer(max_epochs=-1), 4) == math.inf
    assert epochs(trainer(max_epochs=5, max_steps=6, accumulate_grad_batches=2), 4) == 3


@pytest.mark.parametrize(
    ("resample", "season", "told"),
    [("30min", 24, "12 hours"), ("1h", 24, ""), ("2h", 84, ""), ("d", 7, ""), ("15min", 96, ""), (None, 5, ""),
     ("h", None, ""), ("90s", 24, "0.6 hours")],
)  # fmt: skip
def test_a_season_of_resampled_rows_is_held_against_the_day(resample, season, told):
    (note,) = [*preflight._season({"resample": resample, "season": season})] or [""]
    assert (f"data.season={season}: with data.resample={resample} that is {told}," in note) == bool(told)


def test_two_words_on_the_runs_length_and_on_the_batch_are_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for asked, line in (
        (
            "scheduler=cosine scheduler.total_steps=5",
            "the run has 8 steps, so that the schedule ends 3 steps earlier; null is",
        ),
        (
            "scheduler=cosine scheduler.total_steps=50",
            "so that the schedule is cut off before its end; null is the run's",
        ),
        ("data.batch_size=999", "data.batch_size=999: the training part has 1"),
    ):
        assert main(["train", *SINE, *asked.split()]) == 0
        assert line in " ".join(capsys.readouterr().err.split()), asked
    plateau = "scheduler=plateau scheduler.mode=max"
    assert main(["train", *SINE, *plateau.split()]) == 2
    assert (
        "scheduler.mode=max: the best loss/val is the lowest; use scheduler.mode=min"
        in capsys.readouterr().err
    )
