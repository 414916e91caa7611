"""A line of a sweep means what Hydra says; scripts/sweep_grammar.py tries thousands."""

import random

import pytest

import sweep_grammar as grammar


@pytest.fixture(scope="module")
def hydra():
    with grammar.composing() as found:
        yield found


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_a_line_drawn_from_the_grammar_gives_hydras_configs(hydra, seed):
    overrides = grammar.line(random.Random(seed))
    assert grammar.compared(*hydra, overrides)[0] in ("same", "refused", "no values"), overrides


def test_what_is_asked_for_is_more_than_refusals(hydra):
    how, points = grammar.compared(
        *hydra, ["model.cell=elman,gru", "seed=range(0,2)", "optimizer=glob(ada*)"]
    )
    assert (how, points) == ("same", 8)


@pytest.mark.parametrize(
    "asked", ["model.bidirectional=str(true)", "model.bidirectional=str(choice(false,true))", "seed=choice('1',2)",
              "data.amplitudes=str([1,2])", "notes=str('1')"],
)  # fmt: skip
def test_a_cast_or_quoted_value_is_read_again(asked, hydra):
    assert grammar.compared(*hydra, [asked])[0] == "same"


@pytest.mark.parametrize(
    ("asked", "how"),
    [
        (["notes='a # b','c, d'"], "same"),
        (["seed=range(0)", "seed=1"], "same"),
        (["notes=choice('a, b','c')"], "same"),
        (["notes=str(choice('a # b'))"], "refused"),
        (["+tags=choice('a # b',c)"], "refused"),
    ],
    ids=str,
)
def test_what_needs_quotes_and_what_is_replaced_are_as_hydra_has_them(asked, how, hydra):
    assert grammar.compared(*hydra, asked)[0] == how


def test_a_planner_that_reads_a_value_otherwise_is_found(hydra, monkeypatch):
    from rnnlab.sweeps import grid

    unquoted = grid._unquoted
    monkeypatch.setattr(grid, "_unquoted", lambda value: 2.0 if value == 2 else unquoted(value))
    assert "not the same" in grammar.compared(*hydra, ["notes=1,2"])[0]
