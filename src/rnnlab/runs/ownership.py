"""Whose code a run's config names. The user's own is known by its bytes, and nothing is imported to find out."""

import ast
import hashlib
import sys
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from rnnlab.import_path import is_a_runs
from rnnlab.runs.run import Run

OURS = ("rnnlab", "hydra_plugins")


def is_own(run: Run, target: str, functions: bool = False) -> bool:
    """Whether `target` is a class of a module that is the user's and, byte for byte, the one that the manifest records.

    The user's is what Python finds beside the command or on PYTHONPATH: not in rnnlab or an installation, whose
    bytes anybody knows, not among the outputs, where a stranger's folder may lie, and not in any run's folder. The
    module must define the class itself: what it imports from elsewhere is not the user's. A function counts where
    `functions` is set.
    """
    module, _, name = target.rpartition(".")
    recorded, top = run.manifest.get("sources", {}).get(module), module.partition(".")[0]
    if not recorded or top in OURS or top in sys.stdlib_module_names:
        return False
    spec = find(module)
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return False
    place, folder = Path(spec.origin).resolve(), run.folder.resolve()
    package = place.parents[len(module.split(".")) - 1] / top  # the outermost, if it is one
    if place.is_relative_to(folder.parent.parent) or folder.is_relative_to(package):
        return False
    if is_a_runs(place.parent) or is_installed(place):
        return False
    source = place.read_bytes()
    return hashlib.sha256(source).hexdigest() == recorded and defines(source, name, functions)


def find(module: str) -> ModuleSpec | None:
    """Where a module lies, looked for through regular packages alone: any folder is a namespace package."""
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
    """Whether a file came with Python, or was installed by pip or by the system, for anybody to know."""
    library = {
        Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    packages = {"site-packages", "dist-packages"}
    return not packages.isdisjoint(place.parts) or any(place.is_relative_to(folder) for folder in library)


def defines(source: bytes, name: str, functions: bool) -> bool:
    """Whether a module's text defines a class, or a function if they count, of this name."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    kinds = (ast.ClassDef, ast.FunctionDef) if functions else ast.ClassDef
    return any(isinstance(statement, kinds) and statement.name == name for statement in body)
