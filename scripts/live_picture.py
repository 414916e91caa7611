"""Draws a sweep's live table: `python scripts/live_picture.py` writes docs/images/sweep-live.svg.

Runs the README's sweep in a pseudo-terminal, and takes the frame at which about two thirds of the runs are done, and
the output at the end.
"""

import contextlib
import fcntl
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
ASKED = (
    "train",
    "-m",
    "experiment=sine",
    "model.hidden_size=16,32",
    "model.num_layers=1,2",
    "seed=range(0,10)",
)
WIDTH, SHARE = 106, 0.6
THEME = TerminalTheme(
    (24, 27, 34), (214, 219, 227),
    [(24, 27, 34), (224, 108, 117), (112, 196, 120), (222, 184, 98), (97, 148, 224), (190, 130, 220), (90, 196, 206),
     (214, 219, 227)],
)  # fmt: skip
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        written = on_terminal([sys.executable, "-m", "rnnlab", *ASKED], folder)
    # rich erases a frame before it draws the next
    planned, *frames = re.split(r"\r(?:\x1b\[2K)?(?:\x1b\[1A\x1b\[2K)+", written)
    planned = next(line for line in planned.splitlines() if "runs; planned" in line)
    under_way = (frame for frame in frames if not re.search(r"\x1b\[2m0/", frame))  # no run has just begun
    shown = next(frame for frame in under_way if _share(frame) >= SHARE)
    text = f"\x1b[2m$ \x1b[0m\x1b[1mrnnlab {shlex.join(ASKED)}\x1b[0m\n{planned}\n{shown.rstrip()}\n\n"
    text += f"\x1b[2;3m... and at the end\x1b[0m\n{frames[-1].strip()}"
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.from_ansi(text))
    svg = console.export_svg(title="rnnlab", theme=THEME, unique_id="sweep")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S).replace("Fira Code, monospace", FONT)
    (ROOT / "docs" / "images" / "sweep-live.svg").write_text(svg, encoding="utf-8")
    return 0


def on_terminal(command: list[str], folder: str) -> str:
    """The output of a command in a pseudo-terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    running = subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    found = b""
    with contextlib.suppress(OSError):  # raised at the end of a pseudo-terminal's output
        while piece := os.read(ours, 65536):
            found += piece
    os.close(ours)
    if running.wait():
        sys.exit(found.decode())
    return found.decode().replace("\r\n", "\n")


def _share(frame: str) -> float:
    found = re.search(r"([\d,]+)/([\d,]+)\x1b?.* steps", frame)
    return int(found[1].replace(",", "")) / int(found[2].replace(",", "")) if found else 0.0


if __name__ == "__main__":
    sys.exit(main())
