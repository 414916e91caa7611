"""What a script is asked: options KEY=VALUE, other words, and --help, which prints what the script says of itself."""

import sys
from collections.abc import Iterable, Sequence

from rnnlab.errors import nearest


def parsed(
    doc: str | None, arguments: Sequence[str], possible: str = "", others: Iterable[str] | None = ()
) -> tuple[dict[str, str], list[str]]:
    """The options and the other words. --help ends the script, and so does an option that is not among `possible`, or a
    word that is not among `others` (None: any).
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
    return options, words
