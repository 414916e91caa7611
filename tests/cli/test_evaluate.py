"""evaluate against loops over the data that use neither its loop nor its loaders."""

import json
import math
import shutil
import types
from itertools import pairwise

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from tables import table
from torch.nn.utils import parametrizations

import rnnlab
from rnnlab.api import evaluation
from rnnlab.cli.evaluate import main
from rnnlab.config import build
from rnnlab.errors import UserError


def numbers(capsys, *arguments):
    main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


@torch.no_grad()
def by_hand(run, values, first, behind):
    """mse and mae of a one-column forecaster, window by window, on rows [first, behind) of raw values."""
    spec, model, errors = run.model.spec, run.model, []
    for start in range(first, behind - spec["window"] - spec["horizon"] + 1):
        middle = start + spec["window"]
        forecast = model(torch.tensor(values[start:middle, None][None], dtype=torch.float32))[0, :, 0]
        errors.append(forecast.double().numpy() - values[middle : middle + spec["horizon"]])
    return np.square(errors).mean(), np.abs(errors).mean()


def sine_values(run, **changes):
    data = build(run.config["data"] | changes, "data")
    data.setup()
    return data.frame.values[:, 0]


def test_the_test_part_equals_a_loop_over_its_windows_and_the_trainers_own_test(sine, capsys):
    found = numbers(capsys, sine.folder)
    mse, mae = by_hand(sine, sine_values(sine), 255, 300)
    assert found["split"] == "test"
    np.testing.assert_allclose([found["metrics"]["mse"], found["metrics"]["mae"]], [mse, mae], rtol=1e-5)
    assert found["metrics"] == pytest.approx(sine.results["test"], rel=1e-6)
    assert found["baselines"] == sine.results["baselines"]["test"]
    assert found["floor"] == sine.results["floor"]["test"]


def test_all_is_every_window_and_other_data_is_what_was_asked_for(sine, capsys):
    found = numbers(capsys, sine.folder, "--split", "all", "data.seed=7", "data.noise_std=0.3")
    values = sine_values(sine, seed=7, noise_std=0.3)
    np.testing.assert_allclose(found["metrics"]["mse"], by_hand(sine, values, 0, 300)[0], rtol=1e-5)
    persistence = np.square(values[9:-2][:, None] - np.stack([values[10:-1], values[11:]], 1)).mean()
    np.testing.assert_allclose(found["baselines"]["persistence"]["mse"], persistence, rtol=1e-9)


@torch.no_grad()
def test_a_text_is_scored_character_by_character(text, capsys, tmp_path):
    """One row of the new text, one character a step, by the run's weights and vocabulary."""
    new = "home in a cage did a bad home"
    (tmp_path / "new.txt").write_text(new)
    found = numbers(capsys, text.folder, f"data.path={tmp_path / 'new.txt'}", "data.batch_size=1")
    known, state, nats = text.model.spec["vocabulary"], None, []
    for here, after in pairwise(new):
        logits, state = text.model(torch.tensor([[known.index(here)]]), state)
        nats.append(-logits.double().log_softmax(-1)[0, 0, known.index(after)].item())
    assert found["split"] == "all"
    assert found["facts"]["scored"] == len(nats)
    np.testing.assert_allclose(found["metrics"]["nats"], np.mean(nats), rtol=1e-5)
    assert set(found["baselines"]) == {"uniform", "unigram", "bigram", "5-gram"}
    # counted on the text that the run learned from, in which each of these words occurs
    assert found["baselines"]["5-gram"]["nats"] < 0.7 * found["baselines"]["unigram"]["nats"]


def test_new_data_stands_in_the_runs_own_scale(series, capsys, tmp_path):
    found = numbers(capsys, series.folder, f"data.path={table(tmp_path / 'new.csv', 60, shift=20.0)}")
    spec, rows = (
        series.model.spec,
        np.loadtxt(tmp_path / "new.csv", delimiter=",", skiprows=1, usecols=(1, 2)),
    )
    scaled = torch.tensor((rows - spec["input_shift"]) / spec["input_scale"], dtype=torch.float32)
    errors = []
    with torch.no_grad():
        for start in range(60 - 27 + 1):
            forecast = series.model(scaled[None, start : start + 24])[0].double().numpy()
            errors.append(
                forecast * spec["target_scale"] + spec["target_shift"] - rows[start + 24 : start + 27]
            )
    assert found["split"] == "all"
    np.testing.assert_allclose(found["metrics"]["mae"], np.abs(errors).mean(), rtol=1e-5)


