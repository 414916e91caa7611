"""Starting from another run's weights: by character, frozen, or with another rate."""

import numpy as np
import pytest
import torch

from rnnlab.errors import UserError

BASE = (
    "data=chars", "data.segment=20", "data.batch_size=4", "model.hidden_size=16", "trainer.max_epochs=2",
    "trainer.threads=1", "trainer.accelerator=cpu", "callbacks=none", "optimizer.lr=0.01",
)  # fmt: skip
TEXT = "the quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture
def trained(small, tmp_path):
    def train(name, text, *words):
        (tmp_path / f"{name}.txt").write_text(text)
        return small(f"data.path={tmp_path / name}.txt", *words, outputs=tmp_path / name, base=BASE)

    return train


@pytest.mark.parametrize("embedding", ["null", "6"])
def test_weights_go_with_their_characters(trained, capsys, embedding):
    words = f"model.embedding_size={embedding}"
    first = trained("first", TEXT, words, "trainer.max_epochs=8")
    # "A" and "z" apart: an id more before all others
    changed = TEXT.replace("z", "A")
    second = trained(
        "second", changed, words, f"model.init_from={first.folder}", "optimizer.lr=1e-9", "seed=1"
    )
    said = capsys.readouterr().err
    assert "27 of 28 characters have their weights from there; 1 is new and drawn: 'A'" in said
    before, now = first.model.spec["vocabulary"], second.model.spec["vocabulary"]
    ours, theirs = second.model.state_dict(), first.model.state_dict()
    for name, dim in second.model.of_characters.items():
        for character in set(before) & set(now):
            mine = ours[name].select(dim, now.index(character))
            torch.testing.assert_close(
                mine, theirs[name].select(dim, before.index(character)), atol=1e-6, rtol=0
            )
    assert second.metrics["loss/val"][1][0] < first.metrics["loss/val"][1][0]


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_what_is_copied_can_be_frozen(trained, engine):
    first = trained("first", TEXT, f"model.engine={engine}")
    second = trained(
        "second",
        TEXT,
        f"model.init_from={first.folder}",
        "model.init_from_freeze=true",
        f"model.engine={engine}",
    )
    ours, theirs = second.model.state_dict(), first.model.state_dict()
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]) == (not name.startswith("head.")), name


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_what_is_copied_can_have_another_rate(trained, engine):
    words = (f"model.engine={engine}", "optimizer=sgd", "scheduler=constant", "trainer.max_epochs=-1",
             "trainer.max_steps=1", "optimizer.lr=0.1")  # fmt: skip
    first = trained("first", TEXT, *words)
    steps = {}
    for rate in ("1.0", "0.1"):
        run = trained(
            f"r{rate}", TEXT, f"model.init_from={first.folder}", f"model.init_from_rate={rate}", *words
        )
        last = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
        steps[rate] = {name: (last[name] - value).numpy() for name, value in first.model.state_dict().items()}
        assert run.metrics["optim/lr"][1][0] == pytest.approx(0.1)
    for name, whole in steps["1.0"].items():
        factor = 1.0 if name.startswith("head.") else 0.1
        np.testing.assert_allclose(steps["0.1"][name], factor * whole, atol=2e-7)


def test_a_rate_without_a_start_is_refused(trained):
    with pytest.raises(UserError, match=r"init_from_rate.*needs model\.init_from"):
        trained("first", TEXT, "model.init_from_rate=0.1")


def test_a_schedule_with_rates_of_its_own_needs_one_for_what_is_copied(trained):
    """OneCycleLR gave the copied weights the rate of the head."""
    first = trained("first", TEXT)
    cycle = ("scheduler._target_=torch.optim.lr_scheduler.OneCycleLR", "~scheduler.warmup_steps",
             "+scheduler.total_steps=auto", f"model.init_from={first.folder}", "model.init_from_rate=0.1")  # fmt: skip
    with pytest.raises(UserError, match=r"init_from_rate=0\.1: OneCycleLR sets rates of its own"):
        trained("one", TEXT, *cycle, "+scheduler.max_lr=0.01")
    assert trained("two", TEXT, *cycle, "+scheduler.max_lr=[0.01,0.001]").status == "finished"
