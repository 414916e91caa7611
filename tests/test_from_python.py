"""rnnlab in a notebook or a script."""

import builtins
import copy
import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch

import rnnlab
import warm
from rnnlab.cli import main
from rnnlab.config import build
from rnnlab.config.texts import quoted
from rnnlab.runs.trials import read_journal

SMALL = (
    "experiment=sine",
    "model.hidden_size=8",
    "data.n_points=200",
    "trainer.max_epochs=3",
    "trainer.threads=1",
    "model.engine=torch",
    "trainer.accelerator=cpu",
    "~callbacks.progress",
    "~callbacks.pictures",
)
CPU = ("trainer.threads=1", "trainer.accelerator=cpu", "callbacks=none", "model.engine=torch")
TOKENS = (
    "data=tokens",
    "model=classifier",
    "data.n_sequences=200",
    "trainer.max_epochs=1",
    "name=tokens",
    *CPU,
)
STOCK = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu", "enable_model_summary": False}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def sine(outputs):
    return rnnlab.train(*SMALL, f"paths.outputs={outputs}", quiet=True)


@pytest.fixture(scope="module")
def text(outputs):
    file = outputs / "text.txt"
    file.write_text("the cat sat on the mat and the dog ran. " * 60)
    return rnnlab.train("data=chars", "model=char_lm", f"data.path={file}", "data.segment=10", "data.batch_size=4",
                        "trainer.max_epochs=1", "name=text", *CPU, f"paths.outputs={outputs}", quiet=True)  # fmt: skip


@pytest.fixture(scope="module")
def tokens(outputs):
    return rnnlab.train(*TOKENS, f"paths.outputs={outputs}", quiet=True)


def command(*words) -> str:
    said = StringIO()
    with redirect_stdout(said):
        assert main([str(word) for word in words]) == 0
    return said.getvalue()


def test_a_quiet_training_prints_nothing(tmp_path, capfd):
    run = rnnlab.train(*SMALL, f"paths.outputs={tmp_path}", quiet=True)
    assert run.status == "finished" and capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "wish", "usual"),
    [("set_default_dtype", torch.float64, torch.float32), ("set_default_device", "meta", None)],
)
def test_a_default_of_torchs_that_would_change_a_model_is_refused(sine, tmp_path, name, wish, usual):
    getattr(torch, name)(wish)
    try:
        with pytest.raises(rnnlab.errors.UserError, match=rf"torch.{name}\(.*call torch.{name}\("):
            rnnlab.train(*SMALL, f"paths.outputs={tmp_path}", quiet=True)
        with pytest.raises(rnnlab.errors.UserError, match=name):
            rnnlab.load(sine.folder).model  # noqa: B018
    finally:
        getattr(torch, name)(usual)
    assert not list(tmp_path.iterdir())


def test_a_surrounding_program_need_have_neither_words_nor_an_output(outputs):
    """As an embedded Python, or pythonw."""
    begun = "import sys; ends = sys.stdout, sys.stderr; sys.argv, sys.stdout, sys.stderr = [], None, None; "
    asked = ", ".join(map(repr, [*SMALL, f"paths.outputs={outputs}", "seed=1"]))
    code = f"{begun}import rnnlab; rnnlab.train({asked}); sys.stdout, sys.stderr = ends"
    assert warm.run([sys.executable, "-c", code]).returncode == 0
    assert rnnlab.runs(outputs / "sine").pop().status == "finished"


def test_dir_and_help_show_what_there_is():
    assert {"train", "sweep", "load", "runs", "Run", "Cell", "Task"} <= set(dir(rnnlab))
    asked = {
        "evaluate",
        "predict",
        "generate",
        "forecast",
        "resume",
        "figures",
        "draw",
        "to_frame",
        "metrics",
    }
    assert asked <= set(dir(rnnlab.Run))
    assert all(getattr(rnnlab.Run, name).__doc__ for name in asked)
    assert all(getattr(rnnlab, name).__doc__ for name in ("train", "sweep", "load"))


