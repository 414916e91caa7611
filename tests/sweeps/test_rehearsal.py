"""What a single run refuses before its training a sweep refuses when it is planned, once, and so does a dry run."""

import pytest

from rnnlab.cli import main
from rnnlab.config import check, compose
from rnnlab.sweeps import rehearsal
from rnnlab.sweeps.rehearsal import Parts, Questions, answers

SMALL = ("data=sine", "data.n_points=200", "model.hidden_size=4", "trainer.accelerator=cpu", "trainer.max_epochs=2",
         "~callbacks.progress", "~callbacks.pictures", "model.engine=torch", "logger=none")  # fmt: skip
REFUSED = {
    "trainer.limit_train_batches=0.001": "trainer.limit_train_batches=0.001: leaves no batch: the training part has 4",
    "trainer.limit_test_batches=0.1": "trainer.limit_test_batches=0.1: leaves no batch: the test part has 1 batch;",
    "trainer.val_check_interval=1000": "trainer.val_check_interval=1000: an epoch has 4 batches",
    "trainer.overfit_batches=0.1": "trainer.overfit_batches=0.1: leaves no batch: the training part has 4 batches",
    "+callbacks.c._target_=lightning.pytorch.callbacks.GradientAccumulationScheduler +callbacks.c.scheduling={{0:1}}":
    "callbacks.c: GradientAccumulationScheduler cannot serve: trainer.accumulate",
    "mode=max": "mode=max: the best loss/val is the lowest",
    "scheduler=cosine trainer.max_epochs=-1 trainer.max_time=00:00:00:05": "the run's length in steps is not known",
    "scheduler._target_=torch.optim.lr_scheduler.OneCycleLR": "scheduler.max_lr: OneCycleLR needs it: +",
    "optimizer._target_=torch.optim.Adagrad ~optimizer.betas optimizer.lr=-1": "Invalid learning rate: -1",
    "+callbacks.c._target_=lightning.pytorch.callbacks.Timer +callbacks.c.nope=1": "callbacks.c.nope: Timer has no",
    "+trainer.strategy=nowhere": "trainer: You selected an invalid strategy name",
    "callbacks=early_stopping callbacks.early_stopping.mode=max": "callbacks.early_stopping.mode=max: the best",
    "model.init_from={empty}": "model.init_from: ",
}  # fmt: skip


@pytest.mark.parametrize("asked", REFUSED)
def test_a_run_and_a_sweep_refuse_the_same_and_leave_nothing(asked, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    words = [*SMALL, *asked.format(empty=tmp_path / "empty").split()]
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    alone = capsys.readouterr().err.splitlines()
    assert any(REFUSED[asked] in line for line in alone), alone
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    questions = Questions()
    try:
        config = check(compose(words))
    except Exception as error:  # nothing is built to see that
        assert [str(line) for line in error.args] == alone
        return
    assert {questions.number(config | {"seed": seed}) for seed in range(3)} == {0}
    assert list(answers(questions.asked)[0].lines) == alone


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (
            "+hydra.job.env_set.FOO=1",
            "hydra.job.env_set.FOO: rnnlab's workers have the environment of the command",
        ),
        (
            "+hydra.callbacks.x._target_=hydra.experimental.callbacks.PickleJobInfoCallback",
            "call no on_job_start",
        ),
        (
            "notes=x${hydra:job.num}",
            "notes=x${hydra:job.num}: ${hydra:...} has a value only in a single run of `rnnlab train`",
        ),
    ],
)
def test_what_only_a_job_of_hydras_own_has_is_refused_in_a_sweep(asked, line, multirun, tmp_path):
    done = multirun(*SMALL, asked, "seed=0,1", f"paths.outputs={tmp_path / 'out'}")
    assert done.code == 2 and done.err.count(line) == 1 and not (tmp_path / "out").exists()


def test_a_sweep_and_a_dry_run_refuse_at_planning(multirun, tmp_path):
    """All else is asked of `answers`, as a worker does it."""
    for more in ((), ("sweep.dry_run=true",)):
        done = multirun(*SMALL, "+callbacks.c._target_=lightning.pytorch.callbacks.Timer", "+callbacks.c.nope=1",
                        "seed=0,1,2", "trainer.val_check_interval=1000,2", f"paths.outputs={tmp_path / 'out'}",
                        *more)  # fmt: skip
        assert done.code == 2 and "6 of 6 points are invalid" in done.err
        assert done.err.count("callbacks.c.nope: Timer has no such argument") == 1
        assert not (tmp_path / "out").exists()


