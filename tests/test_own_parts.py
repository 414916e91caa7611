"""A cell, a data set and a task of a user's own, by _target_, from an empty folder with the built wheel."""

import json
import os
import subprocess
import sys

from test_wheel import installed  # noqa: F401  (a fixture)

MINE = '''
import numpy as np
import torch
from lightning import LightningModule
from torch import nn, sigmoid, tanh

from rnnlab import Cell
from rnnlab.data.frame import Frame
from rnnlab.data.windows import Windowed


class UGRNN(Cell):
    gates, states = 2, 1

    def step(self, u, state):
        (h,) = state
        c, g = (u + self.recur(h)).chunk(2, dim=-1)
        g = sigmoid(g)
        h = g * h + (1 - g) * tanh(c)
        return h, (h,)


class Sawtooth(Windowed):
    def __init__(self, period, window=10, horizon=1, fractions=(0.6, 0.2, 0.2), batch_size=16, seed=0):
        super().__init__(window, horizon, fractions, batch_size, seed)
        self.period = period

    def read(self):
        times = np.arange(300)
        return Frame(times, (times % self.period / self.period)[:, None], ["value"], ["value"])

    def fit(self, train, columns):
        return np.zeros(1), np.ones(1)

    def make_predictors(self):
        return {}


class Linear(LightningModule):
    """A task as Lightning's own documentation writes them: automatic optimization, self.log."""

    def __init__(self, spec, optimizer):
        super().__init__()
        self.head, self.make_optimizer = nn.Linear(spec["window"], 1), optimizer

    def training_step(self, batch, i):
        x, y = batch
        loss = nn.functional.mse_loss(self.head(x[..., 0]), y[..., 0])
        self.log("loss/train", loss)
        return loss

    def validation_step(self, batch, i):
        x, y = batch
        self.log("loss/val", nn.functional.mse_loss(self.head(x[..., 0]), y[..., 0]))

    def configure_optimizers(self):
        return self.make_optimizer(self.parameters())
'''

SAWTOOTH = "_target_: mine.Sawtooth\nperiod: 7\nseed: ${seed}\n"
EXPERIMENT = """# @package _global_
name: mine
defaults:
  - override /data: sawtooth
trainer:
  max_epochs: 3
"""


def test_own_cell_data_and_task_train_from_an_empty_folder(installed, tmp_path):  # noqa: F811
    for group, text in (("data/sawtooth", SAWTOOTH), ("experiment/mine", EXPERIMENT),
                        ("model/linear", "_target_: mine.Linear\n")):  # fmt: skip
        file = tmp_path / "myconf" / f"{group}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "mine.py").write_text(MINE)
    env = {**os.environ, "PYTHONPATH": str(installed)}

    def train(*overrides: str) -> dict:
        command = [sys.executable, "-m", "rnnlab", "train", "--config-dir", "myconf", "experiment=mine",
                   "trainer.accelerator=cpu", "~callbacks.pictures", *overrides]  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        newest = max((tmp_path / "outputs" / "mine").glob("*/run.json"), key=lambda f: f.stat().st_mtime)
        return json.loads(newest.read_text()) | {"folder": newest.parent, "said": done.stdout}

    own_cell = train("model.cell=mine.UGRNN")
    assert own_cell["status"] == "finished"
    assert own_cell["engine"]["name"] == "native" and "UGRNN" in own_cell["said"]
    assert own_cell["results"]["best"]["value"] < 0.2
    assert set(json.loads((own_cell["folder"] / "manifest.json").read_text())["sources"]) == {
        "mine",
        "rnnlab",
        "torch",
    }

    own_task = train("model=linear", "trainer.max_epochs=5", "optimizer.lr=0.05")
    assert own_task["status"] == "finished"
    scalars = (own_task["folder"] / "metrics.csv").read_text()
    assert "loss/train" in scalars and "loss/val" in scalars
    assert own_task["results"]["best"]["value"] < 0.1
    assert "model-Linear" in own_task["folder"].name
