"""Records the code and files that decide a run's numbers. A run is stale when they have changed since.

Code is compared by its syntax tree: comments, docstrings and layout do not count. A user's module is also recorded by
its bytes, because ownership (`rnnlab.runs.ownership`) requires exactly the same file.
"""

import functools
import gc
import hashlib
import importlib.metadata
import importlib.util
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rnnlab.config.inner import BY_NAME
from rnnlab.errors import UserError
from rnnlab.regular_files import from_home
from rnnlab.runs import syntax as how
from rnnlab.runs.cache import cache_folder
from rnnlab.runs.files import write_whole
from rnnlab.runs.imports import own_imports
from rnnlab.runs.record import Manifest
from rnnlab.runs.run import Run
from rnnlab.runs.syntax import syntax

# the packages and files of rnnlab that decide numbers; a change of others does not make a run stale
DECIDING_SOURCES = ("cells", "recurrence", "data", "tasks", "training", "native", "streams.py")

READING = ("data", "model")  # the sections of a config that may name files to read
# modules whose code is not the user's: they are known by rnnlab's sources or by a version (not a list of what is safe)
KNOWN = (
    "rnnlab.cells.", "rnnlab.data.", "rnnlab.tasks.", "rnnlab.training.", "rnnlab.terminal.", "rnnlab.figures.",
    "rnnlab.instruments.", "rnnlab.tensorboard.",
    "torch.", "lightning.pytorch.callbacks.", "lightning.pytorch.loggers.",
    "pathlib.Path", "builtins.tuple",
)  # fmt: skip


def hash_sources(root: Path) -> str:
    """SHA-256 over the syntax of those sources below `root` (rnnlab's folder) that decide numbers.

    Parsing takes 0.2 s, so the result is cached under the hash of the sources' bytes (5 ms).
    """
    found = {file.relative_to(root).as_posix(): file.read_bytes() for file in _files(root)}
    content = hashlib.sha256(b"".join(Path(file).read_bytes() for file in (__file__, how.__file__)))
    for name, source in found.items():
        content.update(f"\0{name}\0{len(source)}\0".encode() + source)
    cached = cache_folder() / f"sources-{content.hexdigest()[:32]}"
    with suppress(OSError, ValueError):
        if re.fullmatch(r"[0-9a-f]{64}", known := cached.read_text()):
            return known
    digest = hashlib.sha256()
    was_collecting = gc.isenabled()
    gc.disable()  # takes half the time: syntax trees are many objects and no garbage
    try:
        for name, source in found.items():
            digest.update(f"{name}\0{syntax(name, source)}\0".encode(errors="replace"))
    finally:
        if was_collecting:
            gc.enable()
    with suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cached, digest.hexdigest().encode())
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for name in DECIDING_SOURCES:
        if (root / name).is_dir():
            yield from sorted(
                p for p in (root / name).rglob("*") if p.suffix in (".py", ".c", ".h") and p.is_file()
            )
        elif (root / name).is_file():
            yield root / name


@functools.cache
def rnnlab_sources() -> str:
    return hash_sources(Path(__file__).parents[1])


@functools.cache
def torch_version() -> str:
    """The version of the installed torch, without importing it, for sweeps."""
    return importlib.metadata.version("torch")


