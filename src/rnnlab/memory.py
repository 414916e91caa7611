"""What memory there is, so that what cannot fit is refused in a line and does not end the machine."""

import os
import sys
from pathlib import Path

from rnnlab.errors import UserError

SMALL = 1 << 28  # bytes for which nobody looks
MEMINFO = Path("/proc/meminfo")


def afford(size: float, asked: str) -> None:
    """Raises UserError where `asked` takes more than the memory that is free; `size` in bytes, about."""
    if size > SMALL and size > (there := free()):
        raise UserError(f"{asked} would take about {_shown(size)} of memory, and {_shown(there)} is free")


def _shown(size: float) -> str:
    return f"{size / 1e9:,.3g} GB" if size < 1e15 else f"{size:.0e} bytes"


def free() -> int:
    """Bytes that this process may still take: of the machine's, of its group's and by its own limit."""
    limits = [_of_the_machine(), *_of_the_groups()]
    try:
        import resource
    except ImportError:  # Windows
        return min(limits)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min([*limits, *([limit] if limit != resource.RLIM_INFINITY else [])])


def _of_the_machine() -> int:
    """Memory that is available without freeing anything, and swap; all memory where the system does not say."""
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
    """What the control groups of this process leave: a container's or a scheduler's bound."""
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
