"""A finished run trained for longer is the run that was never broken off."""

import pytest

from rnnlab import UserError
from torture import mismatches


@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize(
    ("short", "long"),
    [
        (["trainer.max_epochs=2"], ["trainer.max_epochs=4"]),
        (["trainer.max_epochs=-1", "trainer.max_steps=10"], ["trainer.max_steps=17"]),  # inside an epoch
    ],
    ids=["epochs", "inside"],
)
def test_the_bits_are_those_of_the_unbroken_longer_run(small, tmp_path, short, long, engine):
    fixed = ["scheduler=constant", "data.noise_std=0.1", f"model.engine={engine}"]
    whole = small(
        *fixed, *[o for o in short if o.split("=")[0] != long[0].split("=")[0]], *long, outputs=tmp_path / "a"
    )
    first = small(*fixed, *short, outputs=tmp_path / "b")
    second = small(f"resume={first.folder}", *long, outputs=tmp_path / "b", base=())
    assert second.record["parent"] == str(first.folder) and first.status == "finished"
    assert second.folder.name == whole.folder.name
    left = [m for m in mismatches(tmp_path / "a" / "sine", tmp_path / "b" / "sine") if m != "other runs"]
    assert left == []


def test_from_the_end_of_an_epoch_without_max_epochs_it_is_refused(small, tmp_path):
    run = small("scheduler=constant", "trainer.max_epochs=-1", "trainer.max_steps=8")
    with pytest.raises(UserError, match="exactly at the end of an epoch"):
        small(f"resume={run.folder}", "trainer.max_steps=17", base=())


def test_what_changes_the_numbers_is_refused_and_named(small, tmp_path):
    run = small("scheduler=constant")
    asked = {"base": (), "outputs": tmp_path}
    with pytest.raises(UserError, match=r"optimizer\.lr decides the numbers"):
        small(f"resume={run.folder}", "trainer.max_epochs=9", "optimizer.lr=0.5", **asked)
    with pytest.raises(UserError, match="max_epochs=3 is reached already"):
        small(f"resume={run.folder}", **asked)
    with pytest.raises(UserError, match="changes what the run is"):
        small(f"resume={run.folder}", "optimizer=sgd", "trainer.max_epochs=9", **asked)
    cosine = small("scheduler=cosine")
    with pytest.raises(UserError, match=r"schedule cosine depends on the length .*scheduler\.total_steps"):
        small(f"resume={cosine.folder}", "trainer.max_epochs=9", **asked)


def test_another_engine_is_refused_unless_asked_for(small, tmp_path):
    run = small("scheduler=constant", "model.engine=auto")
    run.update(status="running")
    import torch

    from rnnlab.training.checkpoints import WholeFiles

    checkpoint = torch.load(run.last_checkpoint, weights_only=True)
    WholeFiles().save_checkpoint(checkpoint | {"engine": "reference"}, run.last_checkpoint)
    with pytest.raises(
        UserError, match=r"trained by the engine reference and would go on with .*resume_engine=any"
    ):
        small("scheduler=constant", "model.engine=auto")
    assert small("scheduler=constant", "model.engine=auto", "resume_engine=any").status == "finished"