def test_what_a_run_would_warn_of_is_said_once(multirun, tmp_path):
    done = multirun(*SMALL, "trainer.accumulate_grad_batches=9,1", "seed=0,1", "sweep.dry_run=true",
                    f"paths.outputs={tmp_path / 'out'}")  # fmt: skip
    assert done.code == 0 and not (tmp_path / "out").exists()
    said = "each step has 4 instead of 9; the missing ones count as zeros in its gradient (2 runs)"
    assert " ".join(done.out.split()).count(said) == 1


@pytest.mark.parametrize(
    "more", [(), ("trainer.precision=16-mixed",), ("trainer.devices=[1]",), ("trainer.devices=2",)]
)
def test_a_gpu_that_only_other_machines_have_is_not_asked_for_here(more):
    questions = Questions()
    questions.number(check(compose([*SMALL, "trainer.accelerator=gpu", *more])))
    assert answers(questions.asked)[0].lines == ()


def test_outputs_that_cannot_be_written_are_refused_by_a_dry_run(multirun, tmp_path):
    (tmp_path / "file").write_text("")
    done = multirun(*SMALL, "seed=0,1", f"paths.outputs={tmp_path / 'file'}", "sweep.dry_run=true")
    assert done.code == 2 and "cannot write to" in done.err


def test_what_runs_share_is_made_once(monkeypatch):
    base = check(compose(SMALL))
    questions = Questions()
    models = [base["model"] | {"hidden_size": size} for size in (4, 8)]
    optimizers = [base["optimizer"] | {"lr": lr} for lr in (0.1, 0.2, 0.3)]
    for model in models:
        for optimizer in optimizers:
            for seed in range(9):
                data = base["data"] | {"seed": seed}
                questions.number(base | {"model": model, "optimizer": optimizer, "data": data, "seed": seed})
    assert len(questions.asked) == 6
    parts = Parts()
    assert not any(parts.answer(config).lines for config in questions.asked)
    made = [type(part).__name__ for part in parts.made.values()]
    assert made.count("Sine") == 2  # by its node, and by what it is without the size of batches
    assert (made.count("Forecaster"), made.count("Optimization"), made.count("Trainer")) == (2, 3, 1)


def test_another_size_of_batches_reads_no_file_again(tmp_path, monkeypatch):
    (tmp_path / "s.csv").write_text("t,v\n" + "".join(f"{i},{i % 7}\n" for i in range(900)))
    base = check(compose(["data=series", f"data.path={tmp_path / 's.csv'}", "data.target=v"]))
    questions, read = Questions(), []
    from rnnlab.data import Series

    setup = Series.setup
    monkeypatch.setattr(Series, "setup", lambda self, stage=None: (read.append(1), setup(self, stage))[1])
    for size in (8, 16):
        questions.number(base | {"data": base["data"] | {"batch_size": size}})
    config = questions.asked[1]
    parts = Parts()
    assert [parts.answer(one).lines for one in questions.asked] == [(), ()]
    assert len(read) == 1
    first, second = (parts.made[(id(one["data"]),)] for one in (questions.asked[0], config))
    assert len(first.loader("train", shuffle=True)) > len(second.loader("train", shuffle=True))


def test_beyond_the_budget_sizes_are_still_looked_at(monkeypatch):
    monkeypatch.setattr(rehearsal, "BUDGET", -1.0)
    questions = Questions()
    questions.number(check(compose([*SMALL, "trainer.val_check_interval=1000"])))
    questions.number(
        check(
            compose([*SMALL, "+callbacks.c._target_=lightning.pytorch.callbacks.Timer", "+callbacks.c.n=1"])
        )
    )
    (refused,), nothing = (found.lines for found in answers(questions.asked))
    assert "an epoch has 4 batches" in refused and nothing == ()


def test_a_corpus_of_a_users_own_class_is_none_to_download(tmp_path):
    for node in (
        {"corpus": "text8"},
        {"corpus": ["text8"], "folder": "x"},
        {"corpus": "text8", "folder": None},
    ):
        assert not rehearsal.not_here({"_target_": "mine.Data"} | node)
    assert rehearsal.not_here({"corpus": "text8", "folder": str(tmp_path)})


def test_the_rate_of_copied_weights_is_each_points_own(small):
    run = small("trainer.max_epochs=1")
    config = check(compose([
        "experiment=sine", "data.n_points=200", "model.hidden_size=8", "trainer.accelerator=cpu",
        "scheduler._target_=torch.optim.lr_scheduler.OneCycleLR", "~scheduler.warmup_steps", "~scheduler.final_ratio",
        "scheduler.total_steps=auto", "+scheduler.max_lr=0.01", f"model.init_from={run.folder}",
        "model.init_from_rate=0.1",
    ]))  # fmt: skip
    parts = Parts()
    assert "OneCycleLR sets rates of its own" in parts.answer(config).lines[0]
    assert parts.answer(config | {"model": config["model"] | {"init_from_rate": 1.0}}).lines == ()
