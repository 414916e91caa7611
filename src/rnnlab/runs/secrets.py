"""Removes secrets from what is written into a run's folder: values of environment variables, of keys, and in URLs."""

import functools
import os
import re
from collections.abc import Mapping
from typing import Any

SECRET = re.compile(r"(?i)(_key$|apikey|token|secret|passw|credential)")  # names of variables
SHORTEST = 8  # characters; shorter values may occur by chance
# names of keys; a key that only ends in "token" is not secret, such as `unknown_token`
WORD = (
    r"(?:[\w.]*_)?(?:(?:api|access|private)_?key|(?:api|access|auth)_?token|secret(?:_?key)?"
    r"|passw(?:or)?d|credentials?)|token"
)
KEY = re.compile(rf"(?i)(?:^|\.)(?:{WORD})$")
GIVEN = re.compile(rf"(?i)((?<![\w-])(?:{WORD})['\"]?\s*[=:]\s*)[^\s,}}\]]+")  # KEY=VALUE, {KEY: VALUE}
ADDRESS = re.compile(r"(?<=://)[^/\s@]+(?=@)")  # https://USER:PASSWORD@host
HIDDEN = "<secret>"


def secrets(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """{value: name} of the environment variables with names like SECRET; the longest first: it may hold another."""
    found = {v: k for k, v in environment.items() if SECRET.search(k) and len(v) >= SHORTEST}
    # a path of a socket or a file is no secret
    return {v: found[v] for v in sorted(found, key=len, reverse=True) if not v.startswith(os.sep)}


def without_secrets(value: Any) -> Any:
    """A copy of plain data in which the values of secret variables are replaced by <environment: NAME>.

    The value of a key that names a password, in a config or in an override KEY=VALUE, becomes <secret>, and so does
    the USER:PASSWORD part of a URL.
    """
    return _without(value, secrets())


def _without(value: Any, hidden: dict[str, str]) -> Any:
    if value is None or isinstance(value, (int, float)):  # most values; the rest takes longer
        return value
    if isinstance(value, str):
        for secret, name in hidden.items():
            value = value.replace(secret, f"<environment: {name}>")
        if "://" in value and "@" in value:
            value = ADDRESS.sub(HIDDEN, value)
        if ("=" in value or ":" in value) and "\n" not in value:  # a diff must stay exact
            value = GIVEN.sub(rf"\1{HIDDEN}", value)
        return value
    if isinstance(value, dict):
        return {
            k: _without(HIDDEN if v and isinstance(v, str) and is_secret(k) else v, hidden)
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_without(v, hidden) for v in value]
    return value


@functools.lru_cache(4096)
def is_secret(key: Any) -> bool:
    return isinstance(key, str) and len(key) < 200 and KEY.search(key) is not None
