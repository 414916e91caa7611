"""Our pages in a headless Chromium: they fit, nothing lies on anything else, and their controls do what they say."""

import itertools

import numpy as np
import pytest

from browser import missing, until
from rnnlab.cli import main
from rnnlab.runs.run import Run

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of 40 runs, written as a training would: two parameters, a run that failed, levels close together."""
    folder = tmp_path_factory.mktemp("outputs") / "exp"
    rng = np.random.default_rng(0)
    for lr, cell, seed in itertools.product((1e-4, 1e-3, 1e-2), ("elman", "gru", "lstm"), range(5)):
        if (lr, cell) == (1e-4, "lstm") and seed:
            continue
        losses = (0.1 + 0.001 / lr) * np.exp(rng.normal(0, 0.2, 20)) / np.arange(1, 21)
        run = Run(folder / f"cell-{cell}+lr-{lr}+seed-{seed}-0123456789ab")
        config = {"model": {"cell": cell}, "optimizer": {"lr": lr}, "data": {}, "seed": seed, "mode": "min"}
        run.create(f"{cell}{lr}{seed}", "exp", config, [], group=f"{cell}{lr}", label=f"cell-{cell}+lr-{lr}")
        if (lr, cell) == (1e-4, "lstm"):
            run.update(status="failed", why="Diverged: the loss is nan at step 3")
            continue
        metrics = {"loss/val": losses.min(), "metric/mse": losses.min(), "metric/mae": losses.min() ** 0.5}
        best = {"value": losses.min(), "monitor": "loss/val", "step": 40, "metrics": metrics}
        lines = {"persistence": {"mse": 0.0101}, "linear": {"mse": 0.01}, "mean": {"mse": 0.3}}
        results = {"best": best, "steps": 40, "baselines": {"val": lines}, "floor": {"val": {"mse": 0.0099}}}
        run.update(status="finished", results=results, seconds=2.0)
        rows = "".join(f"{s},{t},{v}\n" for s, v in enumerate(losses, 1) for t in ("loss/val", "loss/train"))
        run.metrics_file.write_text("step,metric,value\n" + rows)
    file = folder.parent / "report.html"
    assert main(["report", str(folder), "--html", str(file)]) == 0
    return file


# pairs of a picture's words that lie on each other by more than a pixel
COLLISIONS = """
const found = [];
document.querySelectorAll('svg').forEach(svg => {
  const words = [...svg.querySelectorAll('text')].filter(seen).map(e => [e.textContent, e.getBoundingClientRect()]);
  words.forEach(([a, p], i) => words.slice(i + 1).forEach(([b, q]) => {
    const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (wide > 1 && high > 4) found.push(a + ' on ' + b);
  }));
});
return found;
"""
SMALL = """return [...document.querySelectorAll('svg text')].filter(seen)
  .filter(e => e.getBoundingClientRect().height < 10).map(e => e.textContent)"""
OUTSIDE = (
    """return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"""
)
# the luminance contrast of all words with the page behind them, as WCAG 2 counts it; its least
CONTRAST = """
const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => (v /= 255) <= 0.03928 ? v / 12.92 :
  ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const paper = light(getComputedStyle(document.body).backgroundColor);
const of = e => getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color'];
return Math.min(...[...document.querySelectorAll('p, td, th, a:not(svg a), h1, h2, li, text')].filter(seen).map(of)
  .map(light).map(l => (Math.max(l, paper) + 0.05) / (Math.min(l, paper) + 0.05)));
