"""A terminal: a pty that a program writes to, and what somebody who looks at it would see."""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import threading
from contextlib import contextmanager

import warm

PARTS = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """Cursor up, erase line, carriage return and line feed, which is all that rich needs; colours are dropped."""

    def __init__(self, width):
        self.width, self.lines, self.row, self.column, self.frames = width, [""], 0, 0, []
        self.erasing = False

    def write(self, text):
        position = 0
        for found in PARTS.finditer(text):
            assert found.start() == position, f"not understood: {text[position : found.start()]!r}"
            position = found.end()
            number, command, control, words = found.groups()
            if words:
                self._put(words)
            elif control == "\r":
                self.column = 0
            elif control == "\n":
                self._down()
            elif command == "A":
                self.row = max(0, self.row - int(number or 1))
            elif command == "K":
                if not self.erasing:  # the next frame is about to be drawn
                    self.frames.append(self.shown())
                self.erasing, self.lines[self.row] = True, ""
            else:
                assert command in "mhl", f"not understood: {found[0]!r}"

    def _put(self, words):
        self.erasing = False
        for character in words:
            if self.column == self.width:  # as a terminal does it
                self._down()
                self.column = 0
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    def _down(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def shown(self):
        return [line.rstrip() for line in self.lines]


@contextmanager
def terminal(width):
    """A file on a real terminal of this width, and its screen, which is complete when the block is left."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST  # a line feed arrives as it was written, without a carriage return
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    received, screen, done = [], Screen(width), threading.Event()

    def read():
        while not (done.is_set() and not select.select([ours], [], [], 0)[0]):
            if select.select([ours], [], [], 0.02)[0]:
                received.append(os.read(ours, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    file = os.fdopen(theirs, "w")
    try:
        yield file, screen
        file.flush()
    finally:
        done.set()
        reader.join()
        file.close()
        os.close(ours)
    screen.write(b"".join(received).decode().replace("\n", "\r\n"))


def run_on_terminal(width, *words):
    """The screen of `rnnlab WORDS`, which must succeed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    with terminal(width) as (file, screen):
        command = [sys.executable, "-m", "rnnlab", *words]
        done = warm.run(command, stdout=file, stderr=file, env=environment | {"TERM": "xterm-256color"})
    assert done.returncode == 0, screen.shown()
    return screen