def test_logarithms_stay_as_they_were_trained(series):
    with pytest.raises(
        UserError, match=r"the model was trained with data.log=false, this data has data.log=true"
    ):
        series.evaluate("data.log=true")


def test_the_scaling_stays_as_it_was_trained(series):
    """Another one was ignored."""
    with pytest.raises(
        UserError, match=r"data\.scaling=minmax: the model was trained with data\.scaling=standard, and"
    ):
        series.evaluate("data.scaling=minmax")
    assert series.evaluate("data.scaling=standard").metrics == series.evaluate().metrics


def test_the_table_shows_run_baselines_and_floor(sine, capsys):
    main([str(sine.folder)])
    shown = capsys.readouterr().out
    best = f"{sine.results['test']['mse']:.4g}"
    assert best in shown
    assert all(
        name in shown for name in ("the run, step", "persistence", "linear", "floor", "realised noise")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "tset"], "no such part. Did you mean test"),
        (["data.noise_sdt=1"], "data.noise_sdt: no such key. Did you mean data.noise_std"),
        (["data.noise_std=-1"], "data.noise_std=-1: must be"),
        (["model.hidden_size=3"], "only data.KEY=VALUE can be changed; the model stays as it was trained$"),
        (["dta.noise_std=1"], "stays as it was trained. Did you mean data.noise_std?"),
        (["data._target_=os.system"], "no such key"),
        (["data.window=12"], "window=10"),
        (["data.seed=1,2"], "one value at a time"),
        (["nonsense"], "written data.KEY=VALUE"),
    ],
)
def test_what_cannot_be_is_one_line(sine, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        main([str(sine.folder), *arguments])
    assert "\n" not in str(caught.value)


def test_the_run_comes_first(sine):
    with pytest.raises(UserError, match=r"^data\.seed=7: a setting, where the folder of a run should be"):
        main(["data.seed=7", str(sine.folder)])


def test_an_experiment_is_no_run(sine):
    with pytest.raises(UserError, match="is an experiment, not a run"):
        main([str(sine.folder.parent)])


def test_parts_that_are_cut_anew_tell_of_targets_that_were_trained_on(sine, text, capsys):
    """300 rows: the run trained on rows below 210; windows have 10 steps, and then 2 targets."""
    asked = "data.fractions=[0.5,0.1,0.4]"
    main([str(sine.folder), asked])
    starts = np.arange(180, 300 - 10 - 2 + 1)
    trained = int((starts + 10 < 210).sum())
    assert capsys.readouterr().err.strip() == (
        f"{asked}: the model was trained on targets of {trained} of the {len(starts)} windows of the test part"
    )
    main([str(sine.folder), "data.fractions=[0.7,0.1,0.2]"])
    main([str(sine.folder), "data.fractions=[0.5,0.1,0.4]", "data.seed=7"])
    assert capsys.readouterr().err == ""
    main([str(text.folder), "data.fractions=[0.5,0.1,0.4]"])
    assert "the test part may hold what the model was trained on" in capsys.readouterr().err
    main([str(sine.folder), "data.split=windows"])
    assert "data.split=windows: the model was trained on targets of" in capsys.readouterr().err
    main([str(text.folder), "data.limit=4000"])
    assert "data.limit=4000 cuts the data anew" in capsys.readouterr().err
    main([str(text.folder), "data.segment=10"])
    assert "cuts" not in capsys.readouterr().err


def test_errors_apart_and_from_one_origin_after_the_other(series, capsys):
    whole = numbers(capsys, series.folder)
    by = {key: numbers(capsys, series.folder, "--by", key)["breakdown"] for key in ("step", "target")}
    assert list(by["step"]) == ["1", "2", "3"] and list(by["target"]) == ["load", "heat"]
    for rows in by.values():
        assert np.mean([row["mae"]["the run"] for row in rows.values()]) == pytest.approx(
            whole["metrics"]["mae"]
        )
    rows = numbers(capsys, series.folder, "--backtest", 3)["breakdown"]
    assert list(rows)[3:] == ["mean", "std"] and next(iter(rows)).startswith("2020-01-14T")
    ours = [row["mse"]["the run"] for row in list(rows.values())[:3]]
    assert rows["std"]["mse"]["the run"] == pytest.approx(np.std(ours, ddof=1))
    main([str(series.folder), "--by", "step"])
    assert "by step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "steps"], "--by steps: no such choice. Did you mean step"),
        (["--by", "series"], "this data is one series"),
        (["--backtest", "0"], "--backtest 0: must be at least 1"),
        (["--backtest", "999"], "too few for 999 origins"),
        (["--by", "step", "--backtest", "2"], "one at a time"),
    ],
)
def test_errors_that_cannot_be_taken_apart(series, arguments, message):
    with pytest.raises(UserError, match=message):
        main([str(series.folder), *arguments])