def test_a_mistyped_key_costs_one_line_in_a_notebook(capsys):
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell.instance()
    shell.run_cell("import rnnlab; rnnlab.train('model.hiden_size=3')")
    said = capsys.readouterr()
    lines = (said.out + said.err).strip().splitlines()
    assert len(lines) == 1 and "Did you mean model.hidden_size?" in lines[0]


# ---------------------------------------------------------------------- one run


def test_a_folder_may_be_given_as_a_text(sine):
    assert rnnlab.Run(str(sine.folder)) == sine and rnnlab.Run(str(sine.folder)).results == sine.results


@pytest.mark.parametrize("asked", [(), ("data.seed=7",)])
def test_evaluate_gives_the_commands_numbers(sine, asked):
    found = sine.evaluate(*asked)
    theirs = json.loads(command("evaluate", sine.folder, *asked, "--json"))
    assert (found.metrics, found.baselines, found.floor) == (
        theirs["metrics"],
        theirs["baselines"],
        theirs["floor"],
    )
    rows = found.to_frame()
    assert rows.loc["persistence", "mse"] == found.baselines["persistence"]["mse"]
    assert "persistence" in found._repr_html_()


def test_a_short_last_batch_counts_by_its_rows(sine):
    """Sums over 7 rows at a time, the last ones fewer, are those over all at once."""
    whole, pieces = (sine.evaluate(f"data.batch_size={n}", split="val").metrics for n in (1000, 7))
    assert len(sine.predict(split="val")) % 7
    assert whole == pytest.approx(pieces, rel=1e-6)


def test_predict_gives_forecasts_in_the_units_of_the_data(sine):
    data = build(sine.config["data"], "data")
    data.setup()
    raw, spec = data.frame.values, sine.model.spec
    want = []
    for start in data.starts("test"):  # by hand, window by window
        x = torch.tensor((raw[start : start + 20] - spec["input_shift"]) / spec["input_scale"]).float()
        with torch.no_grad():
            want.append(sine.model(x[None])[0].numpy() * spec["target_scale"] + spec["target_shift"])
    np.testing.assert_allclose(sine.predict(), want, rtol=1e-5, atol=1e-6)
    windows = np.stack([raw[start : start + 20] for start in data.starts("test")])
    np.testing.assert_allclose(sine.predict(windows), want, rtol=1e-5, atol=1e-5)
    with pytest.raises(rnnlab.UserError, match=r"it must be \(rows, steps, 1\)"):
        sine.predict(windows[0])


def test_what_is_given_is_scaled_as_the_data_are_also_far_from_zero(sine):
    task = copy.copy(sine.model)
    task.spec = task.spec | {"input_shift": [1e8 + 0.3], "input_scale": [0.5]}
    x = torch.tensor([[[1e8 + 0.3], [1e8 + 0.8]]], dtype=torch.float64)
    assert task.scaled(x).flatten().tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
    assert task.scaled(x).dtype == torch.float32


@torch.no_grad()
def test_predict_gives_the_probabilities_of_classes_and_characters(tokens, text):
    x = np.arange(1, 13).reshape(2, 6)
    found = tokens.predict(x)
    logits = tokens.model(torch.from_numpy(x), torch.tensor([6, 6])).numpy()
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    scored = tokens.predict(split="val")
    data = build(tokens.config["data"], "data")
    data.setup()
    part = data.part("val")  # padded with zeros on the right
    assert (part.x == 0).any()
    np.testing.assert_allclose(tokens.predict(part.x.numpy()), scored, rtol=1e-5, atol=1e-7)
    accuracy = ((scored[:, 1] > 0.5) == part.y.numpy()).mean()
    assert accuracy == pytest.approx(tokens.evaluate(split="val").metrics["accuracy"])

    p, rows = text.predict(), None
    data = build(text.config["data"], "data")
    data.setup()
    rows = data.rows("test")
    assert p.shape == (*rows[:, 1:].shape, len(text.model.spec["vocabulary"]))
    nats = -np.log(np.take_along_axis(p, rows[:, 1:, None].numpy(), -1)).mean()
    assert nats == pytest.approx(text.evaluate().metrics["nats"], rel=1e-5)


