"""Who looks whether a run is trained disturbs nobody; who trains it keeps others out."""

import errno
import fcntl
import os
import signal
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnnlab.errors import Gone, UserError
from rnnlab.runs import lock as locks
from rnnlab.runs import lock_holder as holder
from rnnlab.runs.lock import Locked, is_locked, lock
from tortures.death import ended, fork


def test_a_look_at_the_wrong_moment_does_not_keep_a_run_from_being_claimed(tmp_path, monkeypatch):
    """However long it takes: the process that looks may be one of many on a busy machine."""
    folder = tmp_path / "run"
    (tmp_path / ".claims").mkdir()
    looking = (tmp_path / ".claims" / "run").open("w")
    fcntl.flock(looking, fcntl.LOCK_SH)  # what `held` has for an instant
    waits = iter(range(100))
    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=lambda _: next(waits) == 99 and looking.close()))
    with lock(folder):
        assert is_locked(folder)
    assert not is_locked(folder)
    assert next(waits, None) is None


def test_a_run_that_is_trained_is_not_trained_twice(tmp_path):
    with lock(tmp_path / "run"), pytest.raises(Locked, match="another process"), lock(tmp_path / "run"):
        pass
    with lock(tmp_path / "run"):
        pass


@pytest.fixture
def granted_twice(monkeypatch):
    """A file system that grants every lock."""
    monkeypatch.setattr(locks.fcntl, "flock", lambda descriptor, how: None)


def test_users_who_share_a_folder_take_each_others_locks_as_their_umask_allows(tmp_path):
    before = os.umask(0o002)
    try:
        with lock(tmp_path / "run"):
            assert (tmp_path / ".claims" / "run").stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_who_may_only_read_a_lock_sees_that_a_run_is_trained(tmp_path, monkeypatch):
    def as_another(path, flags, *rights):
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, *rights)

    opened = os.open
    with lock(tmp_path / "run"):
        monkeypatch.setattr(os, "open", as_another)
        assert is_locked(tmp_path / "run")
        monkeypatch.undo()


def test_a_lock_that_is_granted_twice_is_not_taken_from_a_process_that_lives(tmp_path, granted_twice):
    with lock(tmp_path / "run") as first:
        with pytest.raises(Locked, match=f"another process .{os.getpid()} on"), lock(tmp_path / "run"):
            pass
        first.check()
    with lock(tmp_path / "run"):  # and leaves nothing behind
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_was_killed_is_no_holder(tmp_path):
    def die():
        with lock(tmp_path / "run"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert ended(fork(die, tmp_path / "log")) == -9
    assert (tmp_path / ".claims" / "run").read_text()
    with lock(tmp_path / "run"):
        pass


@pytest.mark.parametrize("name", ["another", holder.machine()], ids=["another name", "the same name"])
def test_on_another_machine_who_gives_signs_of_life_holds_and_who_gives_none_stops(
    tmp_path, granted_twice, monkeypatch, name
):
    monkeypatch.setattr(locks, "BEAT", 0.02)
    monkeypatch.setattr(locks, "PATIENCE", 600)  # however seldom the threads of this process get their turn
    with lock(tmp_path / "run") as first:
        monkeypatch.setattr(holder, "machine", lambda: name)
        monkeypatch.setattr(holder, "boot", lambda: "another")
        stop = threading.Event()

        def live():
            while not stop.wait(0.02):
                first.check()

        beating = threading.Thread(target=live)
        beating.start()
        with pytest.raises(Locked), lock(tmp_path / "run"):
            pass
        stop.set()
        beating.join()
        monkeypatch.setattr(locks, "PATIENCE", 0.1)
        with lock(tmp_path / "run") as second:  # no sign of life: it is taken
            second.check()
            with pytest.raises(Gone, match="has begun to train this run, so this one stops"):
                first.check()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, capsys):
    def refuse(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    for name in ("a", "b"):
        with lock(tmp_path / name), pytest.raises(Locked), lock(tmp_path / name):
            pass
    assert capsys.readouterr().err == (f"{tmp_path}: its file system has no locks (No locks available); "
                                       "train each of its runs from one machine at a time\n")  # fmt: skip


def test_two_mounts_of_one_folder_have_one_lock(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    mount = ["mount", "--bind", str(tmp_path / "a"), str(tmp_path / "b")]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no folder can be mounted here")
    try:
        with lock(tmp_path / "a" / "run"), pytest.raises(Locked), lock(tmp_path / "b" / "run"):
            pass
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "b")], check=True)


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
    with lock(tmp_path / "run"):
        assert os.mkdir is mkdir and is_locked(tmp_path / "run")
    assert not (tmp_path / ".claims").exists()


def test_a_folder_of_locks_that_only_seems_to_be_there_is_waited_for(tmp_path, monkeypatch):
    """As where another machine has removed it, and this one's file system has not heard of it yet."""
    asked, opened = [], os.open

    def stale(path, *rest):
        if str(path).endswith(".claims/run") and len(asked) < 250:
            asked.append(path)
            raise FileNotFoundError(2, "No such file or directory")
        return opened(path, *rest)

    monkeypatch.setattr(locks.os, "open", stale)
    with lock(tmp_path / "run"):
        assert is_locked(tmp_path / "run")
    assert len(asked) == 250


def test_a_lock_that_another_machine_has_just_released_counts_as_held(tmp_path, monkeypatch):
    """A sweep tries it again a little later, when this machine's file system has heard of it."""
    (tmp_path / ".claims").mkdir()
    (tmp_path / ".claims" / "run").touch()

    def gone(*_):
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as stale:
        stale.setattr(locks.os, "open", gone)
        with pytest.raises(Locked, match="another process"), lock(tmp_path / "run"):
            pass
    with lock(tmp_path / "run"):
        assert is_locked(tmp_path / "run")


def test_what_can_never_be_a_folder_of_locks_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=lambda _: pytest.fail("it waits")))
    (tmp_path / "sine").symlink_to(tmp_path / "nowhere" / "at" / "all")
    with pytest.raises(UserError, match=r"paths\.outputs: cannot write to"), lock(tmp_path / "sine" / "run"):
        pass
