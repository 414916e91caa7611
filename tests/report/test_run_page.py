"""The page of a run holds what the run's folder says, and nothing from elsewhere."""

import re
from html.parser import HTMLParser

import pytest

from rnnlab.cli import main
from rnnlab.report.curves import run_curves
from rnnlab.report.run_page import run_page
from rnnlab.runs.run import Run
from rnnlab.training.recorder import Diverged


class Page(HTMLParser):
    """Rows of cells, texts, and all that a page would load."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.loads, self.words, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [v for k, v in attributes if k in ("src", "href")]
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        self.words.append(data)
        if self.rows and self.lasttag in ("td", "th"):
            self.rows[-1].append(data)


def test_a_runs_page_holds_results_figures_and_how_to_do_it_again(small, capsys):
    run = small("callbacks=inspect", "model.hidden_size=8", 'notes="<b>bold</b> & more"')
    assert main(["report", str(run.folder)]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (run.folder / "report.html").read_text()
    page = Page(text)
    rows = {row[0]: row[1:] for row in page.rows if len(row) > 2}
    best = next(v for k, v in rows.items() if k.startswith("best"))
    assert float(best[0]) == pytest.approx(run.results["best"]["metrics"]["metric/mse"], rel=1e-3)
    assert float(best[3]) == pytest.approx(run.results["test"]["mse"], rel=1e-3)
    persistence = run.results["baselines"]["val"]["persistence"]["mse"]
    assert float(rows["persistence"][0]) == pytest.approx(persistence, rel=1e-3)
    assert all(load.startswith("data:") for load in page.loads) and "url(" not in text
    assert page.tags.count("img") == len(list(run.figures.glob("*.png"))) > 3
    assert page.tags.count("svg") >= 3
    words = "".join(page.words)
    assert "rnnlab train" in words and "model.hidden_size=8" in words
    assert "<b>bold</b> & more" in words  # as text, not as a tag
    assert "sine: hidden_size=8 engine=torch" in words  # spelled as in a command, and on all other pages
    assert run.id in words and "prefers-color-scheme: dark" in text and "@media print" in text


@pytest.mark.parametrize("given", [["--config-dir", "my conf"], ["-cd=my conf"], ["--config-dir=my conf"]])
def test_how_to_do_it_again_names_the_folder_of_the_runs_own_configs(small, given):
    run = small()
    run.write_manifest(run.manifest | {"command": ["rnnlab train", "experiment=mine", *given, "seed=0"]})
    assert "\nrnnlab train --config-dir 'my conf' " in "".join(Page(run_page(run)).words)


def test_a_failed_runs_page_says_why(small, tmp_path):
    with pytest.raises(Diverged):
        small("optimizer.lr=1e6")
    (folder,) = (p for p in (tmp_path / "sine").iterdir() if p.is_dir() and (p / "run.json").is_file())
    file = tmp_path / "page.html"
    assert main(["report", str(folder), "--html", str(file)]) == 0
    page = Page(file.read_text())
    words = "".join(page.words)
    assert "failed" in words and "at step 2" in words and "Traceback" in words
    # one step was sound: a number, and so is what it diverged to; no empty picture and no legend
    assert "svg" not in page.tags
    (lost,) = (row for row in page.rows if row and row[0] == "loss/train, diverged")
    digits, power = lost[2].split("e")
    assert lost[1] == "2" and re.search(
        rf"grown from \S+ to {re.escape(digits)}\d*e{re.escape(power)} at", words
    )


def test_what_diverged_after_many_steps_is_a_triangle_at_the_end_of_its_curve(tmp_path):
    run = written(tmp_path, {"loss/train": [(s, 1.0 / s) for s in range(1, 9)]})
    run.update(
        status="failed", why="Diverged: the loss has grown from 1 to 2.5e+04 at step 9, more than 1000-fold"
    )
    curves = run_curves(run)
    assert curves.count("<polyline") == 1 and 'class="beyond"' in curves and "step 9: 2.5e+04" in curves
    assert "loss/train, diverged</td><td>9</td><td>2.5e+04" in curves and "class=key" not in curves


def test_a_curve_has_three_points_at_least(tmp_path):
    run = written(
        tmp_path, {"loss/train": [(1, 0.5), (2, 0.25)], "loss/val": [(1, 0.5), (2, 0.4), (3, float("nan"))]}
    )
    curves = run_curves(run)
    assert "<svg" not in curves and "class=key" not in curves
    assert "<td>loss/train</td><td>2</td><td>0.25</td>" in curves and "<td>3</td><td>nan</td>" in curves
    run = written(
        tmp_path / "more", {t: [(s, 1 / s) for s in range(1, 5)] for t in ("loss/train", "loss/val")}
    )
    assert run_curves(run).count("<polyline") == 2 and "class=key" in run_curves(run)


@pytest.mark.parametrize(("off", "curves"), [(1.0, 2), (1 + 1e-7, 2), (1.01, 3)])
def test_the_metric_that_is_the_loss_is_no_second_curve(tmp_path, off, curves):
    loss = [(s, 1 / s) for s in range(1, 6)]
    nats = [(s, off * v) for s, v in loss]
    page = run_curves(written(tmp_path, {"loss/train": loss, "loss/val": loss, "metric/nats": nats}))
    assert page.count("<polyline") == curves and ("loss (nats)" in page) is (curves == 2)


def written(folder, metrics):
    run = Run(folder / "exp" / "run")
    run.create("id", "exp", {"model": {"loss": "mse"}, "seed": 0, "mode": "min"}, [])
    rows = "".join(f"{s},{t},{v}\n" for t, points in metrics.items() for s, v in points)
    run.metrics_file.write_text("step,metric,value\n" + rows)
    return run


def test_what_only_an_experiment_has_is_refused(small, tmp_path, capsys):
    run = small("callbacks=none")
    assert main(["report", str(run.folder), "--csv", str(tmp_path / "x.csv")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and re.search("--csv.*one run", said)
