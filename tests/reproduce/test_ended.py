"""A run and a longer one that agree: one ended, and nothing is infinitely different."""

import pytest

from rnnlab.report.entry import Entry, why_no_score
from rnnlab.reproduce.curves import divergence
from rnnlab.runs.run import Run
from rnnlab.terminal.run import facts
from rnnlab.terminal.scores import score_rows


def curve(folder, values):
    folder.mkdir()
    rows = "".join(f"{10 * i},loss/train,{v}\n" for i, v in enumerate(values, 1))
    (folder / "metrics.csv").write_text("step,metric,value\n" + rows)
    return Run(folder)


def test_a_run_and_its_longer_child(tmp_path):
    short, long = curve(tmp_path / "a", [3.0, 2.0]), curve(tmp_path / "b", [3.0, 2.0, 1.0])
    found = divergence(short, long)
    assert (
        str(found) == "the curves agree up to step 20; there one run ends, and the other goes on to step 30"
    )
    assert not found.bitwise and found.largest == float("inf")  # no reproduction of one another
    other = curve(tmp_path / "c", [3.0, 2.5, 1.0])
    said = str(divergence(short, other))
    assert "part at step 20" in said and "0.2 (" in said and "one run ends" in said and "inf" not in said


@pytest.mark.parametrize("value", [{}, {"value": 1.0, "monitor": "loss/val"}])
def test_without_a_validation_nothing_is_called_the_best(tmp_path, value):
    at = {"step": 10, "epoch": 1, "metrics": {"metric/mse": 1.0}} | value
    results = {"best": at, "last": at, "steps": 10, "train": {"mse": 1.0}}
    titles = [title for title, *_ in score_rows(results)[1]]
    assert titles == (["best, step 10", "last, step 10"] if value else ["last, step 10"])
    run = Run(tmp_path / "x+seed-0-0")
    run.create("0", "x", {}, [])
    run.update(status="finished", results=results)
    assert any("nothing was validated" in line for line in facts(run)) is not bool(value)
    if not value:
        assert why_no_score(Entry(run.folder, run.record)) == "it ended after 10 steps without a validation"


def test_curves_that_differ_in_a_sign_of_0_are_not_said_to_lack_steps(tmp_path):
    found = divergence(curve(tmp_path / "a", [0.0]), curve(tmp_path / "b", [-0.0]))
    assert not found.bitwise and str(found).endswith("; a sign of 0 or the order of lines differs")
