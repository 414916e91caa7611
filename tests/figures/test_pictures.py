"""Pictures: what a finished run is shown by. How they look is for people; that something is there is tested."""

import numpy as np
import pytest
from matplotlib.image import imread

import rnnlab
from rnnlab.figures.axis import apart
from rnnlab.figures.canvas import canvas, headline
from rnnlab.runs.metrics import smoothed

FAST = (
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "logger=none",
    "callbacks=default",
    "~callbacks.progress",
)


def drawn(path):
    """The picture as (height, width, 3), and whether each quarter of its width holds ink."""
    picture = imread(path)[..., :3]
    quarters = np.array_split(picture, 4, axis=1)
    return picture, all(quarter.std() > 0.03 for quarter in quarters)


@pytest.mark.parametrize("options", [(), ("data.fractions=[1,0,0]",), ("data.split=windows", "data.noise_std=0"),
                                     ("data.horizon=7", "model.loss=mae"), ("data.horizon=200",)])  # fmt: skip
def test_a_forecaster(tmp_path, options):
    run = rnnlab.train("experiment=sine", *FAST, "model.hidden_size=4", "trainer.max_epochs=2", *options,
                       "data.n_points=1600", f"paths.outputs={tmp_path}")  # fmt: skip
    picture, inked = drawn(run.figures / "forecast.png")
    assert picture.shape == (480, 1200, 3)
    assert inked


def test_a_character_model(tmp_path):
    (tmp_path / "t.txt").write_text("the cat sat on the mat " * 200)
    run = rnnlab.train("experiment=pydoc", *FAST, f"data.path={tmp_path / 't.txt'}", "data.batch_size=4",
                       "model.hidden_size=8", "trainer.max_steps=20", "trainer.val_check_interval=10",
                       f"paths.outputs={tmp_path}")  # fmt: skip
    picture, inked = drawn(run.figures / "learning.png")
    assert picture.shape == (480, 1080, 3)
    assert inked
    head, said = (run.samples / "sample.txt").read_text().split("\n", 1)
    prompt = ("the cat sat on the mat " * 200)[4140:4160]  # the validation part begins after 90% of 4,600
    assert repr(prompt) in head
    assert said.startswith(prompt)
    assert len(said) == 20 + 300 + 1


def test_a_classifier(tmp_path):
    run = rnnlab.train("experiment=markers", *FAST, "data.n_sequences=200", "model.hidden_size=4",
                       "trainer.max_epochs=2", f"paths.outputs={tmp_path}")  # fmt: skip
    picture, inked = drawn(run.figures / "learning.png")
    assert picture.shape == (480, 1200, 3)
    assert inked


def test_no_picture_where_none_is_asked_for(tmp_path):
    run = rnnlab.train("experiment=sine", *FAST, "model.hidden_size=4", "trainer.max_epochs=1",
                       "~callbacks.pictures", f"paths.outputs={tmp_path}")  # fmt: skip
    assert not run.figures.exists()


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


@pytest.mark.parametrize("baselines", [1, 6])
def test_a_headline_keeps_to_its_picture(baselines):
    figure = canvas(10.8, 4.8)
    headline(figure, "shakespeare: validation nats per character 2.54", "(unigram 3.313)" * baselines)
    right = max(text.get_window_extent().x1 for text in figure.texts)
    assert right < figure.bbox.width
    assert figure.texts[-1].get_fontsize() == 10.5 or baselines > 1
