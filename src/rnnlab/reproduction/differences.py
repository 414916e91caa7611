"""What differs between two runs' configs, code, versions, machines and data."""

from typing import Any

from rnnlab.ledger.identity import leaves

ABSENT = "nothing"
MANY = 12  # lines of one kind that are shown
# of the manifest, in the order of what is likeliest to matter; each {title: keys}
PARTS = {
    "code": ("code", "sources"),
    "data": ("data_hash",),
    "engine": ("engine",),
    "versions": ("versions",),
    "machine": ("machine", "threads", "determinism", "environment"),
}


def configs(ours: dict[str, Any], theirs: dict[str, Any], aside: tuple[str, ...] = ()) -> list[str]:
    """`key: this -> that` for each key at which two configs differ, but for those under `aside`."""
    return between(ours, theirs, aside)


def manifests(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, list[str]]:
    """{part: lines} of what differs between two manifests; parts in which nothing does are missing."""
    found: dict[str, list[str]] = {}
    for part, keys in PARTS.items():
        a, b = ({k: m[k] for k in keys if k in m} for m in (ours, theirs))
        if lines := between(a, b, ("engine.why",)):
            found[part] = lines[:MANY] + ([f"and {len(lines) - MANY} more"] if len(lines) > MANY else [])
    return found


def between(ours: dict[str, Any], theirs: dict[str, Any], aside: tuple[str, ...] = ()) -> list[str]:
    a, b = leaves(ours), leaves(theirs)
    lines = []
    for key in dict.fromkeys([*a, *b]):
        if any(key == part or key.startswith(f"{part}.") for part in aside):
            continue
        this, that = a.get(key, ABSENT), b.get(key, ABSENT)
        if this != that:
            lines.append(f"{key}: {shown(key, this)} -> {shown(key, that)}")
    return lines


def shown(key: str, value: Any) -> str:
    """A value in a line: a diff by its size, a hash by its beginning."""
    text = str(value)
    if key.endswith("diff") and value not in (None, "", ABSENT):
        return f"a diff of {len(text.splitlines())} lines"
    if len(text) in (40, 64) and all(c in "0123456789abcdef" for c in text):
        return text[:12]
    return text if len(text) <= 80 else f"{text[:77]}..."
