"""Who holds a lock: a process by its machine, its id and when it began, for ids are given out again."""

import os
import secrets
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LONG = 300  # bytes: more than any name


@dataclass(frozen=True)
class Holder:
    machine: str  # its name
    boot: str  # what the kernel calls this run of the machine; "" where it does not
    pid: int
    began: str  # in the kernel's ticks; "" where it does not say
    lock: str  # this lock among those of the process

    def __str__(self) -> str:
        return f"{self.pid} on {self.machine}"

    @classmethod
    def here(cls) -> "Holder":
        return cls(machine(), boot(), os.getpid(), began(os.getpid()), secrets.token_hex(4))

    @classmethod
    def read(cls, path: Path) -> "Holder | None":
        """Whose name stands in a lock's file; None for nobody's, or none that is whole."""
        with path.open("rb") as file:
            parts = file.read(LONG).decode(errors="replace").split("\n")
        if len(parts) != 6 or not parts[2].isdecimal():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3], parts[4])

    def text(self) -> str:
        return "\n".join([self.machine, self.boot, str(self.pid), self.began, self.lock, ""])

    def lives(self) -> bool:
        """Whether the process runs on this machine, as far as can be told here."""
        return bool(self.boot and self.began) and self.boot == boot() and began(self.pid) == self.began

    def is_elsewhere(self) -> bool:
        """Whether it is on a machine of another name, where nobody here sees it."""
        return self.machine != machine()


def machine() -> str:
    return " ".join(socket.gethostname().split())[:100]


@cache
def boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def began(pid: int) -> str:
    """When a process of this machine began; "" where there is none, or the kernel does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
