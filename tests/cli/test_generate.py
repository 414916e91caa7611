"""generate: the text is a function of the seed, and drawn from the distribution that the options say."""

import io
import sys

import numpy as np
import pytest
import torch

from rnnlab.cli.generate import main
from rnnlab.errors import UserError
from rnnlab.tasks.char_lm import next_probabilities


def written(capsys, *arguments):
    main([str(a) for a in arguments])
    return capsys.readouterr().out


def test_a_seed_decides_the_text(text, capsys):
    once, again, other = (
        written(capsys, text.folder, "--prompt", "home ", "--length", 80, "--seed", seed)
        for seed in (3, 3, 4)
    )
    assert once == again != other
    assert once.startswith("home ")
    assert len(once) == len("home ") + 80 + 1


@torch.no_grad()
def test_temperature_0_takes_the_likeliest_each_time(text, capsys):
    known, said = text.model.spec["vocabulary"], "bad"
    for _ in range(30):  # from the start each time: no state of ours to get wrong
        logits, _ = text.model(torch.tensor([[known.index(c) for c in said]]))
        said += known[int(logits[0, -1].argmax())]
    assert written(capsys, text.folder, "--prompt", "bad", "--length", 30, "--temperature", 0) == said + "\n"


def test_the_prompt_comes_from_standard_input(text, capsys, monkeypatch):
    given = written(capsys, text.folder, "--prompt", "cage ", "--length", 20)
    for arguments in ([], ["--prompt", "-"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO("cage "))
        assert written(capsys, text.folder, "--length", 20, *arguments) == given


def test_without_a_prompt_it_begins_with_a_drawn_character(text, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    begins = {written(capsys, text.folder, "--length", 1, "--seed", seed)[0] for seed in range(12)}
    assert len(begins) > 3
    assert begins <= set(text.model.spec["vocabulary"])


def brute_force(logits, temperature, k, p):
    """The same distribution by a loop over the characters from the likeliest on, in plain Python."""
    weights = np.exp((logits - logits.max()) / temperature)
    order = sorted(range(len(logits)), key=lambda i: -weights[i])[:k]
    total, kept, sum_so_far = sum(weights[i] for i in order), [], 0.0
    for i in order:
        kept.append(i)
        sum_so_far += weights[i] / total
        if p is not None and sum_so_far >= p:
            break
    mass = sum(weights[i] for i in kept)
    return [weights[i] / mass if i in kept else 0.0 for i in range(len(logits))]


@pytest.mark.parametrize("k", [None, 1, 5, 40])
@pytest.mark.parametrize("p", [None, 0.05, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_cut_offs_against_brute_force(temperature, k, p):
    logits = np.random.default_rng(1).normal(0, 2, 30)
    ours = next_probabilities(torch.tensor(logits), temperature, k, p)
    np.testing.assert_allclose(ours.numpy(), brute_force(logits, temperature, k, p), atol=1e-12)


def test_draws_follow_the_distribution_and_never_leave_it(text):
    """The second character after a prompt of one, over many seeds, against its exact chances."""
    with torch.no_grad():
        logits, _ = text.model(torch.tensor([[2]]))
    chances = next_probabilities(logits[0, -1].double(), 1.3, 4, 0.9).numpy()
    n = 1500
    first = [next(text.model.sample(torch.tensor([2]), 1, temperature=1.3, top_k=4, top_p=0.9, seed=s))
             for s in range(n)]  # fmt: skip
    counts = np.bincount(first, minlength=len(chances))
    assert counts[chances == 0].sum() == 0
    kept = chances > 0
    assert kept.sum() >= 2
    chi2 = (np.square(counts - n * chances)[kept] / (n * chances[kept])).sum()
    assert chi2 < 16.3  # the 0.1% point for three degrees of freedom; seeds are fixed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "home zoo é"], "'z' .*'é'"),
        (["--prompt", "a", "--temperature", "-0.1"], "--temperature -0.1: must be"),
        (["--prompt", "a", "--temperature", "nan"], "--temperature nan"),
        (["--prompt", "a", "--top-k", "0"], "--top-k 0: must be at least 1"),
        (["--prompt", "a", "--top-p", "0"], "--top-p 0.0: must be above 0"),
        (["--prompt", "a", "--top-p", "1.1"], "--top-p 1.1"),
        (["--prompt", "a", "--length", "0"], "--length 0"),
    ],
)
def test_what_cannot_be_is_one_line(text, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        main([str(text.folder), *arguments])
    assert "\n" not in str(caught.value)


def test_a_forecaster_cannot_write(sine):
    with pytest.raises(UserError, match="holds a Forecaster"):
        main([str(sine.folder), "--prompt", "a"])


def test_bytes_that_are_no_text_are_a_line(text, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding="utf-8"))
    with pytest.raises(UserError, match="standard input is no text in utf-8"):
        main([str(text.folder)])
