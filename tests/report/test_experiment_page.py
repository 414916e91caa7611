"""The page of an experiment against its runs: what it draws, where it leads, and what it never holds."""

import csv
import itertools
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from rnnlab.cli import main
from rnnlab.figures.axis import Axis
from rnnlab.report.numbers import number
from rnnlab.report.svg import plot
from rnnlab.runs.run import Run

SEEDS, STEPS = 5, (10, 20, 30, 40)


@pytest.fixture
def experiment(tmp_path):
    """Three learning rates of five seeds each, written as a training would."""
    rng = np.random.default_rng(0)
    for lr, seed in itertools.product((0.001, 0.01, 0.1), range(SEEDS)):
        losses = (1 + lr) * np.exp(rng.normal(0, 0.2, len(STEPS))) / np.array(STEPS)
        config = {
            "model": {"hidden_size": 8},
            "optimizer": {"lr": lr},
            "data": {},
            "seed": seed,
            "mode": "min",
        }
        run = Run(tmp_path / "exp" / f"lr-{lr}+seed-{seed}-0123456789ab")
        run.create(f"{lr}{seed}", "exp", config, [], group=str(lr), label=f"lr-{lr}")
        best = {"value": min(losses), "monitor": "loss/val", "step": 40,
                "metrics": {"loss/val": min(losses), "metric/mse": 2 * min(losses)}}  # fmt: skip
        lines = {"a": {"mse": 0.1}, "b": {"mse": 0.1002}, "far away": {"mse": 1e6}}
        results = {"best": best, "steps": 40, "baselines": {"val": lines}, "floor": {"val": {"mse": 0.04}}}
        run.update(status="finished", results=results, seconds=2.0)
        rows = "".join(f"{s},loss/val,{v}\n" for s, v in zip(STEPS, losses, strict=True))
        run.metrics_file.write_text("step,metric,value\n" + rows)
    return tmp_path / "exp"


