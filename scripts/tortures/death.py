"""Kills child processes: at a chosen call within them, or from outside."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def fork(work: Callable[[], Any], log: Path) -> int:
    """Starts a child process that does `work` and exits with its exit code; its output goes to `log`."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1), os.dup2(said, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            code = int(work() or 0)
            sys.stderr.flush()
        finally:
            os._exit(code)
    return pid


def writes() -> list[tuple[Any, str]]:
    """The operations that make a file permanent."""
    return [(os, "fsync"), (Path, "replace")]


def turns() -> list[tuple[Any, str]]:
    """The methods at which a part of a training ends or begins."""
    from rnnlab.runs.run import Run
    from rnnlab.training.checkpoints import Checkpoints
    from rnnlab.training.loggers import Journal
    from rnnlab.training.native_steps import Kernels
    from rnnlab.training.recorder import Recorder

    return [(Checkpoints, "save"), (Checkpoints, "write_best"), (Checkpoints, "on_validation_end"),
            (Checkpoints, "on_fit_start"), (Checkpoints, "on_train_end"), (Recorder, "on_validation_end"),
            (Journal, "flush"), (Journal, "cut"), (Kernels, "steps"), (Run, "create"), (Run, "update")]  # fmt: skip


def die_at(
    at: int,
    places: list[tuple[Any, str]],
    *,
    number: int = signal.SIGKILL,
    half: bool = False,
    behind: bool = False,
) -> list[int]:
    """Kills this process at the `at`-th call of one of `places`, or, with `behind`, after it. Returns the count of
    calls, which is updated.

    With `half`, half of a file that is about to become permanent is lost.
    """
    count = [0]

    def mortal(operation: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(operation)
        def perform(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            now = count[0] == at
            if now and half and isinstance(args[0], int) and (size := os.fstat(args[0]).st_size):
                with contextlib.suppress(OSError):
                    os.ftruncate(args[0], size // 2)
            if now and not behind:
                os.kill(os.getpid(), number)
            done = operation(*args, **kwargs)
            if now and behind:
                os.kill(os.getpid(), number)
            return done

        return perform

    for owner, name in places:
        setattr(owner, name, mortal(getattr(owner, name)))
    return count


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def descendants(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    ).stdout.split()
    return [int(p) for p in found] + [g for p in found for g in descendants(int(p))]
