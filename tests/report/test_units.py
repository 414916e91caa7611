"""The hidden units of a text run in its page: what the page says is what the model's own layers do."""

import base64
import json

import numpy as np
import pytest
import torch

import rnnlab
from browser import missing
from rnnlab.cli import main
from rnnlab.report.units import recorded
from rnnlab.runs.run import Run

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    (folder / "text.txt").write_text("".join(f"<b>{i % 7}</b> ab & cd\n" for i in range(700)))
    data = ("data=chars", f"data.path={folder / 'text.txt'}", f"paths.outputs={folder}")
    run = rnnlab.train(*data, "name=units", "model.hidden_size=12",
                       "trainer.max_epochs=2", "trainer.accelerator=cpu", quiet=True)  # fmt: skip
    assert main(["report", str(run.folder), "--html", str(folder / "page.html")]) == 0
    return run, folder / "page.html"


def states(run):
    """(T, 12): the outputs of the best weights, by the reference engine one character at a time."""
    found = recorded(run)
    ids = torch.tensor([run.model.spec["vocabulary"].index(c) for c in found["text"]])
    outputs, state = [], None
    with torch.inference_mode():
        for i in ids:
            y, state = run.model.stack(i[None, None], state)
            outputs.append(y[0, 0])
    return torch.stack(outputs).numpy()


def test_what_is_recorded_are_the_states_of_the_best_weights(text_run):
    run, _ = text_run
    found = recorded(run)
    own = states(run)
    kept = np.frombuffer(base64.b64decode(found["states"]), np.int8).reshape(len(found["text"]), -1)
    assert (
        "".join(found["text"]) in (run.folder.parent.parent / "text.txt").read_text()
        and len(found["text"]) > 500
    )
    assert found["units"] == list(range(12)) and found["of"] == 12
    np.testing.assert_allclose(kept / 127 * found["scale"], own, atol=0.51 * found["scale"] / 127)
    assert (run.samples / "units.json").stat().st_size < 300_000


ON = "return [...document.querySelectorAll('#on-units button')].map(b => Number(b.textContent.split(':')[0]))"
SPANS = "return [...document.querySelectorAll('#passage span.like')].map(e => Number(e.dataset.t))"


def test_units_that_are_on_throughout_a_span_and_spans_like_it(text_run, browser, pictures):
    run, file = text_run
    own = states(run) / recorded(run)["scale"]
    for width, scheme in ((1280, "light"), (390, "dark")):
        browser.size(width, 900)
        browser.scheme(scheme)
        browser.open(file.as_uri())
        assert browser.run("return document.documentElement.scrollWidth") <= width
        # as a person does: a selection in the text, and the pointer let go
        browser.run("""const s = document.querySelectorAll('#passage span'), range = document.createRange();
            range.setStart(s[40].firstChild, 0); range.setEnd(s[42].firstChild, 1);
            const chosen = getSelection(); chosen.removeAllRanges(); chosen.addRange(range);
            document.getElementById('passage').dispatchEvent(new PointerEvent('pointerup'));""")
        least, most = own[40:43].min(0), own[40:43].max(0)
        on = {u for u in range(12) if least[u] > 0.304 or most[u] < -0.304}
        perhaps = {u for u in range(12) if least[u] > 0.296 or most[u] < -0.296}
        listed = browser.run(ON)
        assert on <= set(listed) <= perhaps and listed
        assert f"3 characters, {len(listed)} of 12 units on throughout" in browser.text()
        signs = np.sign(own[40:43].mean(0))
        similar = browser.run(SPANS)
        assert len(similar) >= 3 and not {40, 41, 42} & set(similar)
        for t in similar:  # each lies in three characters in which three quarters of the units are on
            spans = [range(a, a + 3) for a in range(t - 2, t + 1) if {a, a + 1, a + 2} <= set(similar)]
            shares = [np.mean([(signs[u] * own[list(s), u] >= 0.296).all() for u in listed]) for s in spans]
            assert max(shares) >= 0.75, t
        browser.picture(pictures / f"units-{width}-{scheme}.png")
    # coloured by a unit: blue where it is positive, orange where it is negative
    browser.run("window.units.colour(3)")
    tones = browser.run(
        "return [...document.querySelectorAll('#passage span')].map(e => e.style.backgroundColor)"
    )
    for t in range(0, 200, 7):
        if abs(own[t, 3]) > 0.05:
            assert tones[t].startswith("rgba(47, 95, 208" if own[t, 3] > 0 else "rgba(196, 80, 11"), t
            assert float(tones[t].split(",")[3].rstrip(")")) == pytest.approx(
                0.75 * abs(own[t, 3]), abs=0.011
            )
    assert "<b>0</b> ab & cd" in browser.run("return document.getElementById('passage').textContent")
    assert browser.errors() == []


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"text": ["a"], "units": [0], "states": "AA==", "part": "test", "of": 1e999, "scale": 1.0}',
     "[" * 200_000, '{"text": ["a"], "units": [0], "states": "AAAA", "part": "test", "of": 1, "scale": 1.0}',
     json.dumps({"text": ["a"] * 999, "units": [0] * 999, "states": base64.b64encode(bytes(999 * 999)).decode(),
                 "part": "test", "of": 1, "scale": 1.0})],
)  # fmt: skip
def test_a_file_that_is_not_what_it_must_be_is_left_out(tmp_path, content):
    run = Run(tmp_path)
    run.samples.mkdir()
    (run.samples / "units.json").write_text(content)
    assert recorded(run) is None
