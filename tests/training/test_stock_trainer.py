"""A stock Lightning Trainer reports a task's numbers."""

import pytest
from lightning.pytorch import Trainer

from rnnlab.config import build


def test_a_stock_trainer_reports_what_the_run_did(small):
    run = small()
    data = build(run.config["data"], "data")
    data.prepare_data()
    data.setup("fit")
    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
                      max_epochs=1)  # fmt: skip
    (tested,) = trainer.test(run.model, datamodule=data, verbose=False)
    assert tested["test/mse"] == pytest.approx(run.results["test"]["mse"], rel=1e-5)
    (validated,) = trainer.validate(run.model, datamodule=data, verbose=False)
    assert validated["loss/val"] == pytest.approx(run.results["best"]["metrics"]["loss/val"], rel=1e-5)
    trainer.fit(run.model, datamodule=data)
    assert trainer.callback_metrics["loss/val"] > 0
