"""Which room of the house may import which: what decides numbers knows nothing of what shows them."""

import ast
from pathlib import Path

import rnnlab

ROOT = Path(rnnlab.__file__).parent
# a room, and those that it must not import, at the top of a file or inside a function
MUST_NOT = {
    "cells": {"recurrence", "native", "data", "tasks", "runs", "training", "sweeps", "cli"},
    "recurrence": {"native", "data", "tasks", "runs", "training", "sweeps", "cli"},
    "native": {"data", "tasks", "training", "sweeps", "cli"},
    "data": {"tasks", "runs", "training", "sweeps", "cli"},
    "tasks": {"native", "training", "sweeps", "cli"},
    "runs": {"native", "tasks", "training", "sweeps", "tensorboard", "report", "cli"},
    "training": {"tensorboard", "report", "figures", "instruments", "terminal", "unroll", "sweeps", "cli"},
    "report": {"sweeps", "cli"},
    "tensorboard": {"sweeps", "cli"},
    "figures": {"report", "sweeps", "cli"},
    "instruments": {"report", "sweeps", "cli"},
}
# what is still to be turned round; this set may only shrink
STILL: set[tuple[str, str]] = set()
CIRCLES = {  # of files, likewise
    frozenset({"runs.ownership", "runs.sources", "runs.load", "runs.run"}),
    frozenset({"config.composing", "config.explain"}),
}


def imports() -> dict[str, set[str]]:
    """Each module of rnnlab with those that it imports anywhere in its file."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        named = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rnnlab":
                at = node.module.removeprefix("rnnlab").lstrip(".")
                inner = {f"{at}.{alias.name}".lstrip(".") for alias in node.names}
                named |= {one if one in files else at for one in inner}
            elif isinstance(node, ast.Import):
                named |= {a.name.removeprefix("rnnlab.") for a in node.names if a.name.startswith("rnnlab.")}
        found[name] = (named & files.keys()) - {name}
    return found


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules that reach each other."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, ahead = set(), [start]
        while ahead:
            for other in graph[ahead.pop()] - seen:
                seen.add(other)
                ahead.append(other)
        reached[start] = seen
    return {frozenset(b for b in reached[a] if a in reached[b]) for a in graph if a in reached[a]}


def test_no_room_imports_one_that_it_must_not_know():
    pairs = {(a.split(".")[0], b.split(".")[0]) for a, found in imports().items() for b in found}
    assert {(a, b) for a, b in pairs if b in MUST_NOT.get(a, ())} == STILL


def test_files_import_each_other_in_no_circle():
    assert circles(imports()) == CIRCLES


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {frozenset({"b", "c"})}
