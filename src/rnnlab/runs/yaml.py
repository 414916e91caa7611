"""YAML for data only: written in plain style, read without tags, and with bounds on its expanded size."""

from pathlib import Path
from typing import Any

import yaml

from rnnlab.errors import UserError
from rnnlab.regular_files import read_file
from rnnlab.runs.files import endless

# the C versions, if PyYAML was built with them, are seven times faster
Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BYTES, VALUES, DEPTH, DIGITS = 4_000_000, 200_000, 50, 400  # more than any config has
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def to_yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)


def read_yaml(path: Path) -> Any:
    """The content of a file, as plain types. Raises UserError where it cannot be read or exceeds the bounds."""
    try:
        if path.stat().st_size > BYTES:
            raise UserError(f"{path}: larger than {BYTES:,} bytes, which no config is")
        text = read_file(path).decode("utf-8")
        if _depth(text) > DEPTH:
            raise UserError(f"{path}: is nested more than {DEPTH} deep, which no config is")
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if _unfolded(node, {}) > VALUES:
                raise UserError(f"{path}: unfolds to more than {VALUES:,} values, which no config has")
            found = None if node is None else loader.construct_document(node)
            if where := endless(found):
                raise ValueError(f"{where} is a whole number of more than 64 bits")
            return found
        finally:
            loader.dispose()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, OSError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error


def _depth(text: str) -> int:
    """The depth of nested collections, counted from events: composing is recursive, and could kill the process."""
    depth = deepest = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEPTH:
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return deepest


def _unfolded(node: Any, known: dict[int, int]) -> int:
    """How many values a node expands to, with aliases followed."""
    if id(node) not in known:
        known[id(node)] = VALUES  # a node that contains itself is endless
        inner = getattr(node, "value", None)
        size = 1
        # a long base-60 number, such as 1:0:0:0, would take hours to read
        if isinstance(node, yaml.ScalarNode) and node.tag in NUMBERS and len(node.value) > DIGITS:
            raise ValueError(f"a number of {len(node.value):,} digits")
        for child in inner if isinstance(inner, list) else ():
            for part in child if isinstance(child, tuple) else (child,):
                size += _unfolded(part, known)
        known[id(node)] = size
    return known[id(node)]