def test_a_texts_errors_are_not_taken_apart(text):
    with pytest.raises(UserError, match="take apart a Forecaster's errors alone"):
        main([str(text.folder), "--by", "step"])


class Changes(Callback):
    """Changes a model in its training, which the config does not describe."""

    def __init__(self, how):
        self.how = how

    def setup(self, trainer, task, stage):
        if stage != "fit":
            return
        if self.how == "hook":
            task.head.register_forward_hook(lambda module, given, said: 0.5 * said)
        else:
            parametrizations.weight_norm(task.head)


def test_a_run_whose_model_a_callback_changed_is_told_from_what_is_loaded(
    small, capsys, tmp_path, monkeypatch
):
    def trained(how):
        asked = "+callbacks.one._target_=test_evaluate.Changes", f"+callbacks.one.how={how}"
        return small(*(asked if how else ()), outputs=tmp_path / how)

    capsys.readouterr()
    main([str(trained("hook").folder)])
    told = capsys.readouterr().err
    assert "the test loss is" in told and "something that the config does not describe" in told
    with monkeypatch.context() as context:
        context.setattr("rnnlab.api.evaluation.why_stale", lambda *_: ["the imported module x has changed"])
        main([str(trained("hook").folder)])
    assert "in the training: since then the imported module x has changed" in capsys.readouterr().err
    main([str(trained("").folder)])
    assert "the test loss is" not in capsys.readouterr().err
    with pytest.raises(UserError, match=r"head\.weight differ; did a callback change the model\?") as error:
        main([str(trained("norm").folder)])
    assert "\n" not in str(error.value)


def test_json_holds_null_for_what_is_not_a_number(sine, capsys, monkeypatch):
    monkeypatch.setattr(
        "rnnlab.tasks.evaluation.evaluate", lambda task, batches: {"loss": math.nan, "mse": 1.0}
    )
    assert numbers(capsys, sine.folder)["metrics"] == {"loss": None, "mse": 1.0}


def test_a_config_that_lacks_a_key_of_the_trainer_is_compared_all_the_same(capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "why_stale", lambda *_: [])
    run = types.SimpleNamespace(config={"trainer": {}}, results={"test": {"loss": 1.0}})
    evaluation._compare(run, 1.0)
    assert capsys.readouterr().err == ""
    evaluation._compare(run, 2.0)
    assert "the test loss is 2, and was 1 in the training" in capsys.readouterr().err
    run.config["trainer"]["limit_test_batches"] = 1.0  # of all batches
    evaluation._compare(run, 2.0)
    assert "the test loss is 2" in capsys.readouterr().err
    run.config["trainer"]["limit_test_batches"] = 1  # the training's loss is of one batch
    evaluation._compare(run, 2.0)
    assert capsys.readouterr().err == ""


def test_the_runs_own_file_in_another_place_is_not_new(series, text, tmp_path, capsys):
    own = numbers(capsys, series.folder)
    moved = table(tmp_path / "moved.csv", 400)
    main([str(series.folder), f"data.path={moved}", "--json"])
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["split"], found["metrics"]) == ("test", own["metrics"])
    assert said.err.strip().endswith("its test part is scored; --split all takes all of it")
    assert numbers(capsys, series.folder, f"data.path={moved}", "--split", "all")["split"] == "all"
    (tmp_path / "words.txt").write_bytes((text.folder.parents[1] / "words.txt").read_bytes())
    assert numbers(capsys, text.folder, f"data.path={tmp_path / 'words.txt'}")["split"] == "test"


def test_a_file_to_which_rows_were_appended_tells_of_targets_that_were_trained_on(series, tmp_path, capsys):
    """The run trained on the first 240 of 400 rows; windows have 24 steps, and then 3 targets."""
    main([str(series.folder), f"data.path={table(tmp_path / 'longer.csv', 460)}"])
    trained, windows = 240 - 24, 460 - 24 - 3 + 1
    assert f"on targets of {trained} of its {windows} windows" in capsys.readouterr().err
    main([str(series.folder), f"data.path={table(tmp_path / 'other.csv', 460, shift=1.0)}"])
    assert capsys.readouterr().err == ""


