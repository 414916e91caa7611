"""The holder of a lock: a process, identified by machine, process id and start time, because ids are reused."""

import os
import secrets
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LONG = 300  # bytes: longer than any holder's text


@dataclass(frozen=True)
class Holder:
    machine: str  # host name
    boot: str  # the kernel's id of this boot; "" where there is none
    pid: int
    began: str  # the start time of the process in clock ticks since boot; "" where the kernel does not tell
    lock: str  # random: tells this lock from others of the same process

    def __str__(self) -> str:
        return f"{self.pid} on {self.machine}"

    @classmethod
    def here(cls) -> "Holder":
        return cls(machine(), boot(), os.getpid(), began(os.getpid()), secrets.token_hex(4))

    @classmethod
    def read(cls, path: Path) -> "Holder | None":
        """The holder named in a lock's file; None where there is none, or only part of one."""
        with path.open("rb") as file:
            parts = file.read(LONG).decode(errors="replace").split("\n")
        if len(parts) != 6 or not parts[2].isdecimal():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3], parts[4])

    def text(self) -> str:
        return "\n".join([self.machine, self.boot, str(self.pid), self.began, self.lock, ""])

    def lives(self) -> bool:
        """Whether the process is known to run on this machine."""
        return bool(self.boot and self.began) and self.boot == boot() and began(self.pid) == self.began

    def is_elsewhere(self) -> bool:
        """Whether the holder is on another machine, whose processes cannot be seen from here. Machines may have equal
        names; the id of the boot tells them apart, and a machine from itself before it was started again.
        """
        return (self.machine, self.boot) != (machine(), boot())


def machine() -> str:
    return " ".join(socket.gethostname().split())[:100]


@cache
def boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def began(pid: int) -> str:
    """The start time of a process of this machine; "" where there is none, or the kernel does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
