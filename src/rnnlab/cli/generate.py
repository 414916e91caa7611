"""`rnnlab generate`: a character model continues a prompt.

The prompt comes from --prompt, or from standard input if that is a pipe or a file (or with --prompt -);
without a prompt the text begins with a character drawn at random. The same seed gives the same text.
"""

import argparse
import sys

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import UserError
from rnnlab.terminal.screen import clean, raw, say

PROMPT = 1_000_000  # the most characters that are read; a device would never end


def main(argv: list[str]) -> int | None:
    parser = Arguments(prog="rnnlab generate", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument("--prompt", metavar="TEXT", help="the text to continue; - reads standard input")
    parser.add_argument(
        "--length", type=int, default=500, metavar="N", help="characters to write (default: 500)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="below 1 more predictable, above 1 more random, 0 always the likeliest (default: 1)",
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="draw only from the K likeliest characters")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="draw only from the likeliest characters that sum to P"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the draws (default: 0)")
    parser.add_trust()
    arguments = parser.parse_args(argv)
    prompt = arguments.prompt
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        try:
            prompt = sys.stdin.read(PROMPT + 1)
        except UnicodeDecodeError as error:
            raise UserError(f"--prompt: standard input is no text in {error.encoding}") from None
        if len(prompt) > PROMPT:
            raise UserError(f"--prompt: standard input has more than {PROMPT:,} characters")

    write(arguments, prompt or "")
    return None


def write(arguments: argparse.Namespace, prompt: str) -> None:
    """Prompt and continuation to standard output, each character as it is drawn; raises as `generate`."""
    from rnnlab.api.generation import generate
    from rnnlab.runs.run import Run

    run, asked = Run.open(arguments.run), vars(arguments)
    options = {name: asked[name] for name in ("temperature", "top_k", "top_p", "seed", "trust")}
    begin, drawn = generate(run, prompt, arguments.length, **options)
    if not prompt and sys.stderr.isatty():
        say(f"(no prompt: it begins with {begin!r}, drawn at random)", error=True)
    out, shown = raw(sys.stdout), clean if sys.stdout.isatty() else str  # a file gets what was drawn, exactly
    if hasattr(out, "reconfigure"):  # a terminal of another encoding shows what it can
        out.reconfigure(errors="replace")
    last, signs = begin, shown(begin) != begin
    out.write(shown(begin))
    for last in drawn:
        signs |= shown(last) != last
        out.write(shown(last))
        out.flush()
    if not last.endswith("\n"):
        out.write("\n")
    if signs:
        say("(visible signs replace characters that would control the terminal; a file or a pipe gets them unchanged)",
            error=True)  # fmt: skip
