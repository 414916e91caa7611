"""Where what can be made again is kept, also for a user who has no home, or none that can be written."""

import os
import tempfile
from pathlib import Path

import pytest

from rnnlab.regular_files import from_home
from rnnlab.runs.cache import cache_folder, cache_folders

OURS = f"rnnlab-{os.getuid()}"


@pytest.fixture(autouse=True)
def stranger(monkeypatch, tmp_path) -> Path:
    """Nobody has said where the cache is, and there is a folder for temporary files."""
    for name in ("RNNLAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def homeless(monkeypatch) -> None:
    """As in a container that was started with a user id of which it knows no name."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


def barred(monkeypatch, folder: Path) -> None:
    """A home in which no folder can be made, not by root either."""
    (folder / ".cache").write_text("")
    monkeypatch.setenv("HOME", str(folder))


def test_the_usual_folder_is_in_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folders() == [cache_folder()] == [tmp_path / ".cache" / "rnnlab"]


def test_without_a_home_it_is_the_users_own_among_the_temporary_files(monkeypatch, tmp_path):
    homeless(monkeypatch)
    assert cache_folders() == [tmp_path / "tmp" / OURS]
    assert cache_folder().stat().st_mode & 0o777 == 0o700


def test_with_a_home_that_cannot_be_written_it_is_so_too_and_the_usual_is_still_read(monkeypatch, tmp_path):
    barred(monkeypatch, tmp_path)
    assert cache_folders() == [tmp_path / "tmp" / OURS, tmp_path / ".cache" / "rnnlab"]


def test_a_folder_that_was_asked_for_is_the_only_one(monkeypatch, tmp_path):
    homeless(monkeypatch)
    monkeypatch.setenv("RNNLAB_CACHE", str(tmp_path / "no" / "such"))
    assert cache_folders() == [tmp_path / "no" / "such"]


@pytest.mark.parametrize("planted", ["a link", "a folder of all"])
def test_a_temporary_folder_that_another_user_could_fill_is_not_taken(monkeypatch, tmp_path, planted):
    barred(monkeypatch, tmp_path)
    place = tmp_path / "tmp" / OURS
    if planted == "a link":
        (tmp_path / "theirs").mkdir(0o700)
        place.symlink_to(tmp_path / "theirs")
    else:
        place.mkdir()
        place.chmod(0o777)
    assert cache_folder() == tmp_path / ".cache" / "rnnlab"


def test_a_path_below_a_home_that_nobody_knows_stays_as_it_is(monkeypatch):
    homeless(monkeypatch)
    assert from_home("~/a") == Path("~/a")
    assert from_home("~nosuchuser/a") == Path("~nosuchuser/a")
