"""Reads a dotted path, such as model.cell, in nested dictionaries."""

from typing import Any

ABSENT = object()  # stands for no value, where None is one


def value_at(tree: Any, path: str, default: Any = None) -> Any:
    """The value at a path; `default` if there is none. The path "" is the whole tree."""
    for key in path.split(".") if path else ():
        if not isinstance(tree, dict) or key not in tree:
            return default
        tree = tree[key]
    return tree
