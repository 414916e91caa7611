"""Parses a script's arguments: options KEY=VALUE, other words, and --help, which prints the script's docstring."""

import sys
from collections.abc import Iterable, Sequence

from rnnlab.errors import nearest

NUMBERS = (
    "runs", "workers", "one", "every", "seed", "seeds", "lines", "start", "idle", "busy", "loops", "kills", "steps",
    "hidden", "trials", "stock", "bits", "rounds", "models", "cached",
)  # fmt: skip
LISTS = ("runs", "hidden", "steps")  # of these some scripts take several


def parsed(
    doc: str | None, arguments: Sequence[str], possible: str = "", others: Iterable[str] | None = ()
) -> tuple[dict[str, str], list[str]]:
    """The options and the other words. The script ends at --help, and at an option that is not among `possible`, a word
    that is not among `others` (None: any), and an invalid number.
    """
    if {"-h", "--help"} & set(arguments):
        print((doc or "").strip())
        sys.exit(0)
    options = dict(word.split("=", 1) for word in arguments if "=" in word)
    words = [word for word in arguments if "=" not in word]
    keys, others = possible.split(), None if others is None else list(others)
    for word, known in (*((o, keys) for o in options), *((w, others) for w in words)):
        if known is not None and word not in known:
            print(f"{word}: no such option.{nearest(word, known)}", file=sys.stderr)
            sys.exit(2)
    refuse_no_numbers(options)
    return options, words


def refuse_no_numbers(options: dict[str, str]) -> None:
    """Ends the script where an option of `NUMBERS` is no integer, nor, for one of `LISTS`, several between commas."""
    for key, value in options.items():
        words = value.split(",") if key in LISTS else [value]
        if key in NUMBERS and not all(word.isdecimal() for word in words):
            print(f"{key}={value}: must be a whole number", file=sys.stderr)
            sys.exit(2)
