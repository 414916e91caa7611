"""Compiles the kernels to a shared library, at first use, with the system's compiler; the result is cached.

The cache's key contains everything that the result depends on: the sources, the flags, the compiler's version and the
macros by which it describes this CPU. The library is written completely, synced and renamed, so that processes may
race. Its name ends with its own SHA-256, so that a damaged file is noticed before it is loaded: half a library would
end the process with SIGBUS.
"""

import ctypes
import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rnnlab.runs.cache import cache_folder, cache_folders
from rnnlab.runs.files import sync_folder

SOURCES = Path(__file__).parent / "csrc"
COMPILERS = ("cc", "gcc", "clang")
# Never -ffast-math: it changes bits, is not faster here, and loading a library built with it makes the whole process
# flush denormals to zero.
FLAGS = (
    "-std=gnu11",
    "-O3",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
    "-pthread",
    "-Wno-psabi",
)
TUNING = ("-march=native", "-mcpu=native")  # the first that the compiler accepts
WIDE = "-mprefer-vector-width=512"
TIMEOUT = 900  # seconds, for busy machines: without the library another engine would give other bits


class BuildError(Exception):
    """The library cannot be built or loaded; the message says why, in one line."""


@dataclass(frozen=True)
class Built:
    """A compiled library, and how it was built."""

    path: Path
    compiler: str
    isa: str
    seconds: float
    """Seconds for compiling; 0 where it came from the cache."""
    flags: tuple[str, ...] = field(default=(), compare=False)
    extra: tuple[str, ...] = field(default=(), compare=False)
    """Additional flags of the caller; also contained in the flags."""


def find_compiler() -> str:
    """$RNNLAB_CC, or the first of cc, gcc and clang. Raises BuildError."""
    asked = os.environ.get("RNNLAB_CC")
    for name in (asked,) if asked else COMPILERS:
        if found := shutil.which(name):
            return found
    raise BuildError(
        f"no C compiler: {f'RNNLAB_CC={asked} is not there' if asked else 'install gcc or clang'}"
    )


def sources() -> list[Path]:
    return sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")])


def build(compiler: str | None = None, extra: tuple[str, ...] = ()) -> Built:
    """The library of the core, from the cache or compiled now. `extra` flags come last. Raises BuildError."""
    compiler = compiler or find_compiler()
    tuning, macros = _target(compiler, extra)
    flags = (*FLAGS, *tuning, *extra)
    key = hashlib.sha256()
    for part in (*flags, _ask(compiler, ("--version",)), macros):
        key.update(part.encode() + b"\0")
    for source in sources():
        key.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    name = f"kernels-{key.hexdigest()[:24]}"
    seconds = 0.0
    path = _kept(name)
    if path is None:
        began = time.perf_counter()
        with _alone(name):
            path = _kept(name) or _compile(compiler, flags, name)
        seconds = time.perf_counter() - began
    return Built(path, compiler, _isa(macros), seconds, flags, extra)


def build_cell(core: Built, text: str) -> Built:
    """The library of one cell's functions (`text`), with the compiler and flags of the core. Raises BuildError."""
    key = hashlib.sha256(core.path.stem.encode() + text.encode())
    name = f"cell-{key.hexdigest()[:24]}"
    seconds = 0.0
    path = _kept(name)
    if path is None:
        began = time.perf_counter()
        with _alone(name):
            path = _kept(name) or _compile(core.compiler, core.flags, name, text)
        seconds = time.perf_counter() - began
    return Built(path, core.compiler, core.isa, seconds, core.flags)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Lets one process at a time compile a library; the others wait, and then find it in the cache."""
    lock = cache_folder() / f"{name}.lock"
    handle = None
    with suppress(OSError):  # compiling itself reports why the folder cannot be used
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):  # another user's file, in a folder with the sticky bit
                lock.unlink()  # later processes find the library
            os.close(handle)


def _kept(name: str) -> Path | None:
    """The intact cached library of this name; None where there is none. Removes damaged ones."""
    found: list[Path] = []
    for folder in cache_folders():
        with suppress(OSError):  # the folder may not be read
            found += sorted(folder.glob(f"{name}-*.so"))
    for path in found:
        with suppress(OSError):  # removed meanwhile, or not readable
            if path.stem == f"{name}-{_checksum(path)}":
                return path
            path.unlink()
    return None


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:24]


def _target(compiler: str, extra: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The flags for this CPU, and the macros that the compiler defines with these flags."""
    chosen = [flag for flag in extra if flag.startswith("-march")]
    attempts = [()] if chosen else [(flag,) for flag in TUNING] + [()]
    for tuning in attempts:
        asked = (*tuning, *(flag for flag in extra if flag.startswith(("-m", "-f"))))
        try:
            macros = _ask(compiler, (*asked, "-dM", "-E", "-x", "c", os.devnull))
        except BuildError:
            if extra or tuning:
                continue
            raise  # the compiler does not work at all; its message says why
        return (*tuning, *((WIDE,) if "__AVX512F__" in macros else ())), macros
    raise BuildError(f"{compiler} does not take the flags {' '.join(extra)}")


def _isa(macros: str) -> str:
    """The instruction set of the kernels. Raises BuildError where it has no fused multiply-add (slow in software)."""
    if "__AVX512F__" in macros:
        return "AVX-512"
    if "__AVX__" in macros and "__FMA__" in macros:
        return "AVX2"
    if "__ARM_NEON" in macros and "__aarch64__" in macros:
        return "NEON"
    raise BuildError(
        "this CPU has no fused multiply-add that the kernels know (AVX2, AVX-512 or 64-bit NEON)"
    )


def _ask(compiler: str, arguments: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [compiler, *arguments],
            # without PATH the compiler does not find its linker; in English messages "error" can be searched
            env={"PATH": os.defpath, **os.environ, "LC_ALL": "C"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{compiler} failed: {_first_line(error)}") from None
    return done.stdout


def _compile(compiler: str, flags: tuple[str, ...], name: str, text: str | None = None) -> Path:
    """Compiles the core's library, or that of a cell's `text`; returns its path."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = f"{folder / name}.{secrets.token_hex(8)}.partial"
        # permissions by the umask, so that users who share a cache can read each other's libraries
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise BuildError(f"cannot write to {folder}: {error.strerror}; set RNNLAB_CACHE") from None
    try:
        if text is None:
            files = [str(source) for source in sources() if source.suffix == ".c"]
        else:
            source = Path(f"{partial}.c")
            source.write_text(text, encoding="utf-8")
            files = ["-I", str(SOURCES), str(source)]
        _ask(compiler, (*flags, *files, "-o", partial, "-lm"))
        with Path(partial).open("rb") as written:  # open again: the linker may have replaced the file
            os.fsync(written.fileno())
        path = folder / f"{name}-{_checksum(Path(partial))}.so"
        Path(partial).replace(path)
        sync_folder(folder)
        return path
    except OSError as error:
        raise BuildError(f"cannot write to {folder}: {error.strerror}; set RNNLAB_CACHE") from None
    finally:
        Path(partial).unlink(missing_ok=True)
        Path(f"{partial}.c").unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    lines = [line for line in str(said).splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "it said nothing")


def load(built: Built) -> ctypes.CDLL:
    """Loads a library. Raises BuildError where that fails."""
    try:
        return ctypes.CDLL(str(built.path))
    except OSError as error:
        raise BuildError(f"cannot load {built.path}: {error}") from None
