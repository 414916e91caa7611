"""Finds the values of a composed config that depend, by interpolation, on the keys that a sweep sets."""

import re
from collections.abc import Iterable
from typing import NamedTuple

REFERENCE = re.compile(r"\$\{([^${}:]+)\}")  # ${a.b}, and not ${resolver:...}
RESOLVER = re.compile(r"\$\{([\w.]+):")
NESTED = re.compile(r"\$\{[^}]*\$\{")  # ${a.${b}}
CONSTANT_RESOLVERS = {"oc.env", "oc.decode"}  # they read only their arguments


class Follower(NamedTuple):
    """A value that depends on `keys`. `copied`: the key that it copies; None where it must be resolved."""

    copied: str | None
    keys: tuple[str, ...]


def followers(raw: dict[str, object], keys: Iterable[str]) -> dict[str, Follower]:
    """{path: Follower} of the leaves that depend on `keys`. `raw` is an unresolved config, flattened by `flat`."""
    order = list(keys)
    found: dict[str, Follower] = {}
    for path, value in raw.items():
        if path not in order and (sources := _sources(path, raw, order, set())):
            found[path] = Follower(_copied(value, raw, order), tuple(k for k in order if k in sources))
    return found


def flat(tree: object, at: str = "") -> dict[str, object]:
    """{dotted path: leaf}. A list is one leaf, with all interpolations in it."""
    if isinstance(tree, dict) and tree:
        leaves: dict[str, object] = {}
        for key, value in tree.items():
            leaves.update(flat(value, f"{at}.{key}" if at else str(key)))
        return leaves
    if isinstance(tree, list) and "${" in str(tree):
        return {at: " ".join(re.findall(r"\$\{[^}]*\}+", str(tree)))}
    return {at: tree}


def _sources(path: str, raw: dict[str, object], keys: list[str], seen: set[str]) -> set[str]:
    """The keys that the value at a path depends on."""
    if path in seen:
        return set()
    seen.add(path)
    if path in keys:
        return {path}
    value = raw.get(path)
    if not isinstance(value, str) or "${" not in value:
        # a reference to a whole section depends on all that is in it
        below = [p for p in raw if p.startswith((f"{path}.", f"{path}["))] if value is None else []
        return set().union(*(_sources(p, raw, keys, seen) for p in below))
    if set(RESOLVER.findall(value)) - CONSTANT_RESOLVERS or NESTED.search(value):
        return set(keys)  # it may read any key
    return set().union(*(_sources(_absolute(ref, path), raw, keys, seen) for ref in REFERENCE.findall(value)))


def _copied(value: object, raw: dict[str, object], keys: list[str]) -> str | None:
    """The key whose value a leaf copies, such as ${seed}, directly or through other leaves; None for no copy."""
    for _ in range(10):
        whole = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if not whole or whole[1].startswith("."):
            return None
        if whole[1] in keys:
            return whole[1]
        value = raw.get(whole[1], "")
    return None


def _absolute(reference: str, path: str) -> str:
    """The absolute path of a reference: `..b` at `a.c.d` is `a.b`. Indices are dropped, because a list is one leaf."""
    reference = re.sub(r"\[(\w+)\]", r".\1", reference)
    dots = len(reference) - len(reference.lstrip("."))
    if not dots:
        return reference
    parents = re.sub(r"\[\d+\]", "", path).split(".")[:-dots]
    return ".".join([*parents, reference.lstrip(".")])
