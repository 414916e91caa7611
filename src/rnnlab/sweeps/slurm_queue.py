"""Calls Slurm's commands: queries, cancels and requeues jobs."""

import subprocess
from collections.abc import Iterable


def command(*words: str, seconds: float = 60) -> str | None:
    """The output of one of Slurm's commands; None where it fails or is not installed."""
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
    """The state of a job in Slurm: PENDING, RUNNING ...; "" where Slurm does not have it any more."""
    return (command("squeue", "--noheader", f"--jobs={job}", "--format=%T") or "").strip()


def about(job: str) -> dict[str, str]:
    """What Slurm knows about a job, also for some minutes after its end: {"JobState": "CANCELLED", ...}."""
    words = (command("scontrol", "show", "job", job) or "").split()
    return dict(word.partition("=")[::2] for word in words)


def in_queue() -> dict[str, str] | None:
    """{id: state} of the jobs and array tasks that have not ended, under each of their ids, such as {"12_0": "RUNNING",
    "13": "PENDING"}; None where Slurm does not answer.
    """
    said = command("squeue", "--noheader", "--array", "--format=%i %F_%K %A %T", seconds=15)
    lines = [line.split() for line in (said or "").splitlines()]
    # %A is the job's own SLURM_JOB_ID; for a pending task it is the id of its array
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
