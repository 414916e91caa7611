"""Finds the user's modules that the modules in a config import, because their code decides numbers, too.

Only import statements are read, wherever they stand; no module is imported for this.
"""

import ast
import functools
import sys
from collections.abc import Iterator, Mapping
from importlib.util import resolve_name
from pathlib import Path

from rnnlab.runs.ownership import OWN_PACKAGES, find, is_installed


def own_imports(modules: Mapping[str, Path]) -> dict[str, Path]:
    """{name: file} of the user's modules that these modules import, directly or through others."""
    found: dict[str, Path] = {}
    waiting = list(modules.items())
    while waiting:
        module, file = waiting.pop()
        about = file.stat()
        for name in _imported(module, file, about.st_mtime_ns, about.st_size):
            if name not in found and name not in modules and (place := _own(name)) is not None:
                found[name] = place
                waiting.append((name, place))
    return found


@functools.cache
def _imported(module: str, file: Path, *version: int) -> tuple[str, ...]:
    """All imported names that may be modules, and their parent packages."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names = [package, *(name for node in ast.walk(tree) for name in _names(node, package))]
    around = (
        ".".join(parts[:n]) for name in names for parts in [name.split(".")] for n in range(1, len(parts))
    )
    return tuple(dict.fromkeys(name for name in (*names, *around) if name))


def _names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        try:
            base = resolve_name("." * node.level + (node.module or ""), package)
        except ImportError:  # beyond the outermost package
            return
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _own(module: str) -> Path | None:
    """The file of a module, if it is the user's own; None for others, and for names that are no module."""
    if module.partition(".")[0] in (*OWN_PACKAGES, "torch", "lightning", "numpy", *sys.stdlib_module_names):
        return None
    spec = find(module)
    place = Path(spec.origin).resolve() if spec is not None and spec.origin else None
    if place is None or place.suffix != ".py" or not place.is_file() or is_installed(place):
        return None
    return place
