"""What a sweep will take, from runs that have finished."""

from rnnlab.config import check, compose
from rnnlab.runs.run import Run
from rnnlab.sweeps import estimate


def test_finished_runs_say_how_much_longer_than_guessed_and_a_damaged_one_says_nothing(tmp_path):
    config = check(compose(["experiment=sine", "trainer.accelerator=cpu"]))
    for i, made_with in enumerate((config, config, {"trainer": {}})):
        run = Run(tmp_path / "sine" / str(i))
        run.create(str(i), "sine", made_with, [], group="same", label="")
        run.update(status="finished", seconds=3.0 + i)
    ratios, own = estimate.finished([tmp_path / "sine"])
    guessed = estimate.guessed_seconds(config)
    assert ratios == [3.0 / guessed, 4.0 / guessed]
    assert own == {"same": [3.0, 4.0]}
