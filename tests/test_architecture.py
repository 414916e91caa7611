"""Imports point one way: what decides numbers knows nothing of what shows them, and no files import each other."""

import ast
from pathlib import Path

import rnnlab

ROOT = Path(rnnlab.__file__).parent
# a file imports those of its own line and of the lines above, at its top, inside a function or for types alone
ORDER = (
    "errors signals streams memory import_path quick_import private_names regular_files",
    "cells",
    "config",
    "recurrence",
    "native",
    "data",
    "tasks",
    "runs",
    "training",
    "terminal figures report tensorboard instruments unroll",
    "display export",
    "sweeps",
    "api",
    "reproduce cli",
    "__init__ __main__",
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms.split()}
# what still points the other way; it may only shrink
STILL = {
    ("errors", "terminal"): "a warning is written as the terminal allows",
    ("data", "terminal"): "a download has a bar",
    ("native", "runs"): "the cache's folder, and a rename that is on the disk",
    ("tasks", "runs"): "what a task's steps measure is a batch of scalars, as metrics.csv has it",
    ("runs", "api"): "rnnlab.runs(...) is a function of the API under the package's name",
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


def upward(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """The pairs of rooms in which the first imports a later one; a room without a place comes after all others."""
    pairs = {(a.split(".")[0], b.split(".")[0]) for a, found in graph.items() for b in found}
    return {(a, b) for a, b in pairs if LEVEL.get(b, 99) > LEVEL.get(a, -1)}


def test_imports_point_to_rooms_above_or_beside():
    graph = imports()
    assert {room for name in graph if (room := name.split(".")[0]) not in LEVEL} == set()
    assert upward(graph) == STILL.keys()


def test_the_kernels_know_no_task_and_no_data():
    rooms = {b.split(".")[0] for a, found in imports().items() if a.startswith("native") for b in found}
    assert rooms <= {"native", "recurrence", "cells", "errors", "streams", "runs"}


def test_files_import_each_other_in_no_circle():
    assert circles(imports()) == set()


def test_an_upward_import_is_found():
    assert upward({"cells.gru": {"cells.cell", "native.engine"}, "native.engine": {"cells"}}) == {
        ("cells", "native")
    }


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {frozenset({"b", "c"})}