def test_data_that_has_changed_since_the_training_is_told(series, tmp_path, capsys):
    shutil.copytree(series.folder, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    old = series.config["data"]["path"]
    config.write_text(config.read_text().replace(old, str(table(tmp_path / "my.csv", 500))))
    main([str(tmp_path / "run")])
    assert "its data has changed since the training (content" in capsys.readouterr().err
    table(tmp_path / "my.csv", 400)
    main([str(tmp_path / "run")])
    assert capsys.readouterr().err == ""


def test_other_keys_that_cut_a_text_anew_are_told(text, tmp_path, capsys):
    for asked in (["data.limit=3000"], ["data.split=rows"], ["data.split=rows", "data.segment=10"]):
        main([str(text.folder), *asked])
        said = capsys.readouterr().err
        assert f"{' '.join(asked)} cuts the data anew: the test part may hold" in said
    main([str(text.folder), "data.segment=10"])
    assert capsys.readouterr().err == ""


def test_gaps_that_each_part_fills_by_itself_hide_no_targets_that_were_trained_on(tmp_path, capsys):
    lines = table(tmp_path / "gaps.csv", 200).read_text().splitlines()
    for row in (118, 119, 120, 158, 159, 160):  # at the cuts
        day, load, _ = lines[row + 1].split(",")
        lines[row + 1] = f"{day},{load},"
    (tmp_path / "gaps.csv").write_text("\n".join(lines) + "\n")
    run = rnnlab.train(
        "experiment=ett", f"data.path={tmp_path / 'gaps.csv'}", "data.target=heat", "data.missing=interpolate",
        "data.window=24", "data.horizon=3", "model.hidden_size=4", "trainer.max_epochs=1", "logger=none",
        "callbacks=none", "trainer.accelerator=cpu", "trainer.threads=1", f"paths.outputs={tmp_path}", quiet=True,
    )  # fmt: skip
    capsys.readouterr()
    main([str(run.folder), "data.fractions=[0.4,0.1,0.5]"])
    assert "the model was trained on targets of 20 of the " in capsys.readouterr().err
    main([str(run.folder), "data.missing=drop"])  # rows that are left out move the cuts
    assert "data.missing=drop cuts the data anew: the test part may hold" in capsys.readouterr().err


def test_a_series_that_was_moved_is_scored_where_it_is_now(series, tmp_path, capsys):
    shutil.copytree(series.folder, tmp_path / "run")
    config, new = tmp_path / "run" / "config.yaml", tmp_path / "here.csv"
    old = series.config["data"]["path"]
    config.write_text(config.read_text().replace(old, str(tmp_path / "gone.csv")))
    shutil.copy(old, new)
    main([str(tmp_path / "run"), f"data.path={new}", "data.fractions=[0.4,0.1,0.5]"])
    assert "the test part may hold what the model was trained on" in capsys.readouterr().err


def test_code_that_has_changed_since_the_training_is_told(sine, text, tmp_path, capsys):
    said = "since the training rnnlab has changed, torch was 1.0, is "
    asked = {sine: [lambda run: run.predict(), lambda run: run.predict(np.zeros((1, 10, 1))),
                    lambda run: run.forecast(5), lambda run: run.evaluate(split="val")],
             text: [lambda run: run.generate(length=2), lambda run: run.predict(split="val")]}  # fmt: skip
    for trained, calls in asked.items():
        shutil.copytree(trained.folder, tmp_path / "run")
        file, run = tmp_path / "run" / "manifest.json", rnnlab.load(tmp_path / "run")
        now = json.loads(file.read_text())
        for call in calls:
            file.write_text(json.dumps(now))
            call(run)
            assert capsys.readouterr().err == ""
            other = {"sources": {"rnnlab": "0" * 64, "torch": "1.0"}, "files": {"data.path": "1"}}
            file.write_text(json.dumps(now | other))
            call(run)
            told = capsys.readouterr().err
            assert told.startswith(said) and told.count("\n") == 1 and "data.path" not in told
        shutil.rmtree(tmp_path / "run")


def test_the_limit_of_the_runs_text_is_not_for_a_new_text(text, tmp_path):
    (tmp_path / "new.txt").write_text("a cage did home " * 200)
    shutil.copytree(text.folder, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("limit: null", "limit: 1000"))
    run, new = rnnlab.load(tmp_path / "run"), f"data.path={tmp_path / 'new.txt'}"
    assert run.config["data"]["limit"] == 1000
    for split in ("test", "val", "all"):
        assert run.evaluate(new, split=split).metrics == text.evaluate(new, split=split).metrics
    assert run.evaluate(new, "data.limit=1000", split="test").facts["characters"] == 50
