"""Plain Optuna with plain Lightning, one trial at a time, written as in their tutorials.

Prints the mean seconds per trial, without the first one, which warms up.
"""

import sys
import tempfile
import time

import lightning
import optuna
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from train import Forecaster

CELLS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Pruning(Callback):
    def __init__(self, trial):
        self.trial = trial

    def on_validation_end(self, trainer, module):
        self.trial.report(trainer.callback_metrics["loss/val"].item(), trainer.global_step)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def objective(trial):
    lightning.seed_everything(0)
    series = torch.sin(torch.linspace(0, 100, 1000))[:, None] + 0.1 * torch.randn(1000, 1)
    x, y = series.unfold(0, 20, 1).transpose(1, 2)[:-1].contiguous(), series[20:]
    train, val = TensorDataset(x[:680], y[:680]), TensorDataset(x[700:830], y[700:830])
    hidden, layers = trial.suggest_categorical("hidden", [8, 16, 32]), trial.suggest_int("layers", 1, 2)
    cell = CELLS[trial.suggest_categorical("cell", list(CELLS))]
    module = Forecaster(hidden, layers, trial.suggest_float("lr", 1e-4, 1e-1, log=True))
    module.rnn = cell(1, hidden, layers, batch_first=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_steps=1000,
            max_epochs=-1,
            logger=TensorBoardLogger(folder),
            callbacks=[ModelCheckpoint(folder, monitor="loss/val", save_last=True), Pruning(trial)],
            log_every_n_steps=1,
            enable_progress_bar=False,
        )
        trainer.fit(module, DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=256))
        return trainer.checkpoint_callback.best_model_score.item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner()
    )
    study.optimize(objective, n_trials=1)
    began = time.perf_counter()
    study.optimize(objective, n_trials=int(sys.argv[1]))
    print((time.perf_counter() - began) / int(sys.argv[1]))
