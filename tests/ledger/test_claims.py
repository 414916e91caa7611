"""Who looks whether a run is trained disturbs nobody; who trains it keeps others out."""

import fcntl
import threading

import pytest

from rnnlab.ledger.claims import Claimed, claim, held


def test_a_look_at_the_wrong_moment_does_not_keep_a_run_from_being_claimed(tmp_path):
    folder = tmp_path / "run"
    (tmp_path / ".claims").mkdir()
    looking = (tmp_path / ".claims" / "run").open("w")
    fcntl.flock(looking, fcntl.LOCK_SH)  # what `held` has for an instant
    threading.Timer(0.015, looking.close).start()
    with claim(folder):
        assert held(folder)
    assert not held(folder)


def test_a_run_that_is_trained_is_not_trained_twice(tmp_path):
    with claim(tmp_path / "run"), pytest.raises(Claimed, match="another process"), claim(tmp_path / "run"):
        pass
    with claim(tmp_path / "run"):
        pass
