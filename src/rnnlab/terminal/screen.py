"""Cleans all output to the terminal: text from a run's folder may be a stranger's, and may control the terminal.

Escape sequences can move the cursor, set the clipboard and send input in the user's name; bidirectional marks and
zero-width characters make a name look like another one. All streams and lines of a command pass through this module,
which replaces such characters by visible signs.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# C0 and C1 except tab and newline, direction marks, characters without width or ink (except joiners and emoji variation
# selectors, which texts need), tags, surrogates
HIDDEN = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b\\u200e\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0d\\ufeff\\uffa0\\ufff0-\\ufffb\\U0001bca0-\\U0001bca3"
    "\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff\\ud800-\\udfff"
)
IN_PROSE = re.compile(f"[{HIDDEN}]")
# joiners are part of the spelling of some languages, and so are allowed in prose
IN_A_LINE = re.compile(f"[{HIDDEN}\\t\\n\\u200c\\u200d]")
CURSOR = re.compile(r"(\x1b\[A|\n)+")  # how a tqdm bar moves to its line


def clean(text: str) -> str:
    """Text of any number of lines, with visible signs for characters that would control a terminal or a browser."""
    return IN_PROSE.sub(_sign, text)


def one_line(text: Any) -> str:
    """Text as one line: newlines, tabs and joiners become signs, too, so that a name cannot imitate another line."""
    return IN_A_LINE.sub(_sign, str(text))


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def say(*lines: Any, error: bool = False, flush: bool = False) -> None:
    """Prints each of `lines` as exactly one line, to standard output or to standard error."""
    print(*map(one_line, lines), sep="\n", file=sys.stderr if error else sys.stdout, flush=flush)


class Screen:
    """A text stream that cleans what is written, except the cursor movements of tqdm bars."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw
        if hasattr(raw, "reconfigure"):  # for terminals with another encoding, and names that are not UTF-8
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
    """The stream below a `Screen`, for a caller that cleans the text itself."""
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
            if getattr(sys, name) is ours:  # not replaced by another stream meanwhile
                setattr(sys, name, theirs)
