"""A checkpoint's own checksum: SHA-256 of the file, kept in the comment that every zip file may end with.

torch.save writes a zip file, and readers ignore its comment: torch.load loads such a checkpoint as any other. A
checksum in the file itself cannot be separated from it.
"""

import hashlib
import os
import struct
from pathlib import Path

from rnnlab.regular_files import open_file

MARK = b"rnnlab sha256 "
COMMENT = len(MARK) + 64
NONE = struct.pack("<H", 0)  # the last bytes of a zip file without a comment: the comment's length
DAMAGED = "is damaged: its checksum does not fit"
PART = 1 << 20  # bytes of one read
LENGTH = struct.pack("<H", COMMENT)


def with_checksum(content: bytes) -> bytes:
    """The zip file `content`, which has no comment yet, with its checksum as its comment."""
    if not content.endswith(NONE):
        raise ValueError("not a zip file without a comment")
    return content[: -len(NONE)] + LENGTH + MARK + hashlib.sha256(content).hexdigest().encode()


def checksum_error(path: Path) -> str:
    """What is wrong with a file that should end with its checksum, in a few words; "" where the file is intact."""
    digest, tail = hashlib.sha256(), len(LENGTH) + COMMENT
    try:
        with open_file(path) as file:
            body = max(0, os.fstat(file.fileno()).st_size - tail)  # `path` may be replaced meanwhile
            while body and (part := file.read(min(body, PART))):
                digest.update(part)
                body -= len(part)
            comment = file.read(tail)
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not comment.startswith(LENGTH + MARK):
        return "is cut short, or was never whole"
    digest.update(NONE)
    if comment[-64:] != digest.hexdigest().encode():
        return DAMAGED
    return ""
