"""A run that a callback ended before its limit: a status of its own, and what every command makes of it."""

import json
import signal

import pytest

import rnnlab
from rnnlab.cli import main
from rnnlab.errors import UserError

BASE = ("experiment=sine", "model.hidden_size=4", "data.n_points=200", "trainer.max_epochs=4", "trainer.threads=1",
        "trainer.accelerator=cpu", "callbacks=none", "scheduler=constant")  # fmt: skip
OWN = ("+callbacks.end._target_=stopping.EndAt",)
STOCK = "+callbacks.stop._target_=lightning.pytorch.callbacks"


def train(folder, *words):
    return rnnlab.train(*BASE, *words, f"paths.outputs={folder}", quiet=True)


def under_way(run):
    """As if it had been killed behind its last checkpoint, and before its record was written."""
    path = run.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "running"}))


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_callback_that_ends_a_run_gives_it_a_status_and_a_step(tmp_path, engine, capsys):
    words = [*OWN, "+callbacks.end.step=5", f"model.engine={engine}"]
    run = train(tmp_path, *words)
    assert run.status == "stopped early" and run.record["why"] == "stopping.EndAt at step 5"
    assert run.results["steps"] == 5 and "mse" in run.results["test"]
    before = run.metrics_file.read_bytes(), run.record
    assert main(["train", *BASE, *words, f"paths.outputs={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert "was stopped early" in said and "Stopped early by stopping.EndAt at step 5" in said
    assert (run.metrics_file.read_bytes(), run.record) == before
    with pytest.raises(UserError, match="ended by a callback before its limit"):
        run.resume("trainer.max_epochs=9")
    under_way(run)
    again = train(tmp_path, *words)
    assert again.status == "stopped early" and again.metrics_file.read_bytes() == before[0]


@pytest.mark.parametrize("words", [
    (f"{STOCK}.EarlyStopping", "+callbacks.stop.monitor=loss/val", "+callbacks.stop.stopping_threshold=1e9"),
    (f"{STOCK}.EarlyStopping", "+callbacks.stop.monitor=loss/val", "+callbacks.stop.patience=1", "optimizer.lr=1e-12",
     "+callbacks.stop.min_delta=1"),
    (f"{STOCK}.Timer", "+callbacks.stop.duration='00:00:00:00'"),
    ("trainer.max_time='00:00:00:01'", "trainer.max_epochs=1000000"),
])  # fmt: skip
def test_what_the_config_itself_asks_for_is_a_finish(tmp_path, words):
    run = train(tmp_path, *words)
    assert run.status == "finished" and run.record.get("why", "") == ""
    if "max_time" not in words[0]:
        under_way(run)
        assert train(tmp_path, *words).status == "finished"


def test_at_the_last_step_there_was_nothing_left_to_stop(tmp_path):
    steps = train(tmp_path).results["steps"]
    assert train(tmp_path, *OWN, f"+callbacks.end.step={steps}").status == "finished"
    assert train(tmp_path, *OWN, f"+callbacks.end.step={steps - 1}").status == "stopped early"


def test_report_board_and_page_name_it(tmp_path, capsys):
    for seed in (0, 1):
        train(tmp_path, *OWN, "+callbacks.end.step=5", f"seed={seed}")
    train(tmp_path, "seed=0")
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "sine"), "--html", str(page)]) == 0
    assert "2, 2 stopped early at 5" in " ".join(capsys.readouterr().out.split())
    assert "1 finished, 2 stopped early" in page.read_text()

    from rnnlab.tensorboard.sessions import Sessions

    board = Sessions(tmp_path / "sine")
    assert {len(group.finished) for group in board.in_order()} == {1, 2}
    assert all(standing.place is not None for standing in board._standings())


def test_a_clusters_warning_has_a_checkpoint_written_before_it_is_answered(tmp_path):
    """As submitit sends it; what it does then, to queue the job again, comes behind the training."""
    heard = []
    before = signal.signal(signal.SIGUSR2, lambda *_: heard.append(True))
    words = ["+callbacks.warn._target_=stopping.StopAt", "+callbacks.warn.step=3",
             f"+callbacks.warn.number={int(signal.SIGUSR2)}"]  # fmt: skip
    try:
        run = train(tmp_path / "a", *words)
        assert run.status == "stopped" and run.record["why"].startswith("SIGUSR2 at step ") and not heard
        signal.raise_signal(signal.SIGUSR2)
        assert heard  # the handler is back
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert run.last_checkpoint.exists()
