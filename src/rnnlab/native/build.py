"""The kernels as a shared library, compiled at first use by the system's compiler and kept in a cache.

The cache's key holds everything that the result depends on: the sources, the flags, the compiler's version and
the macros by which it describes this CPU. The library is written whole, put on the disk and renamed, so that processes
may race. Its name ends with its own SHA-256, by which a damaged one is known before it is loaded: half a library would
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
from rnnlab.runs.files import settle

SOURCES = Path(__file__).parent / "csrc"
COMPILERS = ("cc", "gcc", "clang")
# -ffast-math is left out for good: it changes bits, gains nothing here, and loading a library built with it
# makes the whole process flush denormals to zero.
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
TUNING = ("-march=native", "-mcpu=native")  # the first that the compiler takes
WIDE = "-mprefer-vector-width=512"
TIMEOUT = 900  # seconds; a machine may be busy, and without the library another engine gives other bits


class BuildError(Exception):
    """Why there is no library, in one line."""


@dataclass(frozen=True)
class Built:
    """A compiled library, and how it was made."""

    path: Path
    compiler: str
    isa: str
    seconds: float
    """What compiling took; 0 where the cache had it."""
    flags: tuple[str, ...] = field(default=(), compare=False)
    extra: tuple[str, ...] = field(default=(), compare=False)
    """Those of the flags that were asked for."""


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
    """The library, from the cache or compiled now. `extra` flags come last. Raises BuildError."""
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
    """The library of one cell's functions, by the compiler and with the flags of the core. Raises BuildError."""
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
    """Of the processes that share a cache, one compiles a library: the others find what it has compiled."""
    lock = cache_folder() / f"{name}.lock"
    handle = None
    with suppress(OSError):  # the compiling itself says why the folder cannot be had
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):  # another user's, in a folder where each removes only their own
                lock.unlink()  # who comes now finds the library
            os.close(handle)


def _kept(name: str) -> Path | None:
    """The cached library that is whole; those that are damaged are removed."""
    found: list[Path] = []
    for folder in cache_folders():
        with suppress(OSError):  # nobody may look into it
            found += sorted(folder.glob(f"{name}-*.so"))
    for path in found:
        with suppress(OSError):  # gone meanwhile, or nobody may read it
            if path.stem == f"{name}-{_checksum(path)}":
                return path
            path.unlink()
    return None


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:24]


def _target(compiler: str, extra: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The flags that fit this CPU, and the macros that the compiler defines under them."""
    chosen = [flag for flag in extra if flag.startswith("-march")]
    attempts = [()] if chosen else [(flag,) for flag in TUNING] + [()]
    for tuning in attempts:
        asked = (*tuning, *(flag for flag in extra if flag.startswith(("-m", "-f"))))
        try:
            macros = _ask(compiler, (*asked, "-dM", "-E", "-x", "c", os.devnull))
        except BuildError:
            if extra or tuning:
                continue
            raise  # a compiler that cannot do this much: its own words say why
        return (*tuning, *((WIDE,) if "__AVX512F__" in macros else ())), macros
    raise BuildError(f"{compiler} does not take the flags {' '.join(extra)}")


def _isa(macros: str) -> str:
    """What the kernels will be made of. Raises BuildError where each multiply-add would be a function call."""
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
            # without PATH a compiler is found, but not by it its linker; its words are looked for "error"
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
    """The core's library, or that of a cell's `text`."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = f"{folder / name}.{secrets.token_hex(8)}.partial"
        # with the rights that the umask leaves, so that users who share a cache can read each other's libraries
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
        with Path(partial).open("rb") as written:  # the linker may have made the file anew
            os.fsync(written.fileno())
        path = folder / f"{name}-{_checksum(Path(partial))}.so"
        Path(partial).replace(path)
        settle(folder)
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
    """Raises BuildError where the library cannot be loaded."""
    try:
        return ctypes.CDLL(str(built.path))
    except OSError as error:
        raise BuildError(f"cannot load {built.path}: {error}") from None
