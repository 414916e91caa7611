"""Refuses requests that need more than the free memory, before the system runs out of it."""

import os
import sys
from pathlib import Path

from rnnlab.errors import UserError

SMALL = 1 << 28  # requests of at most so many bytes are not checked
MEMINFO = Path("/proc/meminfo")


def check_memory(size: float, asked: str) -> None:
    """Raises UserError if `asked` would need more than the free memory; `size` is its approximate need in bytes."""
    if size > SMALL and size > (there := free()):
        raise UserError(f"{asked} would take about {_shown(size)} of memory, and {_shown(there)} is free")


def _shown(size: float) -> str:
    return f"{size / 1e9:,.3g} GB" if size < 1e15 else f"{size:.0e} bytes"


def free() -> int:
    """Bytes that this process may still use, by the machine, its control groups and its own limit."""
    limits = [_of_the_machine(), *_of_the_groups()]
    try:
        import resource
    except ImportError:  # Windows
        return min(limits)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min([*limits, *([limit] if limit != resource.RLIM_INFINITY else [])])


def _of_the_machine() -> int:
    """Available memory and free swap; the total memory if the system does not say what is available."""
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        return sum(int(lines[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def _of_the_groups() -> list[int]:
    """The bytes left in each control group of this process, such as a container's or a scheduler's."""
    try:
        path = next(
            line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"
        )
    except (OSError, StopIteration):
        return []
    here, left = Path("/sys/fs/cgroup") / path.strip("/"), []
    for group in (here, *here.parents):
        try:
            most, now = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
            about = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            left.append(most - now + int(about["inactive_file"]))
        except (OSError, ValueError, KeyError):  # "max": no bound
            continue
    return left
