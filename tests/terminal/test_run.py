"""The table of scores shows every number in full, however narrow the terminal is."""

import io
import math
import sys
import types
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from rnnlab.cli import main
from rnnlab.terminal import run as terminal
from rnnlab.terminal import scores
from rnnlab.terminal.beginning import config_tree, short_lines, shortened

METRICS = ["mse", "mae", "rmse"]
ROWS = [
    ("best, step 1,936", {"val": dict(zip(METRICS, (0.009122, 0.07636, 0.09551), strict=True)),
                          "test": dict(zip(METRICS, (0.01154, 0.08724, 0.1074), strict=True))}, "bold"),
    ("last, step 2,200", {"val": dict(zip(METRICS, (0.009148, 0.0767, 0.09565), strict=True))}, ""),
    ("persistence", {"val": {"mse": 0.02235}, "test": {"mse": 0.02458}}, "dim"),
]  # fmt: skip


def shown(monkeypatch, width):
    console = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr(scores, "console", console)
    console.print(scores.score_table({"validation": "val", "test": "test"}, METRICS, ROWS))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [28, 40, 48, 60, 79, 110])
def test_no_number_is_cut(monkeypatch, width):
    text = shown(monkeypatch, width)
    for _, parts, _ in ROWS:
        for found in parts.values():
            assert all(scores.number(value) in text for value in found.values())
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_a_row_without_a_number_is_left_out():
    console = Console(file=io.StringIO(), width=80)
    rows = [("best", {"val": {"pinball": 0.1}}, ""), ("persistence", {"val": {"mse": 0.2}}, "dim")]
    console.print(scores.score_table({"validation": "val"}, ["pinball"], rows))
    assert "best" in console.file.getvalue() and "persistence" not in console.file.getvalue()


def test_the_parts_stand_side_by_side_where_there_is_room(monkeypatch):
    assert shown(monkeypatch, 110).count("persistence") == 1
    narrow = shown(monkeypatch, 60)
    assert narrow.count("persistence") == 2
    assert narrow.count("last, step 2,200") == 1  # which has no score on the test part


@pytest.mark.parametrize(
    ("target", "proposed"),
    [
        ("rnnlab.tasks.Forecaster", ["board A", "forecast A/b", "evaluate A/b"]),
        ("rnnlab.tasks.CharLM", ["board A", "generate A/b --length 500 --temperature 0.8", "evaluate A/b"]),
        ("rnnlab.tasks.Classifier", ["board A", "evaluate A/b"]),
        # stands for a module of the user's own, which was trained
        ("pytest.Item", ["board A", "evaluate A/b"]),
        ("gone_away.Model", ["board A"]),
        ("this.Zen", ["board A"]),  # may be a stranger's word
    ],
)
def test_commands_that_fit_the_task(target, proposed):
    run = SimpleNamespace(
        config={"model": {"_target_": target}},
        manifest={},
        folder=Path("A/b"),
        status="finished",
        results={"test": {"loss": 1.0}},
    )
    assert [command for _, command in terminal.next_commands(run)] == [
        f"rnnlab {words}" for words in proposed
    ]
    assert "this" not in sys.modules
    run.status = "stopped"
    assert [what for what, _ in terminal.next_commands(run)] == ["TensorBoard"]


def test_no_warning_of_a_schedule_by_epochs_under_the_kernels(small):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*lr_scheduler.step.*")
        run = small("scheduler=step", "scheduler.step_size=1", "model.engine=native")
    assert run.record["engine"]["steps"] == "native"
    assert len(set(run.metrics["optim/lr"][1])) == 3  # three epochs, three rates


def test_a_run_of_no_steps_shows_what_the_untrained_model_scores(small, capsys):
    run = small("trainer.max_steps=0")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("untrained"))
    for part in ("train", "test"):  # nothing is validated
        assert scores.number(run.results[part]["mse"]) in line.split()


def test_a_finished_run_says_what_it_was_trained_without(small, capsys):
    small("seed=3")
    capsys.readouterr()
    small("seed=3")
    assert "another one with seed=4." in capsys.readouterr().out
    small("seed=3", "callbacks=inspect")
    assert "trained without callbacks.gradient, callbacks.memory" in capsys.readouterr().out.replace(
        "\n", " "
    )


def test_what_a_reader_should_know_besides_is_in_the_units_that_it_names():
    results = {"facts": {"val": {"realised_noise": 7.0}, "test": {"realised_noise": 0.02}},
               "test": {"mse": 0.05, "nats": 2 * math.log(2)}}  # fmt: skip
    assert terminal.facts(types.SimpleNamespace(results=results)) == [
        "test mse over the realised noise of the test targets: 2.500",
        "test: 2.000 bits per character",
    ]
    (line,) = terminal.facts(types.SimpleNamespace(results={"baselines": {"val": {}}}))
    assert line.startswith("there is no test part")


