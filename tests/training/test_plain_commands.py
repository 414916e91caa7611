"""The commands for a run of a LightningModule that is none of rnnlab's: each that is suggested works."""

import json
import shlex

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from test_plain_lightning import PLAIN, bits, command, configs, only, train  # noqa: F401  (fixtures)
from torch import nn
from torch.utils.data import DataLoader

import rnnlab
from rnnlab.api.prediction import stacked
from rnnlab.runs.load import read_checkpoint

EXPERIMENT = (
    "# @package _global_\nname: mine\ndefaults:\n  - override /model: plain\n  - override /data: WithTest\n"
)


@pytest.fixture
def trained(command, tmp_path):  # noqa: F811
    def trained(*words):
        done = command("train", *PLAIN, "trainer.max_epochs=2", *words, f"paths.outputs={tmp_path}")
        assert done.returncode == 0, done.stderr
        return only(tmp_path), done.stdout

    return trained


def test_evaluate_repeats_the_results(trained, command):  # noqa: F811
    run, said = trained("data=WithTest")
    (suggested,) = [line for line in said.splitlines() if line.startswith("evaluate ")]
    _, _, *words = shlex.split(suggested)
    done = command(*words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["split"] == "test" and found["metrics"] == run.results["test"]
    done = command("evaluate", str(run.folder), "--split", "val", "--json")
    assert json.loads(done.stdout)["metrics"]["loss/val"] == pytest.approx(run.objective)
    done = command("evaluate", str(run.folder), "--split", "train")
    assert done.returncode == 2 and "val and test" in done.stderr
    assert "loss" in command("evaluate", str(run.folder)).stdout


def test_without_a_test_part_the_validation_is_evaluated(trained, command):  # noqa: F811
    run, _ = trained()
    found = json.loads(command("evaluate", str(run.folder), "--json").stdout)
    assert found["split"] == "val" and found["metrics"]["loss/val"] == pytest.approx(run.objective)


def test_unroll_says_what_it_can_show(trained, command):  # noqa: F811
    run, _ = trained()
    done = command("unroll", str(run.folder), "--input", "0.1 0.2")
    assert done.returncode == 2 and done.stderr.startswith(f"{run.folder} holds a ")
    assert "only a Task with a stack and a linear head" in done.stderr and len(done.stderr.splitlines()) == 1


def test_nothing_that_fails_is_suggested(trained):
    _, said = trained("data=TrainAlone")
    assert "TensorBoard " in said and "evaluate " not in said


def test_the_table_has_each_part_and_no_empty_column(trained):
    run, said = trained("data=WithTest")
    lines = said.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("best, step")]
    assert lines[at - 2].split() == ["training", "validation", "test"]
    assert lines[at - 1].split() == ["loss"] * 3
    best = run.results["best"]["metrics"]
    shown = [best["loss/train"], best["loss/val"], run.results["test"]["loss/test"]]
    assert lines[at].split()[3:] == [f"{value:.4g}" for value in shown]


def test_a_longer_run_is_the_unbroken_one(train):  # noqa: F811
    short = train("short", "data=WithTest", "trainer.max_epochs=2")
    long = train("long", "data=WithTest", "trainer.max_epochs=4")
    asked = (f"resume={short.folder}", "trainer.max_epochs=4", "model=plain", "data=WithTest")
    grown = rnnlab.train(*asked, config_dir=train.configs)
    assert bits(grown) == bits(long)


def test_an_experiment_of_a_folder_of_configs_is_found_again(command, configs, tmp_path, monkeypatch):  # noqa: F811
    from pathlib import Path

    file = Path(configs) / "experiment" / "mine.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(EXPERIMENT)
    asked = ("experiment=mine", "trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=none")
    assert command("train", *asked, f"paths.outputs={tmp_path}").returncode == 0
    run = only(tmp_path)
    done = command("resume", str(run.folder), "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    file.rename(file.with_suffix(".gone"))
    done = command("resume", str(run.folder), "trainer.max_epochs=3")
    file.with_suffix(".gone").rename(file)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_report_board_and_leaderboard_know_it(trained, command, tmp_path):  # noqa: F811
    run, _ = trained("data=WithTest")
    done = command("report", str(run.folder.parent))
    assert done.returncode == 0 and "loss/val" in done.stdout
    page = tmp_path / "page.html"
    assert (
        command("report", str(run.folder), "--html", str(page)).returncode == 0 and page.stat().st_size > 1000
    )
    assert torch.load(run.best_checkpoint, weights_only=True)["best"]["value"] == run.objective
    model = run.model
    assert type(model).__name__ == "Module" and not model.training


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ([], "this part of the data has no batches"),
        ([torch.ones(1), None], "the model gives a NoneType"),
        (
            [torch.ones(1, 2), torch.ones(1, 3)],
            r"the batches' results cannot be put together: \(1, 2\), \(1, 3\)",
        ),
    ],
)
def test_predictions_that_cannot_be_put_together_are_refused_in_a_line(parts, line):
    with pytest.raises(rnnlab.UserError, match=f"^predict: {line}"):
        stacked(parts, 0)


def test_predictions_in_bfloat16_become_single_precision():
    found = stacked([torch.ones(1, dtype=torch.bfloat16), torch.full((1,), 0.5, dtype=torch.bfloat16)], 0)
    assert found.dtype == "float32" and found.tolist() == [1.0, 0.5]


def test_missing_memory_is_no_question_of_shapes(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")

    monkeypatch.setattr(torch, "cat", fails)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        stacked([torch.ones(1)], 0)


class Remembers(LightningModule):
    """Keeps arguments as Lightning does; a loss is no plain value."""

    def __init__(self, width=2, loss=None):
        super().__init__()
        self.save_hyperparameters()
        self.net, self.loss = nn.Linear(1, width), loss or nn.MSELoss()

    def training_step(self, batch, i):
        return self.loss(self.net(batch), batch.expand(-1, self.hparams.width))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Ones(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(torch.ones(4, 1), batch_size=2)


@pytest.mark.parametrize("loss", [None, nn.L1Loss()])
def test_saved_hyperparameters_leave_checkpoints_that_can_be_read(tmp_path, loss):
    run = rnnlab.train("trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=none", "callbacks=none",
                       f"paths.outputs={tmp_path}", module=Remembers(3, loss), data=Ones(), quiet=True)  # fmt: skip
    assert read_checkpoint(run.last_checkpoint)["global_step"] == 2
    if loss is None:
        again = Remembers.load_from_checkpoint(run.best_checkpoint)
        assert torch.equal(again.net.weight, run.model.net.weight)
    else:
        assert "hyper_parameters" not in read_checkpoint(run.best_checkpoint)
