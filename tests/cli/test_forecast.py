"""forecast against a feedback loop by hand, on the numbers in the file that it writes."""

import csv

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from tables import table

import rnnlab
from rnnlab.cli.forecast import main
from rnnlab.errors import UserError


def read(path):
    with path.open() as f:
        header, *rows = csv.reader(f)
    return header, rows


@torch.no_grad()
def by_hand(run, raw, steps):
    """Raw forecasts (steps, targets) behind the last row of raw (n, targets), one model call a stretch."""
    spec = run.model.spec
    fed = ((raw - spec["input_shift"]) / spec["input_scale"]).tolist()
    known = len(fed)
    while len(fed) < known + steps:
        window = torch.tensor(fed[-spec["window"] :], dtype=torch.float32)[None]
        fed += run.model(window)[0].tolist()
    return np.array(fed[known : known + steps]) * spec["target_scale"] + spec["target_shift"]


def test_its_own_data_with_truth_and_baseline(sine, tmp_path, capsys):
    main(
        [
            str(sine.folder),
            "--horizon",
            "35",
            "--csv",
            f"{tmp_path}/a/f.csv",
            "--picture",
            f"{tmp_path}/f.png",
        ]
    )
    header, rows = read(tmp_path / "a" / "f.csv")
    assert header == ["time", "value_truth", "value_forecast", "value_persistence"]
    at, truth, forecast, persistence = np.array(rows, dtype=float).T
    np.testing.assert_array_equal(at, np.linspace(0, 100, 300)[-35:])
    from rnnlab.config import build

    data = build(sine.config["data"], "data")
    data.setup()
    values = data.frame.values
    np.testing.assert_array_equal(truth, values[-35:, 0])
    np.testing.assert_allclose(forecast, by_hand(sine, values[:-35], 35)[:, 0], rtol=1e-4, atol=1e-5)
    assert set(persistence) == {values[-36, 0]}
    shown = capsys.readouterr().out
    assert f"{np.square(forecast - truth).mean():.4g}" in shown
    assert f"{np.abs(persistence - truth).mean():.4g}" in shown


def test_a_new_file_is_continued_from_its_end(series, tmp_path):
    new = table(tmp_path / "new.csv", 50, shift=3.0)
    main([str(series.folder), "--data", str(new), "--horizon", "30", "--csv", f"{tmp_path}/f.csv",
          "--picture", f"{tmp_path}/f.png"])  # fmt: skip
    header, rows = read(tmp_path / "f.csv")
    assert header == ["date", "load_forecast", "load_seasonal", "heat_forecast", "heat_seasonal"]
    assert [rows[0][0], rows[-1][0]] == ["2020-01-03T02:00:00", "2020-01-04T07:00:00"]
    raw = np.loadtxt(new, delimiter=",", skiprows=1, usecols=(1, 2))
    ours = np.array([row[1:] for row in rows], dtype=float)
    np.testing.assert_allclose(ours[:, [0, 2]], by_hand(series, raw, 30), rtol=1e-4)
    season = np.concatenate([raw[-24:], raw[-24:-18]])
    np.testing.assert_allclose(ours[:, [1, 3]], season)
    found = series.forecast(30, f"+data.path={new}")  # however an override spells the new file
    np.testing.assert_array_equal(found.values, ours[:, [0, 2]])


def test_truth_stops_where_the_data_does(series, tmp_path):
    main([str(series.folder), "--horizon", "30", "--start", "10", "--csv", f"{tmp_path}/f.csv",
          "--picture", f"{tmp_path}/f.png"])  # fmt: skip
    header, rows = read(tmp_path / "f.csv")
    truth = [row[header.index("heat_truth")] for row in rows]
    assert all(truth[:10])
    assert not any(truth[10:])


