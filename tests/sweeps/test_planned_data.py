"""Data that cannot be is found when a sweep is planned: once for each data set, and nothing is left behind."""

import pytest

from rnnlab.cli import main
from rnnlab.config import base_config, check, compose, deciding
from rnnlab.errors import UserError
from rnnlab.sweeps.grid import grid
from rnnlab.sweeps.planner import Planner
from rnnlab.sweeps.probe import Measurement, measure
from rnnlab.sweeps.rehearsal import Questions, answers

GROUPS = {"experiment", "model", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger"}


def made(*arguments):
    planner = Planner(compose, lambda o: base_config(o, choices=True), lambda asked: "cpu")
    return planner.plan(grid(arguments, GROUPS.__contains__))


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "good.txt").write_text("abcdefg hij " * 400)
    (tmp_path / "bad.txt").write_bytes(b"abcdefg " * 200 + b"\xff\xfe")
    return tmp_path


def test_each_data_set_is_read_once_and_its_points_are_invalid(texts):
    good, bad = texts / "good.txt", texts / "bad.txt"
    plan = made("data=chars", "model=char_lm", f"data.path={good},{bad}", "model.cell=gru,lstm", "seed=0,1",
                "data.batch_size=4,8", f"paths.outputs={texts / 'out'}")  # fmt: skip
    asked = []

    def answered(questions):
        asked.extend(questions)
        return answers(questions)

    assert len(plan.runs) == 16
    plan.check_runs(plan.runs, answered)
    assert len(asked) == 8  # two files, cells and batch sizes; the seeds are one
    assert len(plan.runs) == len(plan.invalid) == 8
    with pytest.raises(UserError) as refused:
        plan.report_invalid("stop")
    assert str(refused.value).count("not utf-8 at byte 1600") == 1
    assert not (texts / "out").exists()
    assert plan.report_invalid("skip")[0].startswith("8 of 16 points are invalid and left out")


def refusal(config):
    questions = Questions()
    assert questions.number(config) == 0
    return "; ".join(answers(questions.asked)[0].lines)


def test_a_missing_column_and_a_short_series_are_lines(tmp_path):
    (tmp_path / "s.csv").write_text("t,v\n1,2\n")
    nodes = [check(compose(["data=series", f"data.path={tmp_path / 's.csv'}", f"data.target={target}"]))
             for target in ("w", "v")]  # fmt: skip
    missing, short = map(refusal, nodes)
    assert "no such column" in missing and "too short" in short


def test_a_trial_that_fails_says_why(texts):
    config = check(compose(["data=chars", "model=char_lm", f"data.path={texts / 'bad.txt'}"]))
    assert "not utf-8" in measure(config, 10)
    absent = check(compose(["data=chars", "model=char_lm", "data.corpus=text8", f"data.folder={texts}"]))
    assert "downloads nothing" in measure(absent, 10) and refusal(absent) == ""


def test_a_trial_may_be_shorter_than_the_runs_warm_up():
    config = check(compose(["experiment=sine", "data.n_points=200", "model.hidden_size=4", "trainer.accelerator=cpu",
                            "scheduler.warmup_steps=20"]))  # fmt: skip
    found = measure(config, 100)
    assert isinstance(found, Measurement), found


@pytest.mark.parametrize("written", ["val/mse", "metric/mse"])
def test_a_monitor_is_written_as_tables_write_it_and_is_the_same_run(written):
    config = check(compose(["experiment=sine", f"monitor={written}", "callbacks=early_stopping"]))
    assert config["monitor"] == config["callbacks"]["early_stopping"]["monitor"] == "metric/mse"
    plain = check(compose(["experiment=sine", "monitor=metric/mse", "callbacks=early_stopping"]))
    assert deciding(config) == deciding(plain)
    assert check(compose(["monitor=val/loss"]))["monitor"] == "loss/val"


def test_a_monitor_that_will_not_exist_is_refused_at_planning():
    plan = made("experiment=sine", "monitor=val/msee,val/mse", "seed=0,1,2")
    assert len(plan.runs) == 3
    assert {line for _, lines in plan.invalid for line in lines if "Did you mean metric/mse?" in line}
    with pytest.raises(UserError, match="a validation gives"):
        check(compose(["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/nats"]))


def test_half_precision_on_a_cpu_is_refused():
    """Lightning would take bfloat16 and say 16."""
    plan = made("experiment=sine", "trainer.precision=16-mixed,bf16-mixed")
    assert len(plan.runs) == 1 and "a CPU has no 16-mixed" in plan.invalid[0][1][0]
    with pytest.raises(UserError, match="a CPU has no 16-mixed"):
        check(compose(["trainer.accelerator=cpu", "trainer.precision=16-mixed"]))


def test_a_choice_without_an_effect_is_named(tmp_path, capsys):
    """An experiment may set what a choice sets; the sweep only counted duplicates."""
    for name, text in {
        "optimizer/slow": "defaults: [adam]\nlr: 0.001\n",
        "optimizer/fast": "defaults: [adam]\nlr: 0.1\n",
        "experiment/own": "# @package _global_\ndefaults: [sine]\nname: own\noptimizer: {lr: 0.01}\n",
    }.items():
        file = tmp_path / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    asked = ["--config-dir", str(tmp_path / "conf"), "experiment=own", "optimizer=slow,fast", "--dry-run"]
    assert main(["train", "-m", *asked, f"paths.outputs={tmp_path}"]) == 0
    assert "optimizer=fast: no run of its own: its runs equal those of" in capsys.readouterr().out


def test_a_search_places_its_rungs_by_the_length_that_the_data_gives(tmp_path, capsys):
    """They were guessed for 10,000 rows, so that runs of a small file reached none of them, and none was pruned.
    Two rungs before the first validation would be decided by one score.
    """
    rows = "".join(f"{t},{t * t % 7}\n" for t in range(300))
    (tmp_path / "small.csv").write_text(f"t,v\n{rows}")
    asked = ["data=series", f"data.path={tmp_path / 'small.csv'}", "data.target=v", "data.window=10", "data.horizon=1",
             "data.batch_size=10", "trainer.max_epochs=4", "trainer.accelerator=cpu", f"paths.outputs={tmp_path}",
             "optimizer.lr=interval(0.001,0.01)", "sweep.search=random", "sweep.prune=asha"]  # fmt: skip
    assert main(["train", "-m", *asked, "--dry-run"]) == 0
    said = capsys.readouterr().out  # 4 epochs of 170 windows in 17 batches
    assert "steps 17, 51 of 68" in said and "min_steps" not in said
    assert main(["train", "-m", *asked, "sweep.min_steps=4", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "sweep.min_steps=4: the first validation comes after step 17, so the first rung is there" in said
    assert main(["train", "-m", *asked, "trainer.max_epochs=1", "--dry-run"]) == 0
    assert "none: the first validation comes at the end" in capsys.readouterr().out
    assert main(["train", "-m", *asked, "trainer.val_every_n_steps=3", "--dry-run"]) == 0
    assert "steps 3, 9, 27 of 68" in capsys.readouterr().out
