"""Whose code a run's config names. The user's own is known by its bytes, and nothing is imported to find out."""

import hashlib
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from rnnlab.ledger.run import Run


def is_own(run: Run, target: str) -> bool:
    """Whether the module of `target` is, byte for byte, the one that the run's manifest records, and the user's.

    The user's is what Python finds beside the command or on PYTHONPATH: not in Python's own installation, whose
    bytes anybody knows, and not among the outputs, where a stranger's folder may lie.
    """
    module = target.rpartition(".")[0]
    recorded = run.manifest.get("sources", {}).get(module)
    spec = find(module) if recorded else None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return False
    place, outputs = Path(spec.origin).resolve(), run.folder.resolve().parent.parent
    if place.is_relative_to(outputs) or any(place.is_relative_to(folder) for folder in installation()):
        return False
    return hashlib.sha256(place.read_bytes()).hexdigest() == recorded


def find(module: str) -> ModuleSpec | None:
    """Where a module lies, looked for through regular packages alone: any folder is a namespace package."""
    path, name, spec = None, "", None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None:
            return None
        path = spec.submodule_search_locations
    return spec


def installation() -> set[Path]:
    return {
        Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
