"""Reads the words after a command's name with argparse; an error is one line with a hint, as everywhere else."""

import argparse
import difflib
import re
from typing import NoReturn

from rnnlab.errors import UserError

NUMBERS = {"int": "a whole number", "float": "a number"}  # Python's types in argparse's messages


class Arguments(argparse.ArgumentParser):
    """Raises UserError where argparse would print its usage and exit."""

    def add_trust(self) -> None:
        """The option --trust of a command that loads a run's model."""
        self.add_argument(
            "--trust", action="store_true", help="permit somebody else's code, if the run's config names it"
        )

    def error(self, message: str) -> NoReturn:
        asked, _, words = message.partition(": ")
        if asked == "unrecognized arguments":
            word = words.split()[0]
            if not word.startswith("-"):
                raise UserError(f"{self.prog} {words}: more words than it takes; see {self.prog} --help")
            options = [option for action in self._actions for option in action.option_strings]
            raise UserError(
                f"{self.prog} {word}: no such option.{nearest_option(word.split('=')[0], options)}"
            )
        if asked == "the following arguments are required":
            # argparse names optional lists as well when options may stand between the words
            free = {action.metavar or action.dest for action in self._actions if action.nargs == "*"}
            needed = ", ".join(word for word in words.split(", ") if word not in free)
            raise UserError(f"{self.prog}: {needed} is missing; see {self.prog} --help")
        message = re.sub(r"invalid (int|float) value: (.*)", lambda found: f"{found[2]} is not {NUMBERS[found[1]]}",
                         message.removeprefix("argument "))  # fmt: skip
        raise UserError(f"{self.prog}: {message}")


def nearest_option(word: str, options: list[str]) -> str:
    """As `errors.nearest`, by the letters after the dashes: with them, all short options are near to each other."""
    letters = {option.lstrip("-"): option for option in options}
    near = difflib.get_close_matches(word.lstrip("-"), letters, n=1)
    return f" Did you mean {letters[near[0]]}?" if near else f" Possible: {', '.join(sorted(options))}."