@pytest.mark.parametrize("kind", ["sine", "text", "tokens"])
def test_a_stock_trainer_predicts(kind, request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = request.getfixturevalue(kind)
    data = build(run.config["data"], "data")
    parts = lightning.Trainer(**STOCK).predict(run.model, data)
    np.testing.assert_allclose(np.concatenate(parts, 1 if kind == "text" else 0), run.predict(), rtol=1e-6)


def test_generate_gives_the_commands_text(text):
    options = ("--prompt", "the ", "--length", 30, "--temperature", 0.5, "--seed", 3)
    written = text.generate("the ", 30, temperature=0.5, seed=3)
    assert command("generate", text.folder, *options) == written + "\n"
    with pytest.raises(rnnlab.UserError, match="temperature"):
        text.generate("the ", temperature=-1)


def test_forecast_gives_the_commands_table(sine, tmp_path):
    found = sine.forecast(30)
    command(
        "forecast", sine.folder, "--horizon", 30, "--csv", tmp_path / "f.csv", "--picture", tmp_path / "f.png"
    )
    assert (tmp_path / "f.csv").read_text() == found.to_csv()
    assert found._repr_png_().startswith(b"\x89PNG")
    table = found.to_frame()
    np.testing.assert_array_equal(table["value_forecast"], found.values[:, 0])
    assert ((table["value_truth"] - table["value_forecast"]) ** 2).mean() == pytest.approx(
        found.errors["forecast"]["mse"]
    )


def test_resume_trains_longer_to_the_numbers_of_the_unbroken_run(tmp_path):
    asked = (*SMALL, "scheduler=constant")
    apart = quoted(str(tmp_path / "o'brien"))  # a folder's name may hold a quote
    short = rnnlab.train(*asked, f"paths.outputs={apart}", quiet=True)
    long = short.resume("trainer.max_epochs=5", quiet=True)
    whole = rnnlab.train(*asked, f"paths.outputs={tmp_path / 'b'}", "trainer.max_epochs=5", quiet=True)
    assert long.folder.name == whole.folder.name
    assert long.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    with pytest.raises(rnnlab.UserError, match="is finished"):
        short.resume()


@pytest.mark.parametrize("more", [(), ("rerun=true",)])
def test_resume_goes_on_with_a_run_that_was_stopped(tmp_path, monkeypatch, more):
    monkeypatch.syspath_prepend(Path(__file__).parent / "training")
    asked = (*SMALL, "+callbacks.stop._target_=stopping.StopAtBatch")
    run = rnnlab.train(*asked, *more, "+callbacks.stop.batches=8", f"paths.outputs={tmp_path}", quiet=True)
    assert run.status == "stopped"
    with pytest.raises(rnnlab.UserError, match=r"goes on as it was asked, without seed=1"):
        run.resume("seed=1")
    assert run.resume(quiet=True).status == "finished"
    whole = rnnlab.train(*asked, "+callbacks.stop.batches=99", f"paths.outputs={tmp_path}", quiet=True)
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


def test_the_scalars_as_a_frame(sine):
    table = sine.to_frame()
    for name, (steps, values) in sine.metrics.items():
        column = table[name].dropna()
        np.testing.assert_array_equal(column.index, steps)
        np.testing.assert_array_equal(column, values)


def test_figures_are_drawn_when_they_are_asked_for(sine):
    assert not sine.figures.exists()
    assert [file.name for file in sine.draw().glob("*.png")] == ["forecast.png"]


def test_without_pandas_a_frame_costs_one_line(sine, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **options):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(rnnlab.UserError, match="pip install pandas"):
        sine.to_frame()


# ---------------------------------------------------------------------- several runs


def test_a_sweep_gives_its_runs_in_the_order_of_the_plan(tmp_path, capfd):
    asked = (*SMALL, f"paths.outputs={tmp_path}", "model.hidden_size=4,6", "seed=0,1", "trainer.max_epochs=1")
    found = rnnlab.sweep(*asked, quiet=True)
    assert capfd.readouterr().out == ""
    assert [(r.config["model"]["hidden_size"], r.config["seed"]) for r in found] == [
        (4, 0),
        (4, 1),
        (6, 0),
        (6, 1),
    ]
    assert {r.status for r in found} == {"finished"}
    alone = rnnlab.train(*SMALL, f"paths.outputs={tmp_path / 'alone'}", "model.hidden_size=6", "seed=1",
                         "trainer.max_epochs=1", quiet=True)  # fmt: skip
    assert alone.metrics_file.read_bytes() == found[3].metrics_file.read_bytes()

    table = found.to_frame()
    assert list(table["model.hidden_size"]) == [4, 4, 6, 6]
    assert list(table["loss/val"]) == [run.objective for run in found]
    assert list(table["test/mse"]) == [run.results["test"]["mse"] for run in found]
    best = found.leaderboard.rows[0]
    means = {size: np.mean([r.objective for r in found[i : i + 2]]) for size, i in ((4, 0), (6, 2))}
    assert best.mean == pytest.approx(min(means.values()))
    assert found._repr_html_().count("hidden_size=") == 2
    assert rnnlab.runs(tmp_path / "sine").to_frame()["run"].isin([r.folder.name for r in found]).all()


def test_a_failure_in_a_sweep_costs_its_run_alone(tmp_path, capfd):
    found = rnnlab.sweep(*SMALL, f"paths.outputs={tmp_path}", "optimizer.lr=1e-3,1e30", "trainer.max_epochs=2",
                         quiet=True)  # fmt: skip
    assert [run.status for run in found] == ["finished", "failed"]
    assert "1 of 2 runs failed" in capfd.readouterr().err


def test_a_sweeps_mistyped_key_costs_one_line(tmp_path):
    with pytest.raises(rnnlab.UserError, match=r"Did you mean model\.hidden_size\?"):
        rnnlab.sweep(*SMALL, f"paths.outputs={tmp_path}", "model.hiden_size=4,8")
    assert not list(tmp_path.iterdir())


def test_a_sweep_takes_the_values_that_an_experiment_file_gives(tmp_path):
    few = (
        "data.n_points=200",
        "model.hidden_size=4",
        "model.num_layers=1",
        "optimizer.lr=0.01",
        "scheduler.warmup_steps=0",
    )
    found = rnnlab.sweep(
        "experiment=sine_sweep", *few, "trainer.max_epochs=1", f"paths.outputs={tmp_path}", quiet=True
    )
    assert [run.config["seed"] for run in found] == [0, 1, 2]  # seed: range(0,3) in the file


# ---------------------------------------------------------------------- what `predict` takes


def test_arrays_of_any_layout_and_type_are_predicted(sine, tokens, text):
    x = np.random.default_rng(0).normal(size=(4, 20, 1))
    want = sine.predict(x)
    np.testing.assert_array_equal(sine.predict(x[::-1])[::-1], want)
    np.testing.assert_array_equal(sine.predict(np.asfortranarray(x)), want)
    np.testing.assert_array_equal(sine.predict(x.astype(">f8")), want)
    np.testing.assert_array_equal(sine.predict(torch.tensor(x, requires_grad=True)), want)
    np.testing.assert_array_equal(sine.predict(x.tolist()), want)
    assert sine.predict(np.zeros((2, 20, 1), int)).shape == (2, 1, 1)
    ids = np.array([[True, True], [True, False]])  # of tokens, 0 at the end is padding
    for run in (tokens, text):
        np.testing.assert_array_equal(run.predict(ids), run.predict(ids.astype(np.uint8)))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([[[0.1], [0.2]], [[0.1]]], "rows of several lengths"),
        ([[["a"]]], "no array of numbers"),
        (Path("new.csv"), "a PosixPath, and no array of numbers"),
        (np.zeros((2, 0, 1)), r"x is \(2, 0, 1\), with nothing in it"),
        (np.zeros((0, 20, 1)), r"x is \(0, 20, 1\), with nothing in it"),
    ],
)
def test_what_is_no_array_of_numbers_is_a_line(sine, x, said):
    with pytest.raises(rnnlab.UserError, match=said):
        sine.predict(x)


