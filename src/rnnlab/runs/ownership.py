"""Decides whether the code that a run's config names is the user's own, by its bytes, without importing it."""

import ast
import hashlib
import sys
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from rnnlab.import_path import is_a_runs
from rnnlab.runs.run import Run

OWN_PACKAGES = ("rnnlab", "hydra_plugins")


def is_own(run: Run, target: str, functions: bool = False) -> bool:
    """Whether `target` is a class in a module that is the user's own and has the bytes that the manifest records.

    A module is the user's own if Python finds it beside the command or on PYTHONPATH, but not in rnnlab or an
    installation (their bytes are public), not in the outputs (which may hold a stranger's folder), and not in a run's
    folder. The module must define the class itself; imported names do not count. With `functions` a function counts,
    too.
    """
    module, _, name = target.rpartition(".")
    recorded, top = run.manifest.get("sources", {}).get(module), module.partition(".")[0]
    if not recorded or top in OWN_PACKAGES or top in sys.stdlib_module_names:
        return False
    spec = find(module)
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return False
    place, folder = Path(spec.origin).resolve(), run.folder.resolve()
    package = place.parents[len(module.split(".")) - 1] / top  # of the top-level package, if it is one
    if place.is_relative_to(folder.parent.parent) or folder.is_relative_to(package):
        return False
    if is_a_runs(place.parent) or is_installed(place):
        return False
    source = place.read_bytes()
    return hashlib.sha256(source).hexdigest() == recorded and defines(source, name, functions)


def find(module: str) -> ModuleSpec | None:
    """The spec of a module, searched through regular packages only, because any folder is a namespace package."""
    path: list[str] | None = [*sys.path, str(Path.cwd())]
    name, spec = "", None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path) if path else None
        if spec is None or spec.origin is None:
            return None
        path = spec.submodule_search_locations
    return spec


def is_installed(place: Path) -> bool:
    """Whether a file belongs to Python or was installed by pip or the system, so that its bytes are public."""
    library = {
        Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    packages = {"site-packages", "dist-packages"}
    return not packages.isdisjoint(place.parts) or any(place.is_relative_to(folder) for folder in library)


def defines(source: bytes, name: str, functions: bool) -> bool:
    """Whether a module's source defines a class (or, with `functions`, a function) of this name."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    kinds = (ast.ClassDef, ast.FunctionDef) if functions else ast.ClassDef
    return any(isinstance(statement, kinds) and statement.name == name for statement in body)