"""


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_an_experiments_page_can_be_read(report, browser, pictures, width, scheme):
    run = next(report.parent.glob("exp/cell-gru*/report.html"))
    for file in (report, run):
        browser.size(width, 900)
        browser.scheme(scheme)
        browser.open(file.as_uri())
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run(COLLISIONS) == []
        assert browser.run(SMALL) == []
        assert browser.run(CONTRAST) > 4.5
        assert browser.run(OUTSIDE) == [] and browser.errors() == []
        browser.picture(pictures / f"{'experiment' if file == report else 'run'}-{width}-{scheme}.png")
    browser.open(report.as_uri())
    assert browser.run("return [...document.querySelectorAll('.curves svg')].filter(seen).length") == 1


def first(browser, table, column=1):
    return browser.run(
        f"return document.querySelector('#{table} tbody tr:not([hidden])').cells[{column}].textContent"
    )


def test_tables_are_sorted_and_searched_and_lead_to_runs(report, browser):
    browser.size(1280, 900)
    browser.open(report.as_uri())
    shown = "return document.querySelectorAll('#runs tbody tr:not([hidden])').length"
    assert browser.run(shown) == 41
    best = first(browser, "runs", 3)
    head = "document.querySelectorAll('#runs th')[3].click();"
    browser.run(head)
    assert first(browser, "runs", 3) == best
    browser.run(head)
    worst = float(first(browser, "runs", 3))
    values = browser.run(
        "return [...document.querySelectorAll('#runs tbody tr')].map(r => r.cells[3].textContent)"
    )
    numbers = [float(v) for v in values if v]
    # the empty one is of the failed run
    assert numbers == sorted(numbers, reverse=True) and worst == max(numbers) and values[-1] == ""
    search = "const box = document.querySelector('input[data-of=runs]'); box.value = '{}'; box.oninput();"
    browser.run(search.format("lstm LR=0.01"))
    assert browser.run(shown) == 5
    browser.run(search.format("failed"))
    assert browser.run(shown) == 1 and "failed" in browser.text()
    browser.run(search.format(""))
    assert browser.run(shown) == 41
    browser.run("document.querySelector('#rows tbody a').click()")
    title = until(lambda: browser.run("return document.title !== 'exp' && document.title"))
    assert title in {path.parent.name for path in report.parent.glob("exp/*/run.json")}
    assert "How to do it again" in browser.text()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The page of 120 configurations, one run each."""
    folder = tmp_path_factory.mktemp("many") / "exp"
    for size in range(1, 121):
        run = Run(folder / f"hidden_size-{size}+seed-0-0123456789ab")
        config = {"model": {"hidden_size": size, "cell": "gru"}, "optimizer": {"lr": 0.1 / (1 + size % 3)}, "seed": 0,
                  "data": {}, "mode": "min"}  # fmt: skip
        run.create(str(size), "exp", config, [], group=str(size), label=f"hidden_size-{size}")
        best = {"value": 1.0 / size, "monitor": "loss/val", "step": 40, "metrics": {"loss/val": 1.0 / size}}
        run.update(status="finished", results={"best": best, "steps": 40}, seconds=2.0)
    file = folder.parent / "report.html"
    assert main(["report", str(folder), "--html", str(file)]) == 0
    return file


VISIBLE = (
    "return [...document.querySelectorAll('#{} tbody tr')].filter(seen).map(r => r.cells[1].textContent)"
)


def test_long_tables_are_folded_and_what_is_searched_or_sorted_comes_to_the_top(many, browser, pictures):
    browser.size(1280, 900)
    browser.open(many.as_uri())
    names = browser.run(VISIBLE.format("rows"))
    assert len(names) == 50 and names[0].startswith("hidden_size=120 ")
    search = "const box = document.querySelector('input[data-of=rows]'); box.value = '{}'; box.oninput();"
    browser.run(search.format("hidden_size=17"))
    assert [n.split()[0] for n in browser.run(VISIBLE.format("rows"))] == ["hidden_size=17"]
    browser.run(search.format(""))
    browser.run(
        "document.querySelectorAll('#rows th')[2].click(); document.querySelectorAll('#rows th')[2].click();"
    )
    worst = browser.run(VISIBLE.format("rows"))
    assert len(worst) == 50 and worst[0].startswith("hidden_size=1 ")
    browser.run("document.querySelector('.table label').click()")
    assert len(browser.run(VISIBLE.format("rows"))) == 120 and len(browser.run(VISIBLE.format("runs"))) == 50
    assert "show all 120" in browser.text()
    browser.size(390, 844)
    browser.open(many.as_uri())
    assert len(browser.run(VISIBLE.format("rows"))) == 20
    assert browser.run("return [...document.querySelectorAll('details.folds')].map(d => d.open)") == [False]
    browser.picture(pictures / "many-phone.png")
    # the names stay where they are when the numbers are moved
    left = "return document.querySelector('#rows td.what').getBoundingClientRect().left"
    browser.run("document.querySelector('#rows').parentElement.scrollLeft = 200")
    assert 0 <= browser.run(left) < 40
    assert browser.errors() == []


# polylines that cross the words of an axis: ends of segments inside of a word's box
CROSSED = """
const svg = document.querySelector('details.folds svg'), box = e => e.getBBox(), found = [];
const words = [...svg.querySelectorAll('text.tick')].map(e => [e.textContent, box(e)]);
const paper = [...svg.querySelectorAll('rect.paper')].map(box);
return words.filter(([w, b]) => !paper.some(p => p.x <= b.x + 1 && p.x + p.width >= b.x + b.width - 1
  && p.y <= b.y + 3 && p.y + p.height >= b.y + b.height - 3)).map(([w]) => w);
"""


