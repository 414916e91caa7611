"""Loggers that are not ours are told the resolved config and the run's name, and disturb nothing."""

import csv
import inspect
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml
from lightning.pytorch.loggers.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rnnlab.config.building import locate

CONF = Path(__file__).parents[2] / "conf"
CSV = "logger.csv={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: '{run_folder}', name: csv, version: ''}"
BOARD = ("logger.stock={_target_: lightning.pytorch.loggers.TensorBoardLogger, save_dir: '{run_folder}', name: stock, "
         "version: '{run_name}'}")  # fmt: skip


class Listening(Logger):
    """A logger of somebody's own."""

    heard: ClassVar[list] = []

    def __init__(self, title, token=""):
        super().__init__()
        self.title = title
        Listening.heard = [("title", title)]

    name = property(lambda self: self.title)
    version = ""

    def log_hyperparams(self, params, *args, **kwargs):
        Listening.heard.append(("hyperparameters", dict(params)))

    def log_metrics(self, metrics, step=None):
        Listening.heard.append(("metrics", step))


def test_lightnings_loggers_get_the_config_and_the_run_as_without_them(small):
    alone = small("seed=1", "trainer.max_epochs=2")
    run = small("seed=1", "trainer.max_epochs=2", f"+{CSV}", f"+{BOARD}", "rerun=true")
    told = yaml.safe_load((run.folder / "csv" / "hparams.yaml").read_text())
    assert (
        told["model.hidden_size"] == 8
        and told["seed"] == 1
        and told["optimizer.lr"] == run.config["optimizer"]["lr"]
    )
    with (run.folder / "csv" / "metrics.csv").open() as f:
        losses = [row["loss/val"] for row in csv.DictReader(f) if row["loss/val"]]
    assert [float(x) for x in losses] == pytest.approx(list(run.metrics["loss/val"][1]))
    stock = EventAccumulator(str(run.folder / "stock" / run.folder.name))
    stock.Reload()
    assert [e.value for e in stock.Scalars("loss/val")] == pytest.approx(list(run.metrics["loss/val"][1]))
    assert run.id == alone.id and run.metrics_file.read_bytes() == (alone.folder / "metrics.csv").read_bytes()


def test_checkpoints_hold_nothing_of_them(small):
    run = small(f"+{CSV}")
    state = torch.load(run.last_checkpoint, weights_only=True)
    assert "hyper_parameters" not in state
    assert small(f"+{CSV}").status == "finished"


def test_a_logger_of_ones_own_hears_the_name_the_config_without_secrets_and_the_metrics(small):
    run = small(
        "+logger.own={_target_: test_other_loggers.Listening, title: 'sine {run_name}', token: hidden}"
    )
    (title, told, *metrics) = Listening.heard
    assert title == ("title", f"sine {run.folder.name}")
    assert told[1]["model.cell"] == "gru" and told[1]["data.noise_std"] == run.config["data"]["noise_std"]
    assert "hidden" not in map(str, told[1].values())
    assert [step for kind, step in metrics if kind == "metrics"][-1] == run.results["steps"]


@pytest.mark.parametrize("name, key", [("mlflow", "run_name"), ("wandb", "name")])
def test_services_get_the_name_of_the_runs_folder(name, key):
    node = yaml.safe_load((CONF / "logger" / f"{name}.yaml").read_text())[name]
    assert node[key] == "{run_name}"
    of_init = {"group", "job_type", "tags"} if name == "wandb" else set()  # its **kwargs
    known = set(inspect.signature(locate(node["_target_"], "logger")).parameters) | of_init
    assert set(node) - {"_target_"} <= known
