"""One output of a notebook's cell that is updated during a run, instead of a terminal's lines."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_open: "Block | None" = None


class Block:
    """A fixed part, and below it a part that is replaced. Shown as HTML, or, without HTML, as the last line only."""

    def __init__(self) -> None:
        self.fixed: list[str] = []
        self.moving = self.line = ""
        self.handle: Any = None

    def add(self, body: str) -> None:
        """Adds HTML to the fixed part."""
        self.fixed.append(body)
        self.show()

    def move(self, body: str, line: str = "") -> None:
        """Replaces the lower part."""
        self.moving, self.line = body, line or self.line
        self.show()

    def show(self) -> None:
        from IPython.display import display

        content = {"text/html": "".join([*self.fixed, self.moving]), "text/plain": self.line}
        if self.handle is None:
            self.handle = display(content, raw=True, display_id=True)
        else:
            self.handle.update(content, raw=True)


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel; False in IPython's terminal."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def current() -> Block | None:
    """The block to which consoles print now; None where there is none."""
    return _open


@contextmanager
def block() -> Iterator[Block | None]:
    """While open in a notebook, consoles print into one output of the cell; elsewhere gives None, without effect."""
    global _open
    if _open is not None or not in_notebook():
        yield _open
        return
    _open = Block()
    try:
        yield _open
        _open.move("")
    finally:
        _open = None


def show_pictures(folder: Path) -> None:
    """Shows the pictures of a folder, one below the other, compressed because a notebook may hold many."""
    from IPython.display import Image, display

    for file in sorted(folder.glob("*.png")):
        display(Image(data=light(file.read_bytes()), format="png"))


def light(png: bytes) -> bytes:
    """A PNG reduced to 64 colours: a fifth of the bytes, without a visible difference."""
    from PIL import Image

    content = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(64).save(content, "PNG", optimize=True)
    return content.getvalue()
