import errno
import os
import stat

import pytest

from rnnlab.runs import files
from rnnlab.runs.files import clear_leftovers, link_out, sync_all, write_whole


def test_a_link_planted_at_the_temporary_name_is_neither_followed_nor_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, "randbelow", lambda most: 7)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    planted = tmp_path / ".run.json.7"
    planted.symlink_to(victim)
    with pytest.raises(FileExistsError) as refused:
        write_whole(tmp_path / "run.json", b"{}")
    assert refused.value.filename == str(tmp_path / "run.json")
    assert victim.read_text() == "precious" and planted.is_symlink() and not (tmp_path / "run.json").exists()


def test_two_writers_of_one_process_have_names_of_their_own(tmp_path, monkeypatch):
    seen = []
    replace = os.replace
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda self, to: (seen.append(self.name), replace(self, to))[1]
    )
    write_whole(tmp_path / "a", b"1")
    write_whole(tmp_path / "a", b"2")
    assert len(set(seen)) == 2 and (tmp_path / "a").read_bytes() == b"2"


def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_what_killed_writers_left_goes_and_nothing_else(tmp_path):
    for name in (".run.json.123", ".a.7", ".gitignore", "a.7"):
        (tmp_path / name).write_text("")
    clear_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".gitignore", "a.7"]


def test_all_files_are_waited_for_at_once_and_one_that_is_not_there_is_passed_over(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    (tmp_path / "a").write_bytes(b"a"), (tmp_path / "b").write_bytes(b"b")
    sync_all([tmp_path / "a", tmp_path / "missing", tmp_path / "b", tmp_path])
    assert sorted(synced) == sorted(p.stat().st_ino for p in (tmp_path / "a", tmp_path / "b", tmp_path))


def test_a_record_takes_its_place_when_it_and_what_it_speaks_of_are_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_ino, old())))
    place, of = tmp_path / "run.json", tmp_path / "checkpoints"
    place.write_bytes(b"old"), of.mkdir()

    def old():
        return place.read_bytes() == b"old"

    write_whole(place, b"new", after=[of])
    assert sorted(synced) == sorted([(place.stat().st_ino, True), (of.stat().st_ino, True)])
    assert not old()


def test_a_forked_process_waits_for_the_disk_with_threads_of_its_own(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    sync_all([tmp_path / "a"])
    if (pid := os.fork()) == 0:
        sync_all([tmp_path / "a"])
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_file_that_the_disk_does_not_take_is_told(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(OSError, match="No space"):
        sync_all([tmp_path / "a"])


def test_a_link_out_is_found_but_for_the_one_that_wandb_leaves(tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "cache.log"
    elsewhere.touch()
    logs = run / "wandb" / "run-20260101_000000-abc" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug-core.log").symlink_to(elsewhere)
    (run / "wandb" / "latest-run").symlink_to(logs.parent)
    assert link_out(run, run) is None
    (logs.parent / "files").symlink_to(tmp_path)
    assert link_out(run, run) == logs.parent / "files"
