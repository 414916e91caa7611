"""manifest.json: what a run was made with, written before training."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from rnnlab.runs.identity import leaves

# the packages and files of rnnlab that decide numbers; the rest may change without making a run stale
DECIDING = ("cells", "recurrence", "data", "tasks", "training", "native", "streams.py")

# whose changes a version or a hash of rnnlab's sources tells; what a stranger's folder may name is config/permitted.py
PARTS = (
    "rnnlab.cells.", "rnnlab.data.", "rnnlab.tasks.", "rnnlab.training.", "rnnlab.terminal.", "rnnlab.figures.",
    "rnnlab.instruments.", "rnnlab.tensorboard.",
    "torch.optim.", "torch.nn.", "lightning.pytorch.callbacks.", "lightning.pytorch.loggers.",
)  # fmt: skip

# variables of the environment that may change numbers; no other is recorded, for it may be secret
DECISIVE = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "PYTHONHASHSEED",
)  # fmt: skip
FLAGS = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
         "amx_tile", "amx_bf16", "neon", "asimd", "sve", "sve2")  # fmt: skip


def manifest(
    config: dict[str, Any], *, engine: dict[str, str], data_hash: str | None, command: list[str]
) -> dict[str, Any]:
    """Everything but the config itself: code, versions, machine, threads, engine, data, command."""
    import torch

    return {
        "command": command,
        "seed": config["seed"],
        "engine": engine,
        "data_hash": data_hash,
        "code": code(),
        "sources": sources(config),
        "files": files(config),
        "versions": versions(),
        "machine": machine(),
        "threads": {"torch": torch.get_num_threads(), "interop": torch.get_num_interop_threads()},
        "environment": {name: os.environ[name] for name in DECISIVE if name in os.environ},
        "determinism": {
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
        },
    }


@functools.cache
def code() -> dict[str, Any]:
    """The commit of the first of `repositories`, whether it was clean, and the diff if not."""
    here = next(iter(repositories()), None)
    commit = git(here, "rev-parse", "HEAD") if here else None
    if here is None or commit is None:
        return {"rnnlab": importlib.metadata.version("rnnlab"), "commit": None}
    diff = git(here, "diff", "HEAD") or ""
    return {
        "rnnlab": importlib.metadata.version("rnnlab"),
        "commit": commit.strip(),
        "clean": not (git(here, "status", "--porcelain") or "").strip(),
        "diff": diff[:1_000_000],
    }


def repositories() -> list[Path]:
    """That of the working folder, and that of rnnlab's own sources where they are kept in one; those there are."""
    package = Path(__file__).parents[1]
    found = [Path.cwd()] if git(Path.cwd(), "rev-parse", "HEAD") else []
    if git(package, "ls-files", "--error-unmatch", "__init__.py"):  # and not merely installed below one
        found.append(package)
    return found


def git(folder: Path, *words: str) -> str | None:
    """What git says there; None where it fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@functools.cache
def versions() -> dict[str, str]:
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return {"python": platform.python_version()} | dict(
        sorted(found.items(), key=lambda item: item[0].lower())
    )


@functools.cache
def machine() -> dict[str, Any]:
    import torch

    about: dict[str, Any] = {
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_flags": cpu_flags(),
        "cores": os.cpu_count(),
    }
    if torch.cuda.is_available():
        about["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        about["driver"] = gpu_driver()
        about["cuda"] = torch.version.cuda
        about["cudnn"] = torch.backends.cudnn.version()
    return about


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """The vector instructions of this machine's processor, of those that libraries choose kernels by."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                there = set(line.split(":", 1)[1].split())
                return [flag for flag in FLAGS if flag in there]
    except OSError:
        pass
    return []


def gpu_driver() -> str | None:
    """The version of NVIDIA's driver; None where it cannot be told."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().partition("\n")[0] or None


@functools.cache
def rnnlab_sources() -> str:
    """SHA-256 over the sources of rnnlab that decide numbers."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for name in DECIDING:
        place = root / name
        files = (
            sorted(p for p in place.rglob("*") if p.suffix in (".py", ".c", ".h"))
            if place.is_dir()
            else [place]
        )
        for file in files:
            if file.is_file():
                digest.update(f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()


@functools.cache
def torch_version() -> str:
    """Of the installed package: a sweep asks without importing torch."""
    return importlib.metadata.version("torch")


def sources(config: dict[str, Any]) -> dict[str, str]:
    """What decides numbers beside the config: {"rnnlab": hash, "torch": version, a user's module: hash}."""
    found = {"rnnlab": rnnlab_sources(), "torch": torch_version()}
    for target in sorted(foreign_targets(config)):
        module = target.rsplit(".", 1)[0]
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.origin and Path(spec.origin).is_file():
            found[module] = hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    return found


def files(config: dict[str, Any]) -> dict[str, str]:
    """The files that the data and the model are read from: {key of the config: SHA-256}."""
    named = leaves({part: config.get(part, {}) for part in ("data", "model")})
    found = {key: _hash_of(value) for key, value in named.items() if isinstance(value, str)}
    return {key: digest for key, digest in found.items() if digest}


def _hash_of(path: str) -> str | None:
    try:
        about = Path(path).expanduser().stat()
    except (OSError, ValueError, RuntimeError):
        return None
    if not stat.S_ISREG(about.st_mode):
        return None
    return _hash(path, about.st_size, about.st_mtime_ns, about.st_ino)


@functools.cache
def _hash(path: str, *version: int) -> str | None:
    """Once for each version of a file, for a thousand runs may share it."""
    digest = hashlib.sha256()
    try:
        with Path(path).expanduser().open("rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def foreign_targets(node: Any) -> set[str]:
    """The dotted paths in a config that lead out of the parts of rnnlab, torch and lightning."""
    targets: set[str] = set()
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_" and not isinstance(value, str):
                targets.add(repr(value))
            elif key == "_target_" or (key == "cell" and isinstance(value, str) and "." in value):
                targets.add(value)
            else:
                targets |= foreign_targets(value)
    elif isinstance(node, list):
        for value in node:
            targets |= foreign_targets(value)
    return {target for target in targets if not target.startswith(PARTS)}


def stale(recorded: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Why the numbers of a run with this manifest might come out otherwise today; [] when they would not."""
    then, today = recorded.get("sources", {}), sources(config)
    changed = [
        f"{name} has changed" if name != "torch" else f"torch was {then.get(name)}, is {today.get(name)}"
        for name in sorted(then.keys() | today.keys())
        if then.get(name) != today.get(name)
    ]
    read, there = recorded.get("files", {}), files(config)
    return changed + [f"the file of {key} has changed" for key in sorted(read) if read[key] != there.get(key)]


def recorded_threads(recorded: dict[str, Any]) -> int | None:
    """How many threads torch had: its kernels may round otherwise with another number. None where none is told."""
    n = recorded.get("threads", {}).get("torch")
    return n if isinstance(n, int) and 1 <= n <= 1024 else None


def command_line() -> list[str]:
    """The words of this process's command, its program by name alone."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
