"""HTML pieces for a notebook, with `rnnlab.terminal.console.html`, which converts tables and lines."""

from html import escape

from rich.terminal_theme import TerminalTheme

WIDTH = 110
BLOCK = "<pre style='white-space:pre;overflow-x:auto;line-height:1.3;font-size:12px;margin:0'>{code}</pre>"
# colours that are legible on a white and on a black background
THEME = TerminalTheme(
    (255, 255, 255),
    (40, 40, 40),
    [(96, 96, 96), (192, 64, 64), (64, 144, 64), (160, 128, 32), (64, 112, 192), (144, 80, 160), (32, 144, 160),
     (128, 128, 128)],
)  # fmt: skip


def folded(title: str, body: str) -> str:
    """HTML that is folded and opens when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def moving_bar(done: int, total: int | None, line: str) -> str:
    """A progress bar followed by a line of text; only the line where `total` is not known."""
    bar = f"<progress value='{done}' max='{total}' style='width:14em'></progress> " if total else ""
    return f"<div style='font-family:monospace;font-size:12px;white-space:pre'>{bar}{escape(line)}</div>"
