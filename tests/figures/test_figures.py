"""The figures of a finished run hold its numbers: each line is compared with the data, with metrics.csv and with the
results, and its colour is looked for in the file. How they look is for people.
"""

import json

import numpy as np
import pytest
import torch
from matplotlib import rc_context
from matplotlib.image import imread
from matplotlib.text import Text

import rnnlab
from rnnlab.data import Chars
from rnnlab.figures import finished
from rnnlab.figures.axis import apart
from rnnlab.figures.canvas import BLUE, GREEN, GREY, ORANGE, canvas, headline, save
from rnnlab.figures.learning import Learning, draw
from rnnlab.figures.units import record_units
from rnnlab.instruments.probe import looking, probe
from rnnlab.instruments.writing import Writing
from rnnlab.runs.metrics import smoothed
from rnnlab.runs.run import Run
from rnnlab.tasks import CharLM
from rnnlab.training.train import load_data

FAST = (
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "logger=none",
    "callbacks=default",
    "~callbacks.progress",
)


@pytest.fixture
def saved(monkeypatch):
    """Every figure that is saved, by its file's name."""
    figures = {}

    def keep(figure, path):
        figures[path.name] = figure
        return save(figure, path)

    monkeypatch.setattr(finished, "save", keep)
    return figures


def inked(path, axes, *colours):
    """Whether there are lines of each of these colours in an axes of the file."""
    picture = (imread(path)[..., :3] * 255).round().astype(int)
    box, height = axes.get_window_extent(), len(picture)
    inside = picture[height - int(box.y1) : height - int(box.y0), int(box.x0) : int(box.x1)]
    wanted = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours])
    near = np.abs(inside[:, :, None] - wanted).max(-1) < 40
    return (near.sum((0, 1)) > 20).all()


def lines(axes):
    """{label: (x, y)} of the named lines."""
    return {line.get_label(): line.get_data() for line in axes.lines if not line.get_label().startswith("_")}


def unnamed(axes, colour, style="-"):
    """The values of the lines of a colour, in their order."""
    return [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines
            if line.get_color() == colour and (line.get_linestyle() == style)]  # fmt: skip


def learning_curve_holds(run, axes, metric, factor):
    """Training and validation are those of metrics.csv; baselines and floor lie at what the results say."""
    metrics = run.metrics
    if factor is not None:
        thin, smooth = unnamed(axes, BLUE)
        np.testing.assert_allclose(thin, factor * metrics["loss/train"][1])
        assert np.isfinite(smooth).all()
    if f"metric/{metric}" in metrics:
        np.testing.assert_array_equal(unnamed(axes, ORANGE)[-1], metrics[f"metric/{metric}"][1])
    part = "val" if "val" in run.results["baselines"] else "train"
    wanted = {n: s[metric] for n, s in run.results["baselines"][part].items() if metric in s}
    across = [float(y[0]) for y in unnamed(axes, GREY, "--")]
    named = [text.get_text() for text in axes.texts]
    low = [text.split()[0] for text in named if text.endswith("\N{DOWNWARDS ARROW}")]  # named at the bottom
    assert sorted(across) == pytest.approx(sorted(v for n, v in wanted.items() if n.split()[0] not in low))
    for name in wanted:
        assert any(text.startswith(name) for text in named), name


@pytest.mark.parametrize("options", [(), ("data.fractions=[1,0,0]",), ("data.split=windows", "data.noise_std=0"),
                                     ("data.horizon=7", "model.loss=mae"), ("data.horizon=200",)])  # fmt: skip