def test_ids_that_are_fractions_are_a_line(tokens):
    with pytest.raises(rnnlab.UserError, match=r"and is float\d+ of shape \(1, 2\)"):
        tokens.predict(np.ones((1, 2)))


def test_a_module_of_ones_own_predicts_for_an_array(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent / "training")
    import plain_project

    asked = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=none", "logger=none", "name=own")
    run = rnnlab.train(*asked, f"paths.outputs={tmp_path}", module=plain_project.Module(),
                       data=plain_project.WithTest(), quiet=True)  # fmt: skip
    x = np.random.default_rng(0).normal(size=(3, 4))
    with torch.no_grad():
        want = run.model(torch.tensor(x, dtype=torch.float32)).numpy()
    np.testing.assert_array_equal(run.predict(x), want)
    with pytest.raises(
        rnnlab.UserError, match=r"forward of Module does not take x, \(3, 5\) torch.float32: mat1"
    ):
        run.predict(np.zeros((3, 5)))
    monkeypatch.delattr(plain_project.Module, "forward")
    for x in ((), (np.zeros((3, 4)),)):
        with pytest.raises(rnnlab.UserError, match="forward"):
            run.predict(*x)


def test_whole_numbers_of_any_type_are_taken_and_others_are_a_line(sine, text):
    want = sine.forecast(6, start=8)
    found = sine.forecast(np.int64(6), start=8.0)
    np.testing.assert_array_equal(found.values, want.values)
    assert text.generate("the ", np.float64(5), seed=np.uint8(3)) == text.generate("the ", 5, seed=3)
    for call in (
        lambda: sine.forecast(2.5),
        lambda: sine.evaluate(backtest="x"),
        lambda: text.generate("t", 1.5),
    ):
        with pytest.raises(rnnlab.UserError, match="must be a whole number"):
            call()


