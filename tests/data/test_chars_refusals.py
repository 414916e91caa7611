"""What a user reads when a text cannot be had, read or cut as asked."""

import errno
import math
from pathlib import Path

import pytest

from rnnlab.data import textfile
from rnnlab.data.chars import Chars
from rnnlab.errors import UserError


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "the file is empty"),
        (b"caf\xe9 " * 500, {}, "not utf-8 at byte 3; .*data.encoding=latin-1"),
        (b"abc", {"encoding": "utf-9"}, "data.encoding=utf-9: Python knows no such encoding"),
        (
            b"ab" * 50,
            {},
            r"training 90, validation 5, test 5 characters and need training 2,501, validation 2, test 2",
        ),
        (b"ab" * 5000, {"fractions": [0.9999, 0.0001, 0]}, r"validation 1, test 0 .* validation 2, test 0"),
    ],
)
def test_a_bad_file_is_one_readable_line(tmp_path, content, options, message):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        Chars(path=str(tmp_path / "text.txt"), **options).setup()
    assert "\n" not in str(caught.value)


def test_a_bad_text_for_validation_is_called_by_its_own_key(tmp_path):
    (tmp_path / "text.txt").write_text("ab" * 5000)
    (tmp_path / "val.txt").touch()
    with pytest.raises(UserError, match=r"^data\.val_path=.*val\.txt: the file is empty$"):
        Chars(path=str(tmp_path / "text.txt"), val_path=str(tmp_path / "val.txt")).setup()


def test_a_missing_file_has_a_nearest_name(tmp_path):
    (tmp_path / "shakespeare.txt").write_text("abc")
    with pytest.raises(UserError, match=r"no such file\. Did you mean shakespeare\.txt\?"):
        Chars(path=str(tmp_path / "shakespear.txt")).setup()
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file"):
        Chars(path=str(tmp_path / "no" / "nowhere.txt")).setup()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"data\.path=.*empty: the folder holds no text"):
        Chars(path=str(tmp_path / "empty")).setup()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": "pidoc"}, "data.corpus=pidoc.*pydoc"),
        ({"unknown": "ignore"}, "data.unknown=ignore.*error, replace, skip"),
        ({"segment": 0}, "data.segment=0"),
        ({"batch_size": 0}, "data.batch_size=0"),
        ({"limit": 0}, "data.limit=0"),
        ({"fractions": [0.9, 0.2, 0]}, "data.fractions"),
        ({"fractions": [0, 0.5, 0.5]}, "data.fractions"),
        ({"fractions": [0.5, 0.5]}, "data.fractions"),
        ({"fractions": [1.2, -0.2, 0]}, "data.fractions"),
    ],
)
def test_impossible_values_are_refused_before_anything_is_read(options, message):
    with pytest.raises(UserError, match=message):
        Chars(**options)


def test_a_folder_of_too_much_is_one_line(tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt", "c"):
        (tmp_path / name).write_text("text")
    monkeypatch.setattr("rnnlab.memory.SMALL", 0)
    monkeypatch.setattr("rnnlab.memory.free", lambda: 20)
    with pytest.raises(UserError, match=r"^data\.path=.*: reading its 2 texts would take about .* of memory"):
        textfile.read_texts(str(tmp_path), "utf-8")
    monkeypatch.setattr(textfile, "ENTRIES", 2)
    with pytest.raises(UserError, match=r"more than 2 files are below it; name a folder of texts$"):
        textfile.read_texts(str(tmp_path), "utf-8")


def test_a_folder_that_cannot_be_searched_is_one_line(tmp_path, monkeypatch):
    """As with data.path=/, below which /proc refuses."""

    def refuse(self, pattern):
        raise OSError(errno.EINVAL, "Invalid argument", "/proc/1/net")

    monkeypatch.setattr(Path, "rglob", refuse)
    with pytest.raises(UserError, match=r"^data\.path=.*: /proc/1/net cannot be read: Invalid argument$"):
        Chars(path=str(tmp_path)).setup()


def test_a_path_that_is_no_text_is_refused():
    from rnnlab.data.textfile import read_texts

    with pytest.raises(UserError, match=r"data.path=nan: must be a file's name"):
        read_texts(math.nan, "utf-8")
