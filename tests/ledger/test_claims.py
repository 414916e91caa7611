"""Who looks whether a run is trained disturbs nobody; who trains it keeps others out."""

import fcntl
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnnlab.ledger import claims
from rnnlab.ledger.claims import Claimed, claim, held


def test_a_look_at_the_wrong_moment_does_not_keep_a_run_from_being_claimed(tmp_path, monkeypatch):
    """However long it takes: the process that looks may be one of many on a busy machine."""
    folder = tmp_path / "run"
    (tmp_path / ".claims").mkdir()
    looking = (tmp_path / ".claims" / "run").open("w")
    fcntl.flock(looking, fcntl.LOCK_SH)  # what `held` has for an instant
    waits = iter(range(100))
    monkeypatch.setattr(
        claims, "time", SimpleNamespace(sleep=lambda _: next(waits) == 99 and looking.close())
    )
    with claim(folder):
        assert held(folder)
    assert not held(folder)
    assert next(waits, None) is None


def test_a_run_that_is_trained_is_not_trained_twice(tmp_path):
    with claim(tmp_path / "run"), pytest.raises(Claimed, match="another process"), claim(tmp_path / "run"):
        pass
    with claim(tmp_path / "run"):
        pass


def test_a_claim_is_a_lock_also_where_the_last_other_one_is_just_given_back(tmp_path, monkeypatch):
    """Its folder goes with it, between finding it there and using it."""
    (tmp_path / ".claims").mkdir()
    mkdir = os.mkdir

    def late(path, *mode):
        try:
            mkdir(path, *mode)
        except FileExistsError:
            if Path(path).name == ".claims":
                monkeypatch.setattr(os, "mkdir", mkdir)
                Path(path).rmdir()
            raise

    monkeypatch.setattr(os, "mkdir", late)
    with claim(tmp_path / "run"):
        assert os.mkdir is mkdir and held(tmp_path / "run")
    assert not (tmp_path / ".claims").exists()
