"""What a run leaves behind: status, metrics, events, checkpoints."""

import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rnnlab
from rnnlab.training.recorder import Diverged


def test_events_and_csv_hold_the_same_scalars_and_speed_is_in_the_events_alone(small):
    run = small()
    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = set(events.Tags()["scalars"])
    # what is of no step is in run.json: how it ended, and the lines that it is compared with
    beside = {t for t in tags if t.split("/")[0] in ("best", "last", "test", "excess", "run", "reference")}
    assert beside and not beside & set(run.metrics)
    assert tags - set(run.metrics) - beside == {"speed/steps_per_s"}
    for name, (steps, values) in run.metrics.items():
        seen = events.Scalars(name)
        assert [e.step for e in seen] == list(steps)
        np.testing.assert_allclose([e.value for e in seen], values, rtol=1e-6)
    assert set(run.metrics) >= {"loss/train", "loss/val", "optim/lr", "optim/grad_norm", "metric/mse"}
    steps = run.metrics["loss/train"][0]
    assert list(steps) == list(range(1, run.results["steps"] + 1))


def test_the_folder_tells_the_story(small):
    run = small("notes=a note")
    names = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
    assert {"run.json", "config.yaml", "overrides.yaml", "manifest.json", "metrics.csv", "checkpoints/best.ckpt",
            "checkpoints/last.ckpt"} <= names  # fmt: skip
    assert run.status == "finished" and run.config["notes"] == "a note"
    assert "notes=a note" in (run.folder / "overrides.yaml").read_text()
    manifest = run.manifest
    assert manifest["engine"]["name"] == "torch" and manifest["versions"]["torch"].startswith(
        torch.__version__[:4]
    )
    assert manifest["seed"] == 0 and len(manifest["data_hash"]) == 64
    assert not list(run.folder.rglob(".*")), "a temporary file was left"
    for file in ("best.ckpt", "last.ckpt"):
        assert "state_dict" in torch.load(run.folder / "checkpoints" / file, weights_only=True)


def test_best_and_test_are_of_the_best_validation(small):
    run = small("trainer.max_epochs=6", "optimizer.lr=0.03")
    steps, values = run.metrics["loss/val"]
    best = run.results["best"]
    assert (best["value"], best["step"]) == (values.min(), steps[values.argmin()])
    assert run.results["last"]["step"] == steps[-1]
    assert run.objective == values.min()
    # the test part scored by hand, with the weights that the run's model has
    from rnnlab.data import Sine

    data = Sine(n_points=200, noise_std=0.1)
    data.setup()
    with torch.no_grad():
        x, y = next(iter(data.test_dataloader()))
        mse = float((run.model(x) - y).square().mean())
    assert run.results["test"]["mse"] == pytest.approx(mse, rel=1e-5)


def test_a_diverged_loss_fails_the_run_with_step_and_reason(small, tmp_path):
    with pytest.raises(Diverged, match="at step 2"):
        small("optimizer.lr=1e6")
    (run,) = rnnlab.runs(tmp_path / "sine")
    assert run.status == "failed" and "step 2" in run.record["why"]
    assert "Diverged" in (run.folder / run.record["traceback"]).read_text()


class Poison(Callback):
    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if trainer.global_step == 4:
            task.head.bias.data.fill_(float("nan"))


def test_a_nan_stops_at_its_step(small, tmp_path):
    with pytest.raises(Diverged, match="nan at step 5"):
        small("+callbacks.poison._target_=test_records.Poison")
    (run,) = rnnlab.runs(tmp_path / "sine")
    assert run.status == "failed"
    assert list(run.metrics["loss/train"][0]) == [1, 2, 3, 4]


def test_a_finished_run_is_not_trained_again_unless_asked(small, capsys):
    run = small()
    made = run.record["started"], run.last_checkpoint.stat().st_mtime_ns
    again = small()
    assert (again.record["started"], again.last_checkpoint.stat().st_mtime_ns) == made
    small("rerun=true")
    assert run.last_checkpoint.stat().st_mtime_ns != made[1]
    before = run.last_checkpoint.stat().st_mtime_ns
    manifest = run.manifest
    manifest["sources"]["rnnlab"] = "another"
    run.manifest_file.write_text(json.dumps(manifest))
    capsys.readouterr()
    small()
    assert run.last_checkpoint.stat().st_mtime_ns == before
    assert "Since then rnnlab has changed: these are the old results; rerun=true" in capsys.readouterr().err


def test_early_stopping_and_plateau_see_the_validation(small):
    run = small(
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=2",
        "trainer.max_epochs=40",
        "optimizer.lr=0.1",
    )
    values = run.metrics["loss/val"][1]
    assert len(values) < 40 and values.argmin() == len(values) - 3
    run = small(
        "scheduler=plateau",
        "scheduler.patience=0",
        "optimizer.lr=0.1",
        "trainer.max_epochs=8",
        "callbacks=none",
    )
    values, rates = run.metrics["loss/val"][1], run.metrics["optim/lr"][1]
    worse = sum(v >= min(values[:i]) * (1 - 1e-4) for i, v in enumerate(values[:-1]) if i)
    assert rates[-1] == pytest.approx(0.1 * 0.5**worse) and worse > 0
