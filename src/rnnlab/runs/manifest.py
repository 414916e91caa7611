"""manifest.json: the code, versions, machine and data of a run, written before training."""

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rnnlab import __version__
from rnnlab.config.run_config import RunConfig
from rnnlab.errors import UserError, warn
from rnnlab.import_path import is_a_runs
from rnnlab.runs.kept_source import kept
from rnnlab.runs.objects import not_reproducible
from rnnlab.runs.record import Manifest
from rnnlab.runs.sources import files, foreign_targets, sources

CONFIG_DIR = ("--config-dir", "-cd")
# environment variables that may change numbers; others are not recorded, because they may be secret
DECISIVE = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "PYTHONHASHSEED",
)  # fmt: skip
FLAGS = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
         "amx_tile", "amx_bf16", "neon", "asimd", "sve", "sve2")  # fmt: skip


def manifest(
    config: RunConfig, *, engine: dict[str, str], data_hash: str | None, command: list[str]
) -> dict[str, Any]:
    """Everything but the config itself: code, versions, machine, threads, engine, data, command."""
    import torch

    found = {
        "command": command,
        "seed": config["seed"],
        "engine": engine,
        "data_hash": data_hash,
        "code": code(),
        **sources(config),
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
    modules = (target.rpartition(".")[0] for target in sorted(foreign_targets(config)))
    beyond = {"kept_sources": kept(modules), "not_reproducible": not_reproducible(config)}
    return found | {key: value for key, value in beyond.items() if value}


# options by which a diff can be applied, whatever the user's own settings are
APPLICABLE = (
    "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/",
    "--submodule=short",
)  # fmt: skip


@functools.cache
def code() -> dict[str, Any]:
    """The commit of the first of `repositories`, whether the working tree was clean, and the diff if not."""
    here = next(iter(repositories()), None)
    commit = git(here, "rev-parse", "HEAD") if here else None
    if here is None or commit is None:
        return {"rnnlab": __version__, "commit": None}
    plain = ["--ignore-submodules=dirty"]  # else git runs in each submodule, with that one's config
    diff = git(here, "diff", *APPLICABLE, *plain, "HEAD") or ""
    status = git(here, "status", "--porcelain", *plain)
    return {
        "rnnlab": __version__,
        "commit": commit.strip(),
        "clean": status is not None and not status.strip(),
        "diff": os.fsencode(diff).decode(errors="replace")[:1_000_000],
    }


def repositories() -> list[Path]:
    """The repositories of the working folder and of rnnlab's own sources, as far as they exist.

    A repository inside a run's folder is left out: it may be a stranger's, and git would run commands of its config.
    """
    package, here = Path(__file__).parents[1], Path.cwd()
    top = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)
    its = git(here, "rev-parse", "--absolute-git-dir") or ""  # of a bare repository: the folder itself
    theirs = is_a_runs(Path(its.strip())) or (top is not None and is_a_runs(top))
    found = [here] if not theirs and git(here, "rev-parse", "HEAD") else []
    if git(package, "ls-files", "--error-unmatch", "__init__.py"):  # not only installed below one
        found.append(package)
    return found


# settings that keep a repository's own config from running programs
INERT = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "status.submoduleSummary=false")
EARLIEST = (2, 31)  # the first git that reads settings from the environment; they switch filters off
OFF = {"clean": "", "smudge": "", "process": "", "required": "false"}  # settings of a filter


def git(folder: Path, *words: str) -> str | None:
    """The output of git in a folder, as `os.fsdecode` reads it; None where it fails or is not installed.

    The repository may be a stranger's, so git runs no hook, no monitor and no filter of it, and fetches nothing. A git
    that cannot switch filters off is not asked for changes.
    """
    if words[0] in ("diff", "status") and _too_old():
        return None
    return _git(folder, _filters_off(folder) if words[0] in ("diff", "status") else {}, *words)


