"""How a notebook shows what a terminal shows: `rnnlab.terminal.console.html` makes it of tables and lines."""

from html import escape

from rich.terminal_theme import TerminalTheme

WIDTH = 110
BLOCK = "<pre style='white-space:pre;overflow-x:auto;line-height:1.3;font-size:12px;margin:0'>{code}</pre>"
# colours that are read on a white page and on a black one
THEME = TerminalTheme(
    (255, 255, 255),
    (40, 40, 40),
    [(96, 96, 96), (192, 64, 64), (64, 144, 64), (160, 128, 32), (64, 112, 192), (144, 80, 160), (32, 144, 160),
     (128, 128, 128)],
)  # fmt: skip


def folded(title: str, body: str) -> str:
    """HTML that opens when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def moving_bar(done: int, total: int | None, line: str) -> str:
    """A bar with a line behind it; the line alone where nobody knows how long it takes."""
    bar = f"<progress value='{done}' max='{total}' style='width:14em'></progress> " if total else ""
    return f"<div style='font-family:monospace;font-size:12px;white-space:pre'>{bar}{escape(line)}</div>"
