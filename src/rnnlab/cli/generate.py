"""`rnnlab generate`: a character model goes on from a prompt.

The prompt comes from --prompt, or from standard input where that is a pipe or a file (or with --prompt -);
without one the text begins with a character drawn at random. The same seed gives the same text.
"""

import argparse
import sys
from typing import Any

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import UserError
from rnnlab.memory import afford
from rnnlab.terminal.screen import clean, raw, say

PROMPT = 1_000_000  # characters that are read; a device would go on for ever


def main(argv: list[str]) -> int | None:
    parser = Arguments(prog="rnnlab generate", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument("--prompt", metavar="TEXT", help="what to go on from; - reads standard input")
    parser.add_argument(
        "--length", type=int, default=500, metavar="N", help="characters to write (default: 500)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="below 1 tamer, above 1 wilder, 0 always the likeliest (default: 1)",
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="only among the K likeliest characters")
    parser.add_argument("--top-p", type=float, metavar="P", help="only among the likeliest that sum to P")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the draws (default: 0)")
    parser.add_argument("--trust", action="store_true", help="load a run made with code outside rnnlab")
    arguments = parser.parse_args(argv)
    check(arguments)
    prompt = arguments.prompt
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        prompt = sys.stdin.read(PROMPT + 1)
        if len(prompt) > PROMPT:
            raise UserError(f"--prompt: standard input has more than {PROMPT:,} characters")

    write(arguments, prompt or "")
    return None


def check(arguments: argparse.Namespace) -> None:
    """Raises UserError for a number out of its range."""
    ranges = {
        "length": (arguments.length >= 1, "at least 1"),
        "temperature": (0 <= arguments.temperature < float("inf"), "a number of at least 0"),
        "top-k": (arguments.top_k is None or arguments.top_k >= 1, "at least 1"),
        "top-p": (arguments.top_p is None or 0 < arguments.top_p <= 1, "above 0 and at most 1"),
        "seed": (arguments.seed >= 0, "at least 0"),
    }
    for name, (right, words) in ranges.items():
        if not right:
            raise UserError(f"--{name} {getattr(arguments, name.replace('-', '_'))}: must be {words}")
    afford(8.0 * arguments.length, f"--length {arguments.length}")


def write(arguments: argparse.Namespace, prompt: str) -> None:
    """Prompt and continuation to standard output, each character as it is drawn.

    Raises UserError for a run that is no character model, and for characters that it does not know.
    """
    from rnnlab.data.vocabulary import Vocabulary
    from rnnlab.runs.load import load_model
    from rnnlab.runs.run import Run
    from rnnlab.tasks import CharLM
    from rnnlab.training.threads import thread_count

    run = Run.open(arguments.run)
    task = load_model(run, arguments.trust)
    if not isinstance(task, CharLM):
        raise UserError(
            f"{run.folder} holds a {type(task).__name__}; only a character model (CharLM) can write"
        )
    vocabulary = Vocabulary(
        task.spec["vocabulary"]
    )  # whatever the data did with unknown ones, a prompt is exact
    if not prompt:
        prompt = random_character(task.spec, arguments.seed)
        if sys.stderr.isatty():
            say(f"(no prompt: it begins with {prompt!r}, drawn at random)", error=True)
    ids = vocabulary.encode(prompt)
    out, shown = raw(sys.stdout), clean if sys.stdout.isatty() else str  # a file gets what was drawn, exactly
    if hasattr(out, "reconfigure"):  # a terminal of another encoding shows what it can
        out.reconfigure(errors="replace")
    with thread_count(1):  # a step is too small to share
        drawn = task.sample(
            ids,
            arguments.length,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            seed=arguments.seed,
        )
        last, signs = prompt, shown(prompt) != prompt
        out.write(shown(prompt))
        for last in map(vocabulary.characters.__getitem__, drawn):
            signs |= shown(last) != last
            out.write(shown(last))
            out.flush()
    if not last.endswith("\n"):
        out.write("\n")
    if signs:
        say("(a sign stands for what is no letter: a terminal would obey it; a file or a pipe gets it as it is)",
            error=True)  # fmt: skip


def random_character(spec: dict[str, Any], seed: int) -> str:
    """A character of the vocabulary, each as likely, from the "sample" stream (not where the text draws)."""
    from rnnlab import streams

    known = spec["vocabulary"][: -1 if spec["unknown"] == "replace" else None]
    return known[int(streams.generator(seed, "sample", 1).integers(len(known)))]