def test_the_picture_is_there_and_not_blank(series):
    main([str(series.folder), "--horizon", "40"])
    picture = imread(series.figures / "free-run-40.png")
    assert picture.shape[1] == 1200
    assert picture[..., :3].std() > 0.05
    assert (series.figures / "free-run-40.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--horizon", "0"], "--horizon 0"),
        (["--start", "-1"], "--start -1"),
        (["--start", "395"], "^--start 395: .* at most 376 steps before the end"),
        (["--horizon", "395"], "^--horizon 395: .* at most 376 steps before the end"),
        (["--id", "c"], "--id c: this data is one series; data.id_column tells several apart"),
        (["--data", "nowhere.csv"], "nowhere.csv: no such file"),
    ],
)
def test_what_cannot_be_is_one_line(series, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        main([str(series.folder), *arguments])
    assert "\n" not in str(caught.value)


def test_made_data_has_no_file_and_text_no_forecast(sine, text):
    with pytest.raises(UserError, match="generated, not read from a file"):
        main([str(sine.folder), "--data", "new.csv"])
    with pytest.raises(UserError, match="holds a CharLM"):
        main([str(text.folder)])


@pytest.fixture(scope="module")
def months(tmp_path_factory):
    """Two shops by the month, with offsets from UTC, as quantiles."""
    folder = tmp_path_factory.mktemp("months")
    rng, rows = np.random.default_rng(0), []
    for i in range(60):
        month = f"{np.datetime64('2015-01') + i}-01T00:00:00+02:00"
        rows += [
            f"{month},{shop},{100 * level + rng.normal():.3f}" for level, shop in enumerate(("a b", "c"), 1)
        ]
    (folder / "m.csv").write_text("when,shop,sales\n" + "\n".join(rows) + "\n")
    return rnnlab.train(
        "data=series", "model=forecaster", f"data.path={folder / 'm.csv'}", "data.target=sales",
        "data.time_column=when",
        "data.id_column=shop", "data.window=12", "data.horizon=3", "data.calendar=[month]", "model.loss=quantile",
        "model.hidden_size=4", "trainer.max_epochs=1", "logger=none", "callbacks=none", "trainer.threads=1",
        "trainer.accelerator=cpu", "name=months", f"paths.outputs={folder}", quiet=True,
    )  # fmt: skip


def test_months_of_one_of_several_series_go_on_by_the_calendar(months, tmp_path):
    main([str(months.folder), "--id", "c", "--start", "0", "--horizon", "5", "--csv", f"{tmp_path}/f.csv"])
    header, rows = read(tmp_path / "f.csv")
    assert header == ["when", *(f"sales_{k}" for k in ("forecast", "seasonal", "q0.1", "q0.5", "q0.9"))]
    # at midnight of UTC+2 it is still the day before in UTC, the last of a month or not: the 31st, say
    assert [row[0][:7] for row in rows] == ["2020-01", "2020-02", "2020-03", "2020-04", "2020-05"]
    assert all(row[0].endswith("-01T00:00:00+02:00") for row in rows)
    assert all(row[3] and row[1] == row[4] for row in rows[:3]) and not any(row[3] for row in rows[3:])
    assert all(150 < float(row[1]) < 250 for row in rows)  # in the units of its own series
    assert (months.figures / "free-run-5-c-start-0.png").is_file()
    with pytest.raises(UserError, match=r"--id d: no such series\. "):
        main([str(months.folder), "--id", "d"])


def test_a_series_that_is_shorter_than_the_window_is_named(months, tmp_path):
    rows = [f"{np.datetime64('2015-01') + i}-01T00:00:00+02:00" for i in range(20)]
    short = [f"{month},a b,100" for month in rows[:3]] + [f"{month},c,200" for month in rows]
    (tmp_path / "short.csv").write_text("when,shop,sales\n" + "\n".join(short) + "\n")
    said = "^the series a b has 3 rows, and the model needs 12; --id names another$"
    with pytest.raises(UserError, match=said):
        months.forecast(3, data=tmp_path / "short.csv")
    assert len(months.forecast(3, data=tmp_path / "short.csv", series="c").values) == 3


@pytest.mark.parametrize("shop", ["a b", "c"])
def test_a_forecast_inside_the_training_part_of_its_series_is_told(months, shop):
    assert months.forecast(3, start=25, series=shop).within_training  # of 60 months, 36 are trained on
    assert not months.forecast(3, start=24, series=shop).within_training


def test_without_a_horizon_as_many_steps_as_fit(months, series):
    main([str(months.folder)])
    assert (months.figures / "free-run-24.csv").is_file()  # the 60 months less the 36 of the training part
    main([str(series.folder)])
    assert (series.figures / "free-run-160.csv").is_file()


def test_a_picture_is_of_the_kind_that_its_name_says(sine, tmp_path):
    for name, begins in (("f.svg", b"<?xml"), ("f.pdf", b"%PDF"), ("f.PNG", b"\x89PNG"), ("f", b"\x89PNG")):
        main(
            [
                str(sine.folder),
                "--horizon",
                "5",
                "--csv",
                f"{tmp_path}/f.csv",
                "--picture",
                f"{tmp_path}/{name}",
            ]
        )
        assert (tmp_path / name).read_bytes().startswith(begins)
    with pytest.raises(UserError, match=r"f\.jpg: a figure is written as \.svg, \.pdf, \.png"):
        main([str(sine.folder), "--csv", f"{tmp_path}/g.csv", "--picture", f"{tmp_path}/f.jpg"])
    assert not (tmp_path / "g.csv").exists()


def test_times_with_offsets_keep_them_in_tables_frames_and_backtests(months):
    found = months.forecast(3, start=0, series="c")
    assert str(found.to_frame().index.tz) == "UTC"
    assert found.time_texts[0] == "2020-01-01T00:00:00+02:00"
    assert found.to_frame().index[0].isoformat() == "2019-12-31T22:00:00+00:00"
    origins = list(months.evaluate(backtest=2).breakdown)[:2]
    assert all(origin.endswith("-01T00:00:00+02:00") for origin in origins)


def test_a_horizon_that_does_not_fit_is_named_as_it_was_asked_for(series):
    with pytest.raises(UserError, match=r"^--horizon 390: the data has 400 rows"):
        series.forecast(390)
    with pytest.raises(UserError, match="the path of a file, and no DataFrame"):
        series.forecast(data=series.forecast(3).to_frame())


def test_inputs_without_a_future_are_named_in_a_line(tmp_path, capsys):
    asked = (f"data.path={table(tmp_path / 't.csv', 200)}", "data.target=load", "data.columns=[load,heat]")
    run = rnnlab.train(
        "experiment=ett", *asked, "data.window=24", "data.horizon=3", "model.hidden_size=4", "trainer.max_epochs=1",
        "logger=none", "callbacks=none", "trainer.threads=1", "trainer.accelerator=cpu",
        f"paths.outputs={tmp_path}", quiet=True,
    )  # fmt: skip
    capsys.readouterr()
    assert len(run.forecast().values) == 3
    said = capsys.readouterr().err.strip()
    assert said.startswith("the forecast goes 3 steps ahead") and " heat, " in said
    run.forecast(2)
    assert capsys.readouterr().err == ""


def test_the_runs_own_file_in_another_place_has_its_training_part(series, tmp_path):
    same = table(tmp_path / f"{'moved' * 30}.csv", 400)
    found = series.forecast(5, start=300, data=same)
    assert found.within_training and len(found.name) < 100
    np.testing.assert_array_equal(found.values, series.forecast(5, start=300).values)
    assert len(series.forecast(5, data=same).truth) == 0  # a file that is named is continued from its end
    assert not series.forecast(5, start=30, data=table(tmp_path / "new.csv", 60, shift=1.0)).within_training
