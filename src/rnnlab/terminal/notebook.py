"""One output of a notebook's cell, replaced as a run goes on, in place of a terminal's lines."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_open: "Block | None" = None


class Block:
    """What stays, and below it what moves. It is shown as HTML; where that cannot be shown, as the last line."""

    def __init__(self) -> None:
        self.fixed: list[str] = []
        self.moving = self.line = ""
        self.handle: Any = None

    def add(self, body: str) -> None:
        """Adds HTML that stays."""
        self.fixed.append(body)
        self.show()

    def move(self, body: str, line: str = "") -> None:
        """Replaces what moves."""
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
    """Whether a Jupyter kernel runs this process, which it does not in IPython's own terminal."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def current() -> Block | None:
    """The block that takes what is printed now."""
    return _open


@contextmanager
def block() -> Iterator[Block | None]:
    """While open, what consoles print stands in one output of the cell; None, and no change, elsewhere."""
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
    """The pictures of a folder below each other, light enough for a file that holds many."""
    from IPython.display import Image, display

    for file in sorted(folder.glob("*.png")):
        display(Image(data=light(file.read_bytes()), format="png"))


def light(png: bytes) -> bytes:
    """A figure in 64 colours: a fifth of its bytes, and to the eye the same."""
    from PIL import Image

    content = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(64).save(content, "PNG", optimize=True)
    return content.getvalue()
