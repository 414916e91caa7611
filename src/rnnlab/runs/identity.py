"""A run's id, from the part of its config that decides numbers, and its name, from what differs from the experiment."""

import hashlib
import json
import re
from typing import Any

from rnnlab.config.inner import BY_NAME

ABSENT = object()
CLASS = re.compile(r"([A-Za-z_]\w*\.)+[A-Z]\w*[a-z]\w*")  # a Python class, and not a file such as PY.TXT
# the module of a class that a notebook defined (runs/kept_source.py)
KEPT = re.compile(r"^source_[0-9a-f]{12}\.")
ID_LENGTH = 12  # hex digits, 48 bits: with 100,000 runs of an experiment, a collision has probability 2e-5


def pieces(deciding: dict[str, Any]) -> dict[str, str]:
    """{key: canonical JSON of the pair "key":value}, from which an id is made, for the part of a config that decides
    numbers (`rnnlab.config.deciding`).
    """
    return {
        key: json.dumps({key: value}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)[1:-1]
        for key, value in deciding.items()
    }


def digest(found: dict[str, str]) -> str:
    """The id of a run from its `pieces`, in any order."""
    canonical = "{" + ",".join([found[key] for key in sorted(found)]) + "}"
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def leaves(tree: Any, at: str = "") -> dict[str, Any]:
    """A nested dictionary as {dotted path: leaf}; lists are leaves."""
    if not isinstance(tree, dict):
        return {at: tree}
    flat: dict[str, Any] = {}
    _flatten(tree, at, flat)
    return flat


def _flatten(tree: dict[str, Any], at: str, flat: dict[str, Any]) -> None:
    for key, value in tree.items():
        path = f"{at}.{key}" if at else key
        if isinstance(value, dict):
            _flatten(value, path, flat)
        else:
            flat[path] = value


def differences(
    ours: dict[str, Any], theirs: dict[str, Any], by_itself: dict[str, Any], seed: Any
) -> tuple[list[str], list[str]]:
    """The differences to `theirs`, the experiment's own config, as words that are readable and safe in a path.

    The configs are given as `leaves`, of the whole or of some sections. Returns the words of replaced groups, and
    those of keys.

    `model.hidden_size=64 seed=3` gives "hidden_size-64". A replaced group gives its `_target_`, and its differences to
    `by_itself`, the experiment with only its choices of groups: "optimizer-SGD", "lr-0.1". A key such as `data.seed`
    gives no word where it equals the seed; else it gives "data_seed-3".
    """
    changed = {k: v for k, v in ours.items() if k not in theirs or theirs[k] != v}
    changed = {k: v for k, v in changed.items() if k != "seed" and not (k.endswith(".seed") and v == seed)}
    replaced = [k.rsplit(".", 1)[0] for k in changed if k.endswith("._target_")]
    groups, keys = [], []
    for group in replaced:
        target = changed[f"{group}._target_"]
        kind = changed.get(f"{group}.path") if target == BY_NAME else target
        groups.append(f"{safe(group.rsplit('.', 1)[-1])}-{str(kind).rsplit('.', 1)[-1]}")
    for key, value in changed.items():
        if key.endswith("._target_"):
            continue
        if group := next((g for g in replaced if key.startswith(f"{g}.")), ""):
            # a new group brings all its defaults; only differences to them are worth a word
            own = by_itself if by_itself.get(f"{group}._target_") == ours[f"{group}._target_"] else {}
            if (own.get(key, ABSENT) == value) or (not own and key not in theirs):
                continue
        name = key.replace(".", "_") if key.endswith(".seed") else key.rsplit(".", 1)[-1]
        keys.append(f"{safe(name)}-{readable(value)}")
    return groups, keys


def label(words: list[str], limit: int = 100) -> str:
    """The words joined into one: "optimizer-SGD+lr-0.1"."""
    text = "+".join(words)
    return text if len(text) <= limit else text[:limit].rsplit("+", 1)[0] + "+more"


def named(label: str, seed: Any) -> str:
    """A run's name: "optimizer-SGD+lr-0.1+seed-3". The seed is always last."""
    return f"{label}+seed-{seed}" if label else f"seed-{seed}"


def readable(value: Any) -> str:
    """A value as text that is valid in a folder's name, and in an override without quotes.

    A file becomes its name, and a class (mine.cells.Leaky) its last part.
    """
    if isinstance(value, float):
        value = f"{value:g}"
    elif isinstance(value, (list, tuple)):
        value = "_".join(readable(v) for v in value)
    elif isinstance(value, str) and "/" in value:
        value = value.rstrip("/").rsplit("/", 1)[-1]
    elif isinstance(value, str) and CLASS.fullmatch(value):
        value = value.rsplit(".", 1)[-1]
    return safe(KEPT.sub("", str(value)))[:40]


def safe(text: str) -> str:
    """A text that is valid in a folder's name: a key such as "metric/r2" must not make a folder in the run's place."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)
