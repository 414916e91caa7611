"""What reaches the terminal. The text of a run's folder may be a stranger's, and a terminal obeys what it is sent.

Escape sequences can move the cursor, set the clipboard and answer in the user's name; bidirectional marks and
zero-width letters make a name look like another one. Every stream and every line of a command passes here, and
what is no letter is shown as a sign.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# C0 and C1 but for tab and newline, marks of direction, what has no width or no ink (but for joiners and selectors of
# a picture's style, which texts need), tags, halves of surrogate pairs
HIDDEN = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b\\u200e\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0d\\ufeff\\uffa0\\ufff0-\\ufffb\\U0001bca0-\\U0001bca3"
    "\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff\\ud800-\\udfff"
)
IN_PROSE = re.compile(f"[{HIDDEN}]")
IN_A_LINE = re.compile(
    f"[{HIDDEN}\\t\\n\\u200c\\u200d]"
)  # the joiners belong to the spelling of some languages
CURSOR = re.compile(r"(\x1b\[A|\n)+")  # what a bar of tqdm moves to its own line with


def clean(text: str) -> str:
    """Prose of any number of lines, with a sign for what a terminal or a browser would obey instead of show."""
    return IN_PROSE.sub(_sign, text)


def one_line(text: Any) -> str:
    """One line: breaks, tabs and joiners are signs, too, so that a name cannot pretend to be the next line."""
    return IN_A_LINE.sub(_sign, str(text))


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def say(*lines: Any, error: bool = False, flush: bool = False) -> None:
    """Prints each of `lines` as exactly one line, to standard output or to standard error."""
    print(*map(one_line, lines), sep="\n", file=sys.stderr if error else sys.stdout, flush=flush)


class Screen:
    """A text stream through which only what is clean passes, and the way in which bars of tqdm go back."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw
        if hasattr(raw, "reconfigure"):  # a terminal of another encoding, or a name that is not UTF-8
            raw.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        back = "\r" if text.startswith("\r") else ""
        self.raw.write(text if CURSOR.fullmatch(text) else back + clean(text[len(back) :]))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def raw(stream: Any) -> Any:
    """What lies behind a `Screen`, for a caller that cleans the text itself."""
    return stream.raw if isinstance(stream, Screen) else stream


@contextmanager
def screened() -> Iterator[None]:
    """Inside, standard output and standard error are screens."""
    before = sys.stdout, sys.stderr
    wrapped: list[Any] = [s if s is None or isinstance(s, Screen) else Screen(s) for s in before]
    sys.stdout, sys.stderr = wrapped
    try:
        yield
    finally:
        for name, ours, theirs in zip(("stdout", "stderr"), wrapped, before, strict=True):
            if getattr(sys, name) is ours:  # nobody has put another one there meanwhile
                setattr(sys, name, theirs)