def test_the_home_folder_may_be_written_short(sine, monkeypatch):
    monkeypatch.setenv("HOME", str(sine.folder.parents[1]))
    assert rnnlab.load(f"~/sine/{sine.folder.name}").results == sine.results
    assert len(rnnlab.runs("~/sine")) >= 1


def test_overrides_in_a_list_are_a_line(sine):
    asked = ["experiment=sine", "seed=1"]
    calls = (rnnlab.train, rnnlab.sweep, sine.evaluate, lambda a: sine.forecast(3, a), sine.resume)
    for call in calls:
        with pytest.raises(rnnlab.UserError, match="an override is a text"):
            call(asked)


def test_a_search_from_python_is_a_search(tmp_path):
    pytest.importorskip("optuna", reason="Optuna is not installed: no search is tried")
    found = rnnlab.sweep(*SMALL, f"paths.outputs={tmp_path}", "trainer.max_epochs=1", "sweep.search=random",
                         "optimizer.lr=interval(0.001,0.01)", "sweep.trials=2", quiet=True)  # fmt: skip
    assert [run.status for run in found] == ["finished"] * 2
    trials = read_journal(tmp_path / "sine" / "search.jsonl").trials
    assert [trial["runs"] for trial in trials] == [[run.folder.name] for run in found]