def test_the_beginning_and_the_end_say_what_the_run_is_and_came_to(small, capsys):
    run = small("seed=5")
    lines = capsys.readouterr().out.splitlines()
    said = {line.split()[0]: line for line in lines if line.strip()}
    total = sum(p.numel() for p in run.model.parameters())
    assert said["model"].endswith(f" {total:,} parameters") and "in" not in said  # no table without --verbose
    assert said["config"].startswith("config   ") and "seed=5" in said["config"]
    score = run.results["test"]["mse"]
    linear = run.results["baselines"]["test"]["linear"]["mse"]
    assert (
        f"test mse {scores.number(score)}, the best baseline {scores.number(linear)} (linear)"
        in said["result"]
    )
    order = [line.split()[0] for line in lines if line.strip()]
    assert order.index("result") + 1 == len(order) - 1 - order[::-1].index("run") < order.index("best,")
    assert "took cpu" in said["device"] and said["engine"].startswith(
        f"engine   {run.record['engine']['name']} ("
    )
    assert said["data"].endswith(f"content {run.manifest['data_hash'][:12]}")
    best, last, step = run.results["best"], run.results["last"], run.results["steps"]
    assert said["best,"].split()[:4] == ["best,", "step", f"{best['step']:,}",
                                         scores.number(best["metrics"]["metric/mse"])]  # fmt: skip
    assert said["last,"].split()[2:4] == [f"{step:,}", scores.number(last["metrics"]["metric/mse"])]
    persistence = run.results["baselines"]["val"]["persistence"]["mse"]
    # a note begins with this word, too
    row = next(line for line in lines if line.startswith("persistence  "))
    assert row.split()[1] == scores.number(persistence)
    assert said["evaluate"].split(maxsplit=1)[1] == f"rnnlab evaluate {run.folder}"


def test_the_whole_config_and_every_parameter_are_shown_where_asked(tmp_path, capsys):
    words = [
        "train",
        "experiment=sine",
        "data.n_points=200",
        "trainer.max_epochs=1",
        f"paths.outputs={tmp_path}",
    ]
    assert main([*words, "--verbose"]) == 0
    said = capsys.readouterr().out
    assert "hidden_size 16" in said and "stack.layers.0.weight_hh" in said and "in all" in said
    assert main([*words, "rerun=true"]) == 0
    said = capsys.readouterr().out
    asked = "experiment=sine with data.n_points=200 trainer.max_epochs=1 rerun=true"
    assert f"config   {asked}  (--verbose shows all of it)" in said and "weight_hh" not in said


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_the_result_stands_beside_the_best_baseline_of_its_part(metric):
    run = SimpleNamespace(results={"best": {"metrics": {f"metric/{metric}": 0.8}}, "test": {"loss": 1.0},
                                   "baselines": {"val": {"a": {metric: 0.3}, "b": {metric: 0.6}}}})  # fmt: skip
    assert terminal.headline(run) == f"validation {metric} 0.8, the best baseline 0.6 (b)"
    assert terminal.headline(SimpleNamespace(results={})) == ""


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+model={_target_:'my.nets.Net',width:3,note:'a }\n b'}", "model=Net(...)"),
        ("++callbacks.stop={_target_:Stop}", "callbacks.stop=Stop(...)"),
        (
            "+model={_target_:'rnnlab.runs.objects.given',key:'0a',what:'Net',why:'it holds a lock'}",
            "model=Net(...)",
        ),
        ("model.options={a:1}", "model.options={a:1}"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1"),
    ],
)
def test_an_override_that_gives_an_object_is_said_by_its_class(override, said):
    assert shortened(override) == said


def test_a_baseline_of_one_part_alone_is_shown():
    """A data set of the user's own may know another for each part."""
    best = {"step": 1, "value": 0.8, "metrics": {"metric/accuracy": 0.8}}
    parts = {"val": {"a": {"accuracy": 0.3}}, "test": {"a": {"accuracy": 0.2}, "b": {"accuracy": 0.6}}}
    _, rows = scores.score_rows({"best": best, "test": {"accuracy": 0.7}, "baselines": parts})
    shown = {name: found for name, found, _ in rows}
    assert shown["b"] == {"val": {}, "test": {"accuracy": 0.6}}


def test_a_users_module_may_nest_its_options_and_count_its_layers_in_its_own_way(capsys):
    model = {"_target_": "my.Net", "num_layers": [2, 2], "encoder": {"size": 3, "rnn": {"width": 4}}}
    config = {"seed": 1, "model": model}
    scores.console.print(config_tree(config))
    said = capsys.readouterr().out.partition("encoder")[2]
    assert said.split() == ["size", "3", "└──", "encoder.rnn", "width", "4"]
    about = SimpleNamespace(overrides=[], config=config, task=torch.nn.Linear(2, 2))
    assert short_lines(about)[1] == "model    Linear: 6 parameters"


def test_the_weights_of_a_users_module_that_was_never_validated_are_its_last():
    results = {"best": {"step": 10, "metrics": {}}, "last": {}, "test": {"test_loss": 0.5}}
    assert scores.score_rows(results)[1] == [("last, step 10", {"test": {"loss": 0.5}}, "bold")]