def test_a_forecaster(tmp_path, saved, options):
    run = rnnlab.train("experiment=sine", *FAST, "model.hidden_size=4", "trainer.max_epochs=2", *options,
                       "data.n_points=1600", f"paths.outputs={tmp_path}")  # fmt: skip
    figure, file = saved["forecast.png"], run.figures / "forecast.png"
    assert imread(file).shape[:2] == (480, 1200)
    left, right = figure.axes
    data = load_data(run.config)
    drawn = lines(left)
    assert {"truth", "free-running"} <= drawn.keys() and len(drawn) == 4
    # the truth is the series itself, at its own times
    at, truth = drawn["truth"]
    rows = np.searchsorted(data.frame.times, at)
    np.testing.assert_array_equal(truth, data.frame.values[rows, 0])
    assert np.ptp(truth) > 1
    # forecasts from true windows are what the model says of them
    (ahead,) = (label for label in drawn if label.endswith("ahead"))
    first = int(np.searchsorted(data.frame.times, drawn[ahead][0][0]))
    window = data.series[first - data.window : first, : data.inputs][None]
    with torch.no_grad():
        forecast = (
            run.model(window)[0, :, 0].numpy() * data.spec["target_scale"][0] + data.spec["target_shift"][0]
        )
    shown = drawn[ahead][1][: data.horizon]
    np.testing.assert_allclose(shown, forecast[: len(shown)], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(drawn["free-running"][1][: len(shown)], shown, rtol=1e-4, atol=1e-5)
    metric = "mae" if "model.loss=mae" in options else "mse"
    learning_curve_holds(run, right, metric, run.model.loss_units()[1])
    hidden = data.horizon == 200  # one window is as long as the free run, which covers it
    assert inked(file, left, *(() if hidden else (BLUE,)), ORANGE, GREEN) and inked(file, right, BLUE, GREY)


def test_a_series_is_shown_in_its_own_units(tmp_path, saved):
    values = 50 + 20 * np.sin(np.arange(400) / 5)
    (tmp_path / "s.csv").write_text("v\n" + "\n".join(map(str, values)) + "\n")
    run = rnnlab.train("data=series", "model=forecaster", *FAST, f"data.path={tmp_path / 's.csv'}", "data.target=v",
                       "data.window=12", "data.horizon=3", "data.season=31", "model.hidden_size=4", "name=s",
                       "trainer.max_epochs=2", f"paths.outputs={tmp_path}")  # fmt: skip
    left, right = saved["forecast.png"].axes
    at, truth = lines(left)["truth"]
    np.testing.assert_allclose(truth, values[np.asarray(at, dtype=int)])
    # of the training part, by whose scale it learns
    learning_curve_holds(run, right, "mse", float(values[:240].var()))


def test_a_character_model(tmp_path, saved):
    (tmp_path / "t.txt").write_text("the cat sat on the mat " * 200)
    run = rnnlab.train("experiment=pydoc", *FAST, f"data.path={tmp_path / 't.txt'}", "data.batch_size=4",
                       "model.hidden_size=8", "trainer.max_steps=20", "trainer.val_check_interval=10",
                       f"paths.outputs={tmp_path}")  # fmt: skip
    (axes,), file = saved["learning.png"].axes, run.figures / "learning.png"
    assert imread(file).shape[:2] == (480, 1080)
    learning_curve_holds(run, axes, "nats", 1.0)
    assert inked(file, axes, BLUE, ORANGE, GREY)
    head, said = (run.samples / "sample.txt").read_text().split("\n", 1)
    prompt = ("the cat sat on the mat " * 200)[4140:4160]  # the validation part begins after 90% of 4,600
    assert repr(prompt) in head
    assert said.startswith(prompt)
    assert len(said) == 20 + 300 + 1


def test_a_classifier(tmp_path, saved):
    run = rnnlab.train("experiment=markers", *FAST, "data.n_sequences=200", "model.hidden_size=4",
                       "trainer.max_epochs=2", f"paths.outputs={tmp_path}")  # fmt: skip
    (left, right), file = saved["learning.png"].axes, run.figures / "learning.png"
    assert imread(file).shape[:2] == (480, 1200)
    learning_curve_holds(run, left, "cross_entropy", 1.0)
    learning_curve_holds(run, right, "accuracy", None)
    assert inked(file, left, BLUE, ORANGE, GREY) and inked(file, right, ORANGE, GREY)


def test_no_figure_where_none_is_asked_for(tmp_path):
    run = rnnlab.train("experiment=sine", *FAST, "model.hidden_size=4", "trainer.max_epochs=1",
                       "~callbacks.pictures", f"paths.outputs={tmp_path}")  # fmt: skip
    assert not run.figures.exists()


def test_a_users_own_style_changes_no_picture(tmp_path):
    dark = {
        "text.usetex": True,
        "axes.facecolor": "black",
        "text.color": "white",
        "font.size": 30,
        "savefig.dpi": 30,
    }
    drawn = []
    for name, theirs in (("plain", {}), ("dark", dark)):
        with rc_context(theirs):
            asked = ("data.n_points=200", "trainer.max_epochs=1", *FAST[:3], "callbacks=inspect")
            run = rnnlab.train("experiment=sine", *asked, f"paths.outputs={tmp_path / name}")
            files = {file.name: file.read_bytes() for file in run.figures.glob("*.png")}
            found = run.forecast(20)
            files["forecast of 20"] = found._repr_png_()
            save(found.figure(), tmp_path / name / "saved.png")
            files["saved"] = (tmp_path / name / "saved.png").read_bytes()
        drawn.append(files)
    assert len(drawn[0]) > 5
    assert drawn[0] == drawn[1]


def test_labels_keep_apart_and_stay_near():
    rng = np.random.default_rng(0)
    for _ in range(50):
        wanted = np.sort(rng.uniform(0, 100, 6))
        places = np.array(apart(wanted, 9.0))
        assert (np.diff(places) > 9.0 - 1e-9).all()
        assert places[0] >= 0
    np.testing.assert_allclose(apart([10.0, 50.0, 50.0, 90.0], 8.0), [10.0, 46.0, 54.0, 90.0])
    assert apart([0.0, 0.0], 8.0) == [0.0, 8.0]


def test_a_long_curve_is_smoothed_by_means_that_lose_nothing():
    values = np.random.default_rng(0).normal(size=12_000)
    steps, means = smoothed(np.arange(1, 12_001), values)
    assert len(means) == 120
    assert steps[-1] == 12_000
    np.testing.assert_allclose(means, values.reshape(120, 100).mean(1))


@pytest.mark.parametrize("last", [np.nan, np.inf, 0.0])
def test_a_curve_whose_last_value_cannot_be_drawn_keeps_its_name(last):
    figure = canvas(5, 4)
    axes = figure.subplots()
    curve = np.arange(1, 5), np.array([4.0, 3.0, 2.0, last])
    draw(axes, Learning("mse", None, curve, {}, None))
    [name] = axes.texts
    height = np.log(2 / axes.get_ylim()[0]) / np.log(axes.get_ylim()[1] / axes.get_ylim()[0])
    assert name.get_text() == "validation"
    assert name.xy[1] == pytest.approx(height, abs=0.01)


@pytest.mark.parametrize("baselines", [1, 6])
def test_a_headline_keeps_to_its_figure(baselines):
    figure = canvas(10.8, 4.8)
    headline(figure, "shakespeare: validation nats per character 2.54", "(unigram 3.313)" * baselines)
    right = max(text.get_window_extent().x1 for text in figure.texts)
    assert right < figure.bbox.width
    assert figure.texts[-1].get_fontsize() == 10.5 or baselines > 1


@pytest.mark.parametrize("beside", ["", "(unigram 3.313)"])
def test_a_headline_of_any_length_keeps_to_its_figure(beside):
    figure = canvas(10.8, 4.8)
    headline(figure, f"{'experiment_' * 12}: validation nats per character 2.54", beside)
    title = figure._suptitle
    for text in (title, *figure.texts):
        assert text.get_window_extent().x1 < figure.bbox.width
        assert text.get_fontsize() >= 7
    assert title.get_text().startswith("experiment_")


@pytest.mark.parametrize("split", ["text", "rows"])
def test_the_passage_for_hidden_units_is_one_stretch_of_the_text(tmp_path, split):
    text = "".join(f"{i} " for i in range(3000))
    (tmp_path / "t.txt").write_text(text)
    data = Chars(path=tmp_path / "t.txt", segment=20, batch_size=8, split=split)
    data.setup()
    task = CharLM(data.spec, cell="elman", hidden_size=4, engine="reference")
    found = json.loads(record_units(Run(tmp_path), task, data).read_text())
    assert len(found["text"]) > 50 and "".join(found["text"]) in text


@pytest.mark.filterwarnings("ignore:Glyph")
def test_characters_that_matplotlibs_font_lacks_are_sought_in_others(monkeypatch, tmp_path):
    monkeypatch.setattr("rnnlab.figures.canvas.wide_fonts", lambda: ["Some CJK"])
    path = tmp_path / "text.txt"
    path.write_text("日本語の文字。" * 300)
    data = Chars(path=str(path), segment=20, batch_size=4)
    data.setup()
    task, instrument, drawn = CharLM(data.spec, cell="gru", hidden_size=4), Writing(), []
    instrument.step, draw = 1, instrument.draw
    monkeypatch.setattr(instrument, "draw", lambda *about: drawn.append(draw(*about)) or drawn[-1])
    with looking(task):
        instrument.look(task, probe(task, data), data)
        assert instrument._png(task, data, narrow=False).startswith(b"\x89PNG")
    texts = [text for text in drawn[0].findobj(Text) if text.get_text() in tuple("日本語の文字。")]
    assert len(texts) > 100
    assert all(text.get_fontfamily() == ["DejaVu Sans", "Some CJK"] for text in texts)