def sources(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The code that decides numbers, as in the manifest.

    {"sources": {"rnnlab": hash of its syntax, "torch": version, a user's module: SHA-256 of its bytes},
    "syntax": {a user's module: hash of its syntax}, "imports": {a user's module imported by these: the same hash}}
    """
    return _sources(foreign_targets(config))


def _sources(targets: Iterable[str]) -> dict[str, dict[str, str]]:
    found, meaning = {"rnnlab": rnnlab_sources(), "torch": torch_version()}, dict[str, str]()
    places = dict[str, Path]()
    for target in sorted(targets):
        if target.startswith("rnnlab.runs.objects."):  # objects in memory, which have no source
            continue
        module, place = _module(target)
        if place is not None:
            content = place.read_bytes()
            found[module] = hashlib.sha256(content).hexdigest()
            places[module] = place
            meaning[module] = _meaning(place, content)
    imports = {name: _kept_meaning(file, file.stat().st_mtime_ns, file.stat().st_size)
               for name, file in sorted(own_imports(places).items())}  # fmt: skip
    return {"sources": found, "syntax": meaning, "imports": imports}


def _module(target: str) -> tuple[str, Path | None]:
    """(name, file) of the module that holds a target, such as mine.Model or mine.Model.load; None for no file."""
    module = target
    while "." in module:
        module = module.rpartition(".")[0]
        with suppress(Exception):  # looking for a module imports the packages around it
            if (spec := importlib.util.find_spec(module)) is not None:
                place = Path(spec.origin or "")
                return module, place if place.is_file() else None
    return module, None


def _meaning(file: Path, content: bytes) -> str:
    return hashlib.sha256(syntax(str(file), content).encode(errors="replace")).hexdigest()


@functools.cache
def _kept_meaning(file: Path, *version: int) -> str:
    """The syntax hash of a file; cached by version, because a thousand runs may import the file."""
    return _meaning(file, file.read_bytes())


def files(config: Mapping[str, Any]) -> dict[str, str]:
    """{key of the config: SHA-256} of the files that the data and the model read, also of initial weights."""
    return {k: v for part in READING for k, v in _files_of(part, config.get(part, {})).items()}


def _files_of(part: str, node: Any) -> dict[str, str]:
    found = {key: _hash_of(text) for key, text in _texts(node, part)}
    return {key: digest for key, digest in found.items() if digest}


def _texts(node: Any, at: str) -> Iterator[tuple[str, str]]:
    """(dotted key, text) of the texts in a config, also of those in lists."""
    if isinstance(node, str):
        yield at, node
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield from _texts(value, f"{at}.{key}")


def _hash_of(path: str) -> str | None:
    """SHA-256 of a file, or of the best weights in a run's folder (`model.init_from`); None where there is neither."""
    try:
        file = from_home(path)
        if (run := Run(file)).is_there:
            file = run.best_checkpoint
        about = file.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(about.st_mode):
        return None
    return _hash(file, about.st_size, about.st_mtime_ns, about.st_ino)


@functools.cache
def _hash(file: Path, *version: int) -> str | None:
    """SHA-256 of a file's bytes; cached by version, because a thousand runs may share the file."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def foreign_targets(node: Any) -> set[str]:
    """The dotted paths in a config that name code outside rnnlab, torch and lightning."""
    return {target for target in _targets(node) if not target.startswith(KNOWN)}


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, (dict, list)) and key != "_target_":
                yield from _targets(value)
            elif key == "_target_" and value == BY_NAME:
                yield str(node.get("path"))
            elif key == "_target_":
                yield value if isinstance(value, str) else repr(value)
            elif key == "cell" and isinstance(value, str) and "." in value:
                yield value
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


class Today:
    """`sources` and `files` as they are now, for many runs: looked up once for all runs that share a config section."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, int], tuple[Any, set[str], dict[str, str]]] = {}
        self._code: dict[frozenset[str], dict[str, dict[str, str]]] = {}

    def about(self, config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """`sources` and "files" of a config."""
        targets, read = set[str](), dict[str, str]()
        for name, section in config.items():
            if isinstance(section, dict):
                key = name, id(section)
                if key not in self._of:  # keeping a reference to the section keeps its id unique
                    found = _files_of(name, section) if name in READING else {}
                    self._of[key] = section, foreign_targets({name: section}), found
                _, own, files_ = self._of[key]
                targets |= own
                read |= files_
        code = frozenset(targets)
        if code not in self._code:
            self._code[code] = _sources(code)
        return self._code[code] | {"files": read}


def stale(recorded: Manifest, config: Mapping[str, Any], at: Today | None = None) -> list[str]:
    """Reasons why the numbers of a run with this manifest might differ today; [] where there are none."""
    now = (at or Today()).about(config)
    read, there = recorded.get("files", {}), now["files"]
    return changed_code(recorded, now) + [
        f"the file of {key} has changed" for key in sorted(read) if read[key] != there.get(key)
    ]


def changed_code(recorded: Mapping[str, Any], now: Mapping[str, dict[str, str]]) -> list[str]:
    """What differs between the code in a manifest and that of `sources`, a phrase for each module; [] for nothing."""
    then, today = recorded.get("sources", {}), now["sources"]
    said, says = recorded.get("syntax", {}), now["syntax"]
    changed = [
        f"{name} has changed" if name != "torch" else f"torch was {then.get(name)}, is {today.get(name)}"
        for name in sorted(then.keys() | today.keys())
        if then.get(name) != today.get(name) and not (name in said and said[name] == says.get(name))
    ]
    used, uses = recorded.get("imports", {}), now["imports"]
    return changed + [
        f"the imported module {name} has changed" for name in sorted(used) if used[name] != uses.get(name)
    ]


def why_stale(run: Run, config: Mapping[str, Any], today: Today | None = None) -> list[str]:
    """Reasons why a finished run's numbers might differ today, or why that is unknown; [] where there are none."""
    try:
        recorded = run.manifest
    except UserError as error:
        return [str(error)]
    return stale(recorded, config, today)
