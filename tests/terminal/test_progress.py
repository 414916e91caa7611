"""The progress bar of a run, drawn on a real terminal."""

import io
import re
from types import SimpleNamespace

import pytest

from emulator import run_on_terminal, terminal
from rnnlab.terminal import progress
from rnnlab.terminal.console import Console


@pytest.mark.parametrize("width", [60, 120])
def test_the_bar_is_one_line_that_is_redrawn(monkeypatch, width):
    clock = iter(range(100))
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    trainer = SimpleNamespace(max_steps=80, max_epochs=-1, num_training_batches=10, global_step=0, current_epoch=0,
                              callback_metrics={}, sanity_checking=False)  # fmt: skip
    with terminal(width) as (file, screen):
        bar = progress.Progress(refresh_s=0.0)
        bar.console = Console(file=file, width=width)
        bar.on_train_start(trainer, None)
        trainer.global_step = 40
        bar.on_train_batch_end(trainer, None, {"loss": 0.5})
        trainer.callback_metrics = {"loss/val": 0.25}
        bar.on_validation_end(trainer, None)
        trainer.global_step = 80
        bar.on_train_end(trainer, None)
    half = next(line for frame in screen.frames for line in frame if "40/80" in line)
    last = [line for line in screen.shown() if line]
    assert len(last) == 1 and max(map(len, [half, *last])) <= width
    if width == 120:  # there is room for all
        assert half.startswith("epoch 1 ") and last[0].startswith("epoch 0 ")
        assert re.search(r"━{10,12}[╸╺]━+ 40/80 steps loss 0\.5", half), half
        assert re.search(r"80/80 steps best val 0\.25 +\d+/s", last[0]), last
    else:  # nothing is cut
        assert re.match(r"40/80 loss 0\.5  \d+/s [-\d:]+", half), half
        assert re.match(r"80/80 best val 0\.25  \d+/s [-\d:]+", last[0]), last


def test_the_line_of_a_long_training_fits_sixty_columns(monkeypatch):
    monkeypatch.setattr(
        progress, "time", SimpleNamespace(perf_counter=iter([0.0, 150.0, 150.0, 150.0]).__next__)
    )
    seen = {"loss/val": 0.0012345}
    trainer = SimpleNamespace(max_steps=1_000_000, max_epochs=-1, num_training_batches=10, global_step=0,
                              current_epoch=0, callback_metrics=seen, sanity_checking=False)  # fmt: skip
    with terminal(60) as (file, screen):
        bar = progress.Progress(refresh_s=0.0)
        bar.console = Console(file=file, width=60)
        bar.on_train_start(trainer, None)
        bar.on_validation_end(trainer, None)
        trainer.global_step = 876_543
        bar.on_train_batch_end(trainer, None, {"loss": 0.0023456})
        bar.on_train_end(trainer, None)
    line = next(line for frame in screen.frames for line in frame if "loss" in line)
    assert line.startswith("876543/1000000 loss 0.00235  best val 0.00123  5,844/s ")
    assert "…" not in line and len(line) <= 60


def test_a_run_on_a_terminal_shows_its_bar_and_its_scores(tmp_path):
    screen = run_on_terminal(60, "train", "experiment=sine", "data.n_points=200", "model.hidden_size=4",
                             "trainer.accelerator=cpu", "trainer.max_epochs=3", "~callbacks.pictures",
                             f"paths.outputs={tmp_path}")  # fmt: skip
    bars = [line for line in screen.shown() if re.match(r"\d+/\d+ ", line)]
    steps = re.search(r"(\d+)/(\d+)", bars[-1])
    assert len(bars) == 1 and steps[1] == steps[2]
    assert any(line.startswith("persistence") for line in screen.shown())


@pytest.mark.parametrize(("of_task", "of_trainer"), [(4, 1), (None, 4)])
def test_the_steps_in_all_count_what_is_accumulated(of_task, of_trainer):
    """For a user-defined module the Trainer accumulates: there the line said four times the steps."""
    module = (
        SimpleNamespace()
        if of_task is None
        else SimpleNamespace(optimization=SimpleNamespace(accumulate=of_task))
    )
    trainer = SimpleNamespace(max_steps=-1, max_epochs=2, num_training_batches=10, lightning_module=module,
                              accumulate_grad_batches=of_trainer)  # fmt: skip
    assert progress.steps_in_all(trainer) == 2 * 3


def test_a_resumed_training_prints_no_lines_for_the_steps_before():
    trainer = SimpleNamespace(max_steps=1000, max_epochs=-1, num_training_batches=10, global_step=700,
                              current_epoch=0, callback_metrics={}, sanity_checking=False)  # fmt: skip
    bar = progress.Progress(refresh_s=0.0)
    bar.console = Console(file=io.StringIO())
    bar.on_train_start(trainer, None)
    for trainer.global_step in range(701, 1001):
        bar.on_train_batch_end(trainer, None, {"loss": 0.5})
    bar.on_train_end(trainer, None)
    lines = bar.console.file.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["800/1000", "900/1000", "1000/1000"]