class Page(HTMLParser):
    """Links with their words, all that would be loaded, and the SVGs' parts."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.parts, self.svg = [], [], [], -1
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        about = dict(attributes)
        if tag == "svg":
            self.svg += 1
        if tag == "a":
            self.links.append(about["href"])
        self.loads += [v for k, v in attributes if k in ("src", "srcset")]
        self.parts.append([self.svg, tag, about, ""])

    def handle_data(self, data):
        if self.parts:
            self.parts[-1][3] += data

    def of(self, svg, tag):
        return [(about, text) for at, name, about, text in self.parts if at == svg and name == tag]


def written(experiment, file):
    assert main(["report", str(experiment), "--html", str(file)]) == 0
    return Page(file.read_text())


@pytest.mark.parametrize("where", ["", "elsewhere/and below"])
def test_every_run_is_one_click_away(experiment, tmp_path, where):
    folder = tmp_path / where
    folder.mkdir(parents=True, exist_ok=True)
    page = written(experiment, folder / "report.html")
    found = {(folder / unquote(link)).resolve() for link in page.links}
    assert found == {path.parent / "report.html" for path in experiment.resolve().glob("*/run.json")}
    for path in found:
        run = Run(path.parent)
        assert f"seed {run.config['seed']}, id {run.id}" in path.read_text()
    assert page.loads == [] and "://" not in (folder / "report.html").read_text()


def test_a_run_whose_folder_cannot_be_written_has_no_link(experiment, tmp_path, monkeypatch):
    from rnnlab.cli import report

    def full(path, content):
        if path.parent.name.startswith("lr-0.1+"):
            raise OSError("disk full")
        path.write_bytes(content)

    monkeypatch.setattr(report, "write_whole", full)
    page = written(experiment, tmp_path / "report.html")
    assert len(set(page.links)) == 2 * SEEDS


def test_a_curve_is_the_mean_over_seeds_and_the_levels_are_in_its_units(experiment, tmp_path):
    page = written(experiment, tmp_path / "report.html")
    texts = page.of(0, "text")
    ticks = [
        (float(t), float(a["y"]) - 4) for a, t in texts
        if a.get("text-anchor") == "end" and re.fullmatch(r"[\d.e-]+", t)
    ]  # fmt: skip
    slope, start = np.polyfit(np.log([v for v, _ in ticks]), [y for _, y in ticks], 1)

    def value(y):
        return math.exp((y - start) / slope)

    runs = [Run(path.parent) for path in experiment.glob("*/run.json")]
    by_lr = {lr: [r.metrics["loss/val"][1] for r in runs if r.config["optimizer"]["lr"] == lr]
             for lr in (0.001, 0.01, 0.1)}  # fmt: skip
    means = sorted(np.mean(values, 0).tolist() for values in by_lr.values())
    drawn = []
    for about, _ in page.of(0, "polyline"):
        points = [tuple(map(float, p.split(","))) for p in about["points"].split()]
        drawn.append([value(y) for _, y in points])
    np.testing.assert_allclose(sorted(drawn), means, rtol=0.01)
    # loss/val is half the mse here, so that the floor of 0.04 lies at 0.02; what is far away is not drawn
    levels = {t: value(float(a["y"]) - 4) for a, t in texts if a.get("text-anchor") is None and a["x"] != "4"}
    assert levels.keys() == {"a", "b", "floor"}
    lines = sorted(value(float(a["y1"])) for a, _ in page.of(0, "line") if a["class"] == "level")
    np.testing.assert_allclose(lines, [0.02, 0.05, 0.0501], rtol=0.01)
    heights = [float(a["y"]) for a, t in texts if t in ("a", "b")]
    assert abs(heights[0] - heights[1]) >= 11  # they would lie on each other


def apart(experiment):
    """Moves the configurations so far from each other that no band lies on another."""
    for path in experiment.glob("*/run.json"):
        run = Run(path.parent)
        factor = {0.001: 1, 0.01: 4, 0.1: 16}[run.config["optimizer"]["lr"]]
        steps, values = run.metrics["loss/val"]
        rows = "".join(f"{s},loss/val,{v * factor}\n" for s, v in zip(steps, values, strict=True))
        run.metrics_file.write_text("step,metric,value\n" + rows)


def test_no_band_lies_on_another_one(experiment, tmp_path):
    page = written(experiment, tmp_path / "report.html")
    assert len(page.of(0, "polygon")) == 1 and len(page.of(0, "polyline")) == 3
    apart(experiment)
    assert len(written(experiment, tmp_path / "report.html").of(0, "polygon")) == 3


def curves_by_rate(experiment):
    """Of each learning rate the validation curves of its seeds."""
    values = {}
    for path in experiment.glob("*/run.json"):
        run = Run(path.parent)
        values.setdefault(run.config["optimizer"]["lr"], []).append(run.metrics["loss/val"][1])
    return values


def test_the_band_is_the_middle_four_fifths_of_the_seeds(experiment, tmp_path):
    apart(experiment)
    page = written(experiment, tmp_path / "report.html")
    values = curves_by_rate(experiment)
    lines = [points(a) for a, _ in page.of(0, "polyline")]
    bands = [points(a) for a, _ in page.of(0, "polygon")]
    up = height_of(lines, sorted(np.mean(v, 0).tolist() for v in values.values()))
    wanted = sorted(np.quantile(v, [0.1, 0.9], axis=0).tolist() for v in values.values())
    drawn = sorted(
        [[up(y) for _, y in band[: len(STEPS)]], [up(y) for _, y in band[: len(STEPS) - 1 : -1]]]
        for band in bands
    )
    top = max(max(one) for one in (np.mean(v, 0) for v in values.values()))  # a band may leave the plot there
    for (low, high), (low_wanted, high_wanted) in zip(drawn, wanted, strict=True):
        np.testing.assert_allclose(low, low_wanted, rtol=0.02)
        inside = np.array(high_wanted) < top
        assert inside.sum() >= 3
        np.testing.assert_allclose(np.array(high)[inside], np.array(high_wanted)[inside], rtol=0.02)


def test_a_parameters_orange_dot_is_the_median_of_its_runs(experiment, tmp_path):
    page = written(experiment, tmp_path / "report.html")
    best = {}
    for path in experiment.glob("*/run.json"):
        run = Run(path.parent)
        best.setdefault(run.config["optimizer"]["lr"], []).append(run.objective)
    dots = [(a, text) for svg in range(page.svg + 1) for a, text in page.of(svg, "circle")]
    medians = [a for a, _ in dots if a["r"] == "4.5"]
    runs = [a for a, _ in dots if a["r"] != "4.5"]
    titles = [text for *_, text in page.parts if text.startswith("median at")]
    assert len(medians) == len(titles) == 3 and len(runs) == 3 * SEEDS
    for title, (lr, values) in zip(titles, sorted(best.items()), strict=True):
        assert title == f"median at {lr:g}: {number(float(np.median(values)))}"
    # and it lies there: among the dots of its own runs, the third of five
    for dot, at in zip(medians, sorted(best), strict=True):
        beside = sorted(runs, key=lambda a: abs(float(a["cx"]) - float(dot["cx"])))[:SEEDS]
        heights = sorted(float(a["cy"]) for a in beside)
        assert float(dot["cy"]) == pytest.approx(heights[SEEDS // 2], abs=0.2), at


def points(about):
    return [tuple(map(float, point.split(","))) for point in about["points"].split()]


def height_of(lines, means):
    """The value at a height of a logarithmic plot, from lines whose values are known."""
    drawn = sorted(lines, key=lambda line: [-y for _, y in line])
    ys = [y for line in drawn for _, y in line]
    slope, start = np.polyfit(ys, [math.log(v) for mean in means for v in mean], 1)
    return lambda y: math.exp(start + slope * y)


def test_what_is_not_finite_is_left_out(experiment, tmp_path):
    run = next(iter(experiment.iterdir()))
    text = (run / "metrics.csv").read_text()
    (run / "metrics.csv").write_text(re.sub(r"20,loss/val,.*", "20,loss/val,nan", text))
    page = written(experiment, tmp_path / "report.html")
    lengths = sorted(len(a["points"].split()) for a, _ in page.of(0, "polyline"))
    assert lengths == [3, 4, 4]
    assert not any("nan" in str(v) for _, _, about, _ in page.parts for v in about.values())


def fail(experiment, lr, seeds, why, status="failed"):
    for seed in seeds:
        run = Run(experiment / f"lr-{lr}+seed-{seed}-0123456789ab")
        if not run.folder.is_dir():
            config = {
                "model": {"hidden_size": 8},
                "optimizer": {"lr": lr},
                "data": {},
                "seed": seed,
                "mode": "min",
            }
            run.create(f"{lr}{seed}", "exp", config, [], group=str(lr), label=f"lr-{lr}")
        run.update(status=status, why=why.format(seed + 0.5), results={})


def test_runs_without_a_result_are_named_as_the_others_and_each_reason_stands_once(
    experiment, tmp_path, capsys
):
    fail(experiment, 0.1, (1, 3), "Diverged: the loss is {} at step 2")
    fail(experiment, 30.0, range(5), "Diverged: the loss is {} at step 2")
    fail(experiment, 5.0, (0,), "", status="pruned")
    page = written(experiment, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.count("Diverged: the loss is") == 1 and "7 runs failed" in text
    words = [words for *_, words in page.parts]
    assert "3 of 5, 2 failed" in words  # the configuration stays, and says of how many its score is
    listed = [words for _, tag, _, words in page.parts if tag == "li"]
    assert "lr=30, seeds " in listed and "lr=0.1, seeds " in listed and "lr=5, seed " in listed
    linked = [words for _, tag, about, words in page.parts if tag == "a"]
    assert linked.count("lr=30") == 5 and linked.count("lr=5") == 1 and not any("lr-" in w for w in linked)
    said = capsys.readouterr().out
    assert said.count("Diverged") == 1 and "7 runs failed, one of them: Diverged: the loss is" in said
    assert "lr=30  seeds 0, 1, 2, 3, 4  " in said and "3 of 5, 2 failed" in said


@pytest.mark.parametrize(("mode", "worst"), [("min", 1e9), ("max", 1e-9)])
def test_a_run_that_lies_outside_of_the_axis_is_a_triangle_at_its_edge(experiment, tmp_path, mode, worst):
    """Of many runs the worst few, and never the best."""
    for seed in range(100, 120):
        fail(experiment, 0.1, (seed,), "")
        run = Run(experiment / f"lr-0.1+seed-{seed}-0123456789ab")
        best = {"value": 0.02 if seed < 119 else worst, "step": 40, "monitor": "loss/val", "metrics": {}}
        run.update(status="finished", why="", results={"best": best, "steps": 40})
    for file in experiment.glob("*/config.yaml"):
        file.write_text(file.read_text().replace("mode: min", f"mode: {mode}"))
    runs = [Run(path.parent) for path in experiment.glob("*/run.json")]
    ours = {run.folder.name.split("seed-")[1].split("-")[0]: run.objective for run in runs}
    page = written(experiment, tmp_path / "report.html")
    beyond = [about for _, tag, about, _ in page.parts if about.get("class") == "beyond"]
    titles = [words for _, tag, _, words in page.parts if tag == "title" and "outside of the axis" in words]
    assert beyond and any(f"seed 119: {worst:.2e}" in title for title in titles)
    best = number((min if mode == "min" else max)(ours.values()))
    assert not any(f": {best}," in title for title in titles)


def test_where_more_is_better_a_band_leaves_the_curves_at_the_worse_end(experiment, tmp_path):
    """The upper edge was cut off at the highest mean, so that the best seeds were not in it."""
    apart(experiment)
    for file in experiment.glob("*/config.yaml"):
        file.write_text(file.read_text().replace("mode: min", "mode: max"))
    page = written(experiment, tmp_path / "report.html")
    values = curves_by_rate(experiment)
    lines = [points(a) for a, _ in page.of(0, "polyline")]
    bands = [points(a) for a, _ in page.of(0, "polygon")]
    up = height_of(lines, sorted(np.mean(v, 0).tolist() for v in values.values()))
    drawn = sorted([up(y) for _, y in band[: len(STEPS) - 1 : -1]] for band in bands)
    np.testing.assert_allclose(
        drawn, sorted(np.quantile(v, 0.9, axis=0).tolist() for v in values.values()), rtol=0.02
    )


def test_files_by_other_means(experiment, tmp_path):
    files = tmp_path / "t.csv", tmp_path / "t.json"
    assert main(["report", str(experiment), "--csv", str(files[0]), "--json", str(files[1])]) == 0
    rows = list(csv.DictReader(files[0].open()))
    found = json.loads(files[1].read_text())["rows"]
    for i, row in enumerate(found):
        values = [Run(experiment / name).objective for name in row["runs"]]
        assert len(values) == SEEDS == int(rows[i]["runs"])
        spread = math.sqrt(sum((v - sum(values) / SEEDS) ** 2 for v in values) / (SEEDS - 1))
        expected = {"loss/val": sum(values) / SEEDS, "std": spread}
        for key, wanted in expected.items():
            assert row[key] == pytest.approx(wanted) == float(rows[i][key])
        # Student's t of the logarithms, its 97.5% quantile with 4 degrees of freedom from a table
        logs = np.log(values)
        half = 2.776445 * logs.std(ddof=1) / math.sqrt(SEEDS)
        for key, sign in (("low", -1), ("high", 1)):
            assert row[key] == float(rows[i][key])
            assert row[key] == pytest.approx(math.exp(logs.mean() + sign * half), rel=1e-6)
    assert [r["rank"] for r in found] == [1, 2, 3]
    assert found[0]["loss/val"] <= found[1]["loss/val"] <= found[2]["loss/val"]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_table_fits_the_terminal_with_the_floor_in_it(experiment, monkeypatch, capsys, width):
    from rnnlab.sweeps import sweep

    monkeypatch.setattr(sweep.console, "width", width)
    assert main(["report", str(experiment)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    floor = next(line for line in lines if line.strip().startswith("floor"))
    assert floor.split() == ["floor", "0.04"]
    assert ("95% interval" in lines[0]) == (width >= 100)


@pytest.mark.parametrize("width", [32, 40, 50])
def test_a_narrow_table_still_names_each_of_its_lines(experiment, monkeypatch, capsys, width):
    from rnnlab.sweeps import sweep

    monkeypatch.setattr(sweep.console, "width", width)
    assert main(["report", str(experiment)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert sum("lr=" in line for line in lines) == 3 and all(line.strip() for line in lines)


def test_an_axis_of_learning_rates_is_logarithmic_and_of_sizes_whole():
    rates = Axis.over([1e-4, 1e-3, 1e-2], 0, 100, marked=True)
    assert rates.log and [round(rates.at(t)) for t in rates.ticks()] == [0, 50, 100]
    assert Axis.over([3, 3], 0, 100).ticks() == [2, 3, 4]
    assert Axis.over([0, 11], 0, 100).ticks() == [0, 5, 10]
    words = Axis.over(["gru", None, True], 0, 90)
    assert words.words and words.ticks() == ["gru", "null", "true"]
    crowded = Axis.over([f"a long name {i}" for i in range(8)], 0, 300)
    assert crowded.crowded() and "rotate" in str(
        plot(crowded.values, [1.0, 2.0], (340, 260), "x", "y", marked=True)
    )


def test_no_report_waits_for_torch(experiment):
    code = "import sys; from rnnlab.cli import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    for words in (
        [str(experiment), "--html", str(experiment / "page.html")],
        [str(next(experiment.glob("lr*")))],
    ):
        done = subprocess.run([sys.executable, "-c", code, "report", *words], capture_output=True, text=True)
        assert done.returncode == 0 and "written" in done.stdout, done.stderr


def test_runs_of_one_status_are_counted_together_scored_or_not(experiment):
    run = Run(experiment / "lr-1.0+seed-0-0123456789ab")
    config = {"model": {"hidden_size": 8}, "optimizer": {"lr": 1.0}, "data": {}, "seed": 0, "mode": "min"}
    run.create("none", "exp", config, [], group="1.0", label="lr-1.0")
    run.update(status="finished", results={"steps": 40}, seconds=2.0)  # nothing was validated
    page = experiment.parent / "page.html"
    written(experiment, page)
    assert "16 finished;" in page.read_text()
