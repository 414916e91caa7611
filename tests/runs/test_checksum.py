"""A file's own checksum, while the file is replaced."""

import io
import zipfile

from rnnlab.runs import checksum
from rnnlab.runs.checksum import checksum_error, with_checksum
from rnnlab.runs.files import write_whole


def test_a_file_that_is_replaced_while_it_is_read_is_whole(tmp_path, monkeypatch):
    def made(size):
        with zipfile.ZipFile(content := io.BytesIO(), "w") as archive:
            archive.writestr("a", b"x" * size)
        return with_checksum(content.getvalue())

    path, opened = tmp_path / "last.ckpt", checksum.open_file

    def replaced(place):
        file = opened(place)
        write_whole(path, made(9_000))
        return file

    write_whole(path, made(5_000))
    monkeypatch.setattr(checksum, "open_file", replaced)
    assert checksum_error(path) == ""