def inert(folder: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    """A git command that runs no program of the repository's config, and the environment that it needs.

    Raises UserError where git is too old for that.
    """
    if _too_old():
        raise UserError(f"needs git {'.'.join(map(str, EARLIEST))} or newer")
    return _inert(folder, _filters_off(folder), *words)


@functools.cache
def _too_old() -> bool:
    """Whether git is older than `EARLIEST`; then it warns."""
    numbers = re.search(r"(\d+)\.(\d+)[\w.]*", _git(Path.cwd(), {}, "version") or "")
    if numbers is None or (int(numbers[1]), int(numbers[2])) >= EARLIEST:
        return False
    warn(f"git {numbers[0]} would run the filters that a repository names, and is not asked for changes that are not "
         f"committed; git {'.'.join(map(str, EARLIEST))} or newer is needed to record them")  # fmt: skip
    return True


def _filters_off(folder: Path) -> dict[str, str]:
    """Settings that switch off the filters of the repository's config; the user's own filters stay on."""
    listed = (
        _git(folder, {}, "config", "-z", "--show-scope", "--includes", "--get-regexp", r"^filter\.") or ""
    )
    fields = listed.split("\0")
    theirs = (
        at for scope, at in zip(fields[::2], fields[1::2], strict=False) if scope not in ("system", "global")
    )
    names = {at.partition("\n")[0].rpartition(".")[0] for at in theirs}
    return {f"{name}.{what}": value for name in names for what, value in OFF.items()}


def _inert(folder: Path, settings: Mapping[str, str], *words: str) -> tuple[list[str], dict[str, str]]:
    options = [word for setting in INERT for word in ("-c", setting)]
    about = {"GIT_OPTIONAL_LOCKS": "0", "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
    if settings:  # not by -c, because a filter's name may contain "="
        given = os.environ.get("GIT_CONFIG_COUNT", "")
        first = int(given) if given.isdecimal() else 0  # the user's own settings stay
        about["GIT_CONFIG_COUNT"] = str(first + len(settings))
        for i, (key, value) in enumerate(settings.items(), first):
            about |= {f"GIT_CONFIG_KEY_{i}": key, f"GIT_CONFIG_VALUE_{i}": value}
    return ["git", *options, "-C", str(folder), *words], os.environ | about


def _git(folder: Path, settings: Mapping[str, str], *words: str) -> str | None:
    command, environment = _inert(folder, settings, *words)
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None


@functools.cache
def versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        # reads only two fields: parsing the metadata of a hundred packages takes an eighth of a second
        head = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
        name, version = (re.search(rf"^{key}: *(.+)$", head, re.MULTILINE) for key in ("Name", "Version"))
        if name and version:
            found.setdefault(name[1], version[1])  # Python imports the first on the path
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
    """Those vector instructions of this machine's processor by which libraries choose kernels."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                there = set(line.split(":", 1)[1].split())
                return [flag for flag in FLAGS if flag in there]
    except OSError:
        pass
    return []


def gpu_driver() -> str | None:
    """The version of NVIDIA's driver; None where it is not known."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().partition("\n")[0] or None


def recorded_threads(recorded: Manifest) -> int | None:
    """How many threads torch used, on which its rounding may depend; None where that is not recorded."""
    n = recorded.get("threads", {}).get("torch")
    return n if isinstance(n, int) and 1 <= n <= 1024 else None


def command_line() -> list[str]:
    """The words of this process's command line; the program without its folder."""
    # an embedded Python may have none
    return [*(Path(program).name for program in sys.argv[:1]), *sys.argv[1:]]


def config_folders(command: Sequence[str]) -> list[str]:
    """The folders that a command line gives as --config-dir."""
    named = [after for word, after in pairwise(command) if word in CONFIG_DIR]
    named += [word.partition("=")[2] for word in command if word.partition("=")[0] in CONFIG_DIR]
    return [folder for folder in named if folder]


def manifest_rows(manifest: Mapping[str, Any], folder: Path) -> list[tuple[str, Any]]:
    """(title, value) rows of a manifest, for reports."""
    code, engine = manifest.get("code", {}), manifest.get("engine", {})
    commit = code.get("commit")
    if commit:
        commit = commit[:12] + ("" if code.get("clean") else ", with changes that were not committed")
    versions, machine = manifest.get("versions", {}), manifest.get("machine", {})
    shown = [f"{name} {versions[name]}" for name in ("python", "torch", "lightning") if name in versions]
    lost = manifest.get("not_reproducible")
    return [
        *([("not reproducible", "; ".join(lost))] if lost else []),
        ("folder", folder_link(folder)),
        ("run", folder.name),
        ("command", " ".join(manifest.get("command", []))),
        ("code", f"rnnlab {code.get('rnnlab', '')}, commit {commit or 'none'}"),
        ("engine", f"{engine.get('name')} ({engine.get('why')}); steps {engine.get('steps')}"),
        ("data", manifest.get("data_hash")),
        ("versions", ", ".join(shown)),
        ("machine", f"{machine.get('cpu')}, {machine.get('cores')} cores"),
        ("threads", manifest.get("threads", {}).get("torch")),
    ]


def folder_link(folder: Path) -> str:
    return folder.absolute().as_uri()
