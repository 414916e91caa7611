"""What a run monitors, where a module of the user's own names it, and cannot always measure it."""

import json

import numpy as np
import plain_project
import pytest
import torch
from rich.console import Console

import rnnlab
from rnnlab.report.curves import row_curve
from rnnlab.report.leaderboard import of_runs
from rnnlab.runs.metrics import as_logged
from rnnlab.terminal.progress import Progress

ASKED = ("trainer.max_epochs=4", "trainer.accelerator=cpu", "trainer.threads=1", "callbacks=none", "name=own",
         "logger=none")  # fmt: skip


class Falling(plain_project.Module):
    """Logs a score that falls from validation to validation, and is not defined at the first."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        epoch = self.current_epoch
        self.log("val/score", torch.tensor(float("nan") if epoch == 0 else 1.0 / epoch), batch_size=1)


def test_val_names_are_those_that_the_module_logs_and_any_number_is_better_than_none(tmp_path):
    """The config reads val/score as metric/score, which only rnnlab's tasks log; and a first NaN stayed the best."""
    run = rnnlab.train(*ASKED, "monitor=val/score", "mode=max", f"paths.outputs={tmp_path}",
                       module=Falling(), data=plain_project.Data(), quiet=True)  # fmt: skip
    best = run.results["best"]
    assert (best["monitor"], best["value"], best["epoch"], run.objective) == ("val/score", 1.0, 1, 1.0)
    (row,) = of_runs([run]).rows
    assert (row.metric, row.mean) == ("val/score", 1.0)
    assert row_curve(row, row.metric).values.tolist() == [[1.0, 0.5, pytest.approx(1 / 3)]]
    saved = torch.load(run.best_checkpoint, weights_only=True)["best"]
    assert json.loads(json.dumps(saved)) == best


def test_a_name_is_another_only_where_it_was_not_measured():
    assert as_logged("metric/r2", {"val/r2"}) == "val/r2"
    assert as_logged("loss/val", {"val/loss"}) == "val/loss"
    assert as_logged("metric/r2", {"val/r2", "metric/r2"}) == "metric/r2"
    assert as_logged("val_r2", {"val/r2"}) == "val_r2"


def test_the_line_of_a_training_forgets_a_validation_without_a_number():
    shown, line = [], Progress()
    line.console = Console(quiet=True)
    trainer = type("Trainer", (), {"sanity_checking": False})()
    for value in (np.nan, 0.5, np.nan, 0.7):
        trainer.callback_metrics = {"loss/val": torch.tensor(value)}
        line.on_validation_end(trainer, None)
        shown.append(line._best)
    assert np.isnan(shown[0]) and shown[1:] == [0.5, 0.5, 0.5]
