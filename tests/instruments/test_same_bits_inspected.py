"""Instruments change no bit of a training, whatever its task and its engine."""

import pytest
import torch

import rnnlab

COMMON = ("trainer.accelerator=cpu", "trainer.threads=1", "logger=none", "model.hidden_size=8",
          "~callbacks.progress", "~callbacks.pictures")  # fmt: skip
TASKS = {
    "sine": ("experiment=sine", "data.n_points=200", "trainer.max_epochs=3", "data.horizon=2"),
    "chars": (
        "experiment=pydoc",
        "data.batch_size=4",
        "data.segment=10",
        "model.dropout=0.1",
        "model.num_layers=2",
        "trainer.max_steps=30",
        "trainer.val_check_interval=10",
    ),
    "tokens": ("experiment=markers", "data.n_sequences=300", "trainer.max_epochs=2"),
}
NAMES = ("gradient", "memory", "states", "weights", "horizon", "writing")


@pytest.mark.parametrize(
    ("task", "engine"),
    [("sine", "native"), ("sine", "reference"), ("chars", "native"), ("chars", "torch"), ("tokens", "auto"),
     ("tokens", "torch")],
)  # fmt: skip
def test_the_bits_are_those_without(tmp_path, monkeypatch, task, engine):
    from rnnlab.instruments.instrument import Instrument

    # what is drawn is tested elsewhere, and takes long
    monkeypatch.setattr(Instrument, "show", lambda self, trainer, task, data: self.say(task, data))
    (tmp_path / "t.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 100)
    about = (*TASKS[task], *COMMON, f"model.engine={engine}")
    about += (f"data.path={tmp_path / 't.txt'}",) if task == "chars" else ()
    plain = rnnlab.train(*about, "callbacks=default", f"paths.outputs={tmp_path / 'plain'}")
    before = torch.get_rng_state()
    often = [f"callbacks.{name}.every=1" for name in NAMES]
    seen = rnnlab.train(*about, "callbacks=inspect", *often, f"paths.outputs={tmp_path / 'seen'}")
    assert torch.equal(torch.get_rng_state(), before)
    assert seen.id == plain.id and seen.record["engine"] == plain.record["engine"]
    for file in ("last", "best"):
        weights = [torch.load(r.folder / "checkpoints" / f"{file}.ckpt", weights_only=True)["state_dict"]
                   for r in (plain, seen)]  # fmt: skip
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    own = [line for line in seen.metrics_file.read_text().splitlines() if ",inspect/" not in line]
    assert own == plain.metrics_file.read_text().splitlines()
    looked = {name for name in seen.metrics if name.startswith("inspect/")}
    assert len(looked) >= 7 and ("inspect/passage_nats" in looked) == (task == "chars")
    assert ("inspect/free_run_rmse" in looked) == (task == "sine")
    assert {k: v for k, v in seen.results.items() if k != "seconds"} == plain.results
