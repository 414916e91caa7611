"""The error for a name that is not among the possible ones."""

from collections.abc import Sequence

from rnnlab.errors import UserError, nearest


def check_choice(key: str, value: str, possible: Sequence[str]) -> None:
    """Raises UserError if `value` is not in `possible`."""
    if value not in possible:
        raise UserError(refusal(key, value, ", ".join(possible), possible))


def refusal(key: str, value: str, offered: str, possible: Sequence[str]) -> str:
    """The error's line: the setting, what is offered, and the nearest of `possible`, if one is near."""
    hint = nearest(str(value).lower(), possible)
    return f"{key}={value}: not one of {offered}." + (hint if "Did you mean" in hint else "")
