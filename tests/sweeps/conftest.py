"""Sweeps inside the test's own process, whose workers are forked from one nursery: its imports are paid once."""

import math
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from rnnlab.cli import main
from rnnlab.sweeps.forkserver import Nursery
from rnnlab.sweeps.live import Watch


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def warm_nursery():
    sys.path.insert(0, str(Path(__file__).parent))  # victim.py
    nursery = Nursery()
    close, nursery.close = nursery.close, lambda: None
    yield nursery
    close()


@pytest.fixture
def multirun(warm_nursery, monkeypatch, capsys):
    """`rnnlab train -m WORDS`. A trial before it takes as long as it takes, the compiling of kernels included."""
    monkeypatch.setattr("rnnlab.sweeps.forkserver.Nursery", lambda: warm_nursery)
    monkeypatch.setattr("rnnlab.sweeps.trial.PATIENCE", None)
    monkeypatch.setattr("rnnlab.sweeps.trial.BUDGET", math.inf)

    def multirun(*words):
        capsys.readouterr()
        code = main(["train", "-m", *words])
        return Done(code, *capsys.readouterr())

    return multirun


@pytest.fixture
def when_trained(monkeypatch):
    """`when_trained(3, do)`: does it when the next sweep here has trained three runs, before it begins another."""

    def when(number, do):
        ended, trained = Watch.ended, []

        def counted(self, planned, outcome):
            ended(self, planned, outcome)
            if outcome.status == "finished" and outcome.trained:
                trained.append(outcome)
                if len(trained) == number:
                    do()

        monkeypatch.setattr(Watch, "ended", counted)

    return when
