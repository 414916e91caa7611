"""What Slurm's own commands say of jobs, and what they are asked to do with them."""

import subprocess
from collections.abc import Iterable


def command(*words: str, seconds: float = 60) -> str | None:
    """What one of Slurm's commands prints; None where it fails or is not there."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def cancel(jobs: Iterable[str]) -> None:
    if names := list(jobs):
        command("scancel", *names)


def requeue(job: str) -> None:
    command("scontrol", "requeue", job)


def state(job: str) -> str:
    """Slurm's word on a job: PENDING, RUNNING ...; "" for one that it does not have any more."""
    return (command("squeue", "--noheader", f"--jobs={job}", "--format=%T") or "").strip()


def about(job: str) -> dict[str, str]:
    """What Slurm remembers of a job, also for some minutes behind its end: {"JobState": "CANCELLED", ...}."""
    words = (command("scontrol", "show", "job", job) or "").split()
    return dict(word.partition("=")[::2] for word in words)


def in_queue() -> dict[str, str] | None:
    """The jobs and array tasks that Slurm has not ended, by all their names: {"12_0": "RUNNING", "13": "PENDING"};
    None where it does not answer.
    """
    said = command("squeue", "--noheader", "--array", "--format=%i %F_%K %A %T", seconds=15)
    lines = [line.split() for line in (said or "").splitlines()]
    # %A is what the job itself is told; a task that is still to come has its array's
    found = {line[2]: line[3] for line in lines if len(line) == 4 and line[3] == "PENDING"}
    found |= {line[2]: line[3] for line in lines if len(line) == 4 and line[3] != "PENDING"}
    found |= {word: line[3] for line in lines if len(line) == 4 for word in line[:2]}
    return None if said is None else found


def max_array_size() -> int:
    for line in (command("scontrol", "show", "config") or "").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value) - 1)
    return 1000
