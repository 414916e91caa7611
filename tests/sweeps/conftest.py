"""Sweeps in the test's own process. One fork server serves them all, so that its imports are paid once."""

import math
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from rnnlab.cli import main
from rnnlab.sweeps.forkserver import ForkServer
from rnnlab.sweeps.live import LiveView


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def warm_server():
    sys.path.insert(0, str(Path(__file__).parent))  # victim.py
    server = ForkServer()
    close, server.close = server.close, lambda: None
    yield server
    close()


@pytest.fixture
def multirun(warm_server, monkeypatch, capsys):
    """`rnnlab train -m WORDS`. A trial before it has no time limit, for it may compile the kernels."""
    monkeypatch.setattr("rnnlab.sweeps.forkserver.ForkServer", lambda: warm_server)
    monkeypatch.setattr("rnnlab.sweeps.estimate.TIMEOUT", None)
    monkeypatch.setattr("rnnlab.sweeps.estimate.BUDGET", math.inf)

    def multirun(*words):
        capsys.readouterr()
        code = main(["train", "-m", *words])
        return Done(code, *capsys.readouterr())

    return multirun


@pytest.fixture
def when_trained(monkeypatch):
    """`when_trained(3, do)`: does it when the next sweep here has trained three runs, before it begins another."""

    def when(number, do):
        ended, trained = LiveView.ended, []

        def counted(self, planned, outcome):
            ended(self, planned, outcome)
            if outcome.status == "finished" and outcome.trained:
                trained.append(outcome)
                if len(trained) == number:
                    do()

        monkeypatch.setattr(LiveView, "ended", counted)

    return when
