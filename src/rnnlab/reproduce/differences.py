"""Lists the differences between two runs' configs, code, versions, machines and data."""

from collections.abc import Mapping
from typing import Any

from rnnlab.errors import counted
from rnnlab.runs.identity import leaves

ABSENT = "nothing"
MANY = 12  # the most lines shown of one part
# {title: keys of the manifest}, the most likely causes first
PARTS = {
    "code": ("code", "sources", "changed_on_the_way"),
    "data": ("data_hash",),
    "engine": ("engine",),
    "versions": ("versions",),
    "machine": ("machine", "threads", "determinism", "environment"),
}
ASIDE = ("engine.why", "sources.torch")  # left out; torch's is among the versions
NAMES = {
    "code.commit": "commit",
    "code.clean": "all committed",
    "code.diff": "not committed",
    "code.rnnlab": "rnnlab",
    "changed_on_the_way": "changed while it was stopped",
    "sources.rnnlab": "the sources that decide numbers",
    "data_hash": "content",
    "engine.name": "recurrence",
    "machine.cpu": "processor",
    "machine.cpu_flags": "instructions of the processor",
    "machine.cpu_capability": "instructions that torch uses",
    "threads.torch": "threads",
    "threads.interop": "threads between operations",
}


def configs(ours: Mapping[str, Any], theirs: Mapping[str, Any], aside: tuple[str, ...] = ()) -> list[str]:
    """`key: this -> that` for each key in which two configs differ, without those under `aside`."""
    return [
        f"{key}: {shown(key, this)} -> {shown(key, that)}" for key, this, that in between(ours, theirs, aside)
    ]


def manifests(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, list[str]]:
    """{part: lines} of the differences between two manifests; only parts with differences."""
    found: dict[str, list[str]] = {}
    for part, keys in PARTS.items():
        a, b = ({k: m[k] for k in keys if k in m} for m in (ours, theirs))
        if lines := [f"{name(key)}: {change(key, *values)}" for key, *values in between(a, b, ASIDE)]:
            found[part] = lines[:MANY] + ([f"and {len(lines) - MANY} more"] if len(lines) > MANY else [])
    return found


def between(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], aside: tuple[str, ...] = ()
) -> list[tuple[str, Any, Any]]:
    """(dotted key, this, that) for each difference."""
    a, b = leaves(ours), leaves(theirs)
    keys = [
        k for k in dict.fromkeys([*a, *b]) if not any(k == part or k.startswith(f"{part}.") for part in aside)
    ]
    found = [(key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys]
    return [(key, this, that) for key, this, that in found if this != that]


def name(key: str) -> str:
    return NAMES.get(key) or key.partition(".")[2] or key


def change(key: str, this: Any, that: Any) -> str:
    """One difference as a line; for two lists, the items that only one of them has."""
    if isinstance(this, list) and isinstance(that, list):
        ours, theirs = [v for v in this if v not in that], [v for v in that if v not in this]
        if ours or theirs:  # else they differ in their order, or in how often an item is there
            this, that = ours, theirs
    return f"{shown(key, this)} -> {shown(key, that)}"


def shown(key: str, value: Any) -> str:
    """A value as a short text: a diff by its size, a hash by its first digits."""
    if value is None or value in ("", []):
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(map(str, value)) if isinstance(value, list) else " ".join(str(value).split())
    if key == "code.diff" and value != ABSENT:
        return f"a diff of {counted(len(str(value).splitlines()), 'line')}"
    if len(text) in (40, 64) and all(c in "0123456789abcdef" for c in text):
        return text[:12]
    return text if len(text) <= 80 else f"{text[:77]}..."