def test_no_line_crosses_the_words_of_an_axis(report, browser):
    browser.size(1280, 900)
    browser.open(report.as_uri())
    assert browser.run("return document.querySelectorAll('details.folds text.tick').length") > 5
    assert browser.run(CROSSED) == []


def test_unroll_steps_through_time(browser, pictures, tmp_path):
    file = tmp_path / "unroll.html"
    assert not main(["unroll", "--example", "numpy", "--html", str(file)])
    for width, scheme in ((1280, "dark"), (390, "light")):
        browser.size(width, 900)
        browser.scheme(scheme)
        browser.open(file.as_uri())
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run(COLLISIONS) == [] and browser.run(CONTRAST) > 4.5 and browser.run(OUTSIDE) == []
        browser.picture(pictures / f"unroll-numpy-{width}-{scheme}.png")
    now = (
        "return [...document.querySelectorAll('g.step')].map(g => g.classList.contains('now')).indexOf(true)"
    )
    key = "document.dispatchEvent(new KeyboardEvent('keydown', {key: '%s'}));"
    for script, expected in (
        ("", 0),
        (key % "ArrowLeft", 0),  # there is nothing before the beginning
        (key % "ArrowRight", 1),
        ("document.getElementById('on').click();", 2),
        ("document.getElementById('back').click();", 1),
        ("const s = document.getElementById('slider'); s.value = 3; s.dispatchEvent(new Event('input'));", 3),
        (key % "ArrowRight", 3),
        (
            "document.querySelectorAll('g.step')[2].dispatchEvent(new MouseEvent('click', {bubbles: true}));",
            2,
        ),
    ):
        assert browser.run(script + now) == expected
        assert f"step {expected + 1} of 4: the input is [" in browser.text()
    # what stands in the table is what is computed elsewhere
    from rnnlab.unroll.unroll import unroll

    rows = browser.run(
        "return [...document.querySelectorAll('#quantities tr')].map(r => r.cells[2].textContent)"
    )
    for row, line in zip(rows, unroll("numpy").steps[2], strict=True):
        assert [float(v) for v in row.replace("\xa0", " ").split()] == pytest.approx(line.by_hand, abs=1e-5)
    assert browser.errors() == []


def test_on_paper(report, browser, tmp_path):
    """A dark screen's page is printed in ink on white, and no table is cut at the right."""
    browser.scheme("dark")
    browser.size(718, 1000)  # what A4 leaves
    browser.open(report.as_uri())
    browser.devtools("Emulation.setEmulatedMedia", {"media": "print", "features": [
        {"name": "prefers-color-scheme", "value": "dark"}]})  # fmt: skip
    try:
        ink, wide = browser.run(
            "return [getComputedStyle(document.querySelector('#rows td')).color,"
            " Math.max(...[...document.querySelectorAll('table, svg')].map(e => e.getBoundingClientRect().right))]"
        )
        assert ink == "rgb(0, 0, 0)" and wide <= 718
        assert browser.run(COLLISIONS) == []
    finally:
        browser.devtools("Emulation.setEmulatedMedia", {"media": "screen", "features": []})


TRAPS = "".join(
    (
        "<script>document.title = 'it ran'</script>",
        "<img src=x onerror=\"document.title = 'it ran'\">",
        "<img src='http://127.0.0.1:9/seen.png'>",
        "<p id=styled style='position: fixed'>x</p>",
        "<a href=\"javascript:document.title = 'it ran'\">click</a>",
        "<iframe srcdoc=\"<script>parent.document.title = 'it ran'</script>\"></iframe>",
        "<base href='http://127.0.0.1:9/'>",
    )
)


def test_what_escaping_might_miss_does_not_run(browser, tmp_path):
    from rnnlab.report.style import page

    (tmp_path / "trap.html").write_text(
        page("a page", TRAPS, "p { color: red }", "document.body.id = 'ours'")
    )
    browser.open((tmp_path / "trap.html").as_uri())
    browser.run("document.querySelector('a').click()")
    assert browser.run("return [document.title, document.body.id]") == ["a page", "ours"]
    assert browser.run("return getComputedStyle(document.getElementById('styled')).position") == "static"
    assert browser.run("return document.baseURI").startswith("file:")
    refused = [said for said in browser.errors() if "Content Security Policy" in said]
    assert any("seen.png" in said for said in refused) and any("inline script" in said for said in refused)
    # and it is the policy that holds: without it all of this runs
    (tmp_path / "open.html").write_text(f"<!doctype html><title>a page</title><body>{TRAPS}</body>")
    browser.open((tmp_path / "open.html").as_uri())
    until(lambda: browser.run("return document.title") == "it ran")
    browser.errors()
