"""Files that must not tear: written whole beside their place, then renamed."""

import json
import os
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes, durable: bool = False) -> None:
    """Replaces `path` by `content` in one rename; `durable` waits until it is on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as f:
        f.write(content)
        if durable:
            f.flush()
            os.fsync(f.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
