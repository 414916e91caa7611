"""The page of a run holds what the run's folder says, and nothing from elsewhere."""

import re
from html.parser import HTMLParser

import pytest

from rnnlab.cli import main
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
    assert run.id in words and "prefers-color-scheme: dark" in text and "@media print" in text


def test_a_failed_runs_page_says_why(small, tmp_path):
    with pytest.raises(Diverged):
        small("optimizer.lr=1e6")
    (folder,) = (p for p in (tmp_path / "sine").iterdir() if p.is_dir() and (p / "run.json").is_file())
    file = tmp_path / "page.html"
    assert main(["report", str(folder), "--html", str(file)]) == 0
    page = Page(file.read_text())
    words = "".join(page.words)
    assert "failed" in words and "at step 2" in words and "Traceback" in words


def test_what_only_an_experiment_has_is_refused(small, tmp_path, capsys):
    run = small("callbacks=none")
    assert main(["report", str(run.folder), "--csv", str(tmp_path / "x.csv")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and re.search("--csv.*one run", said)
