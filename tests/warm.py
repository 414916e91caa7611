"""Python in processes that are forked from one that has done the imports: four seconds of processor time less each.

`run` and `Popen` are subprocess's, for `[sys.executable, "-m", NAME, ...]` and `[sys.executable, "-c", CODE, ...]`,
the latter with -I and -B before it, too. A process finds the folder, environment, path and files that it would find in
a fresh interpreter; only what rnnlab and the packages below it read of the environment while they are imported is the
test process's. It is no child of the test process, but has an id of its own, which can be sent signals.
"""

import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEGINNERS = ("rnnlab.sweeps.forkserver", "rnnlab.training.leader")


def run(
    command: list[str], capture_output: bool = True, text: bool = True, check: bool = False, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """subprocess.run, with other defaults."""
    if capture_output:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    with Popen(command, text=text, **({"stdin": subprocess.DEVNULL} | options)) as process:
        out, err = process.communicate()
    done = subprocess.CompletedProcess(command, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def rnnlab(
    *words: object, cwd: Path | str = ".", env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return run([sys.executable, "-m", "rnnlab", *map(str, words)], cwd=cwd, env=env)


class Popen(subprocess.Popen):
    def _execute_child(self, command: list[str], *given: Any) -> None:
        passed, cwd, env, ends, session = given[3], given[4], given[5], given[9:15], given[20]
        stdio = [end if end != -1 else number for number, end in enumerate(ends[::2][:1] + ends[3::2])]
        asked = {"command": list(map(str, command[1:])), "cwd": str(Path(cwd or ".").absolute()), "fds": list(passed),
                 "env": dict(os.environ if env is None else env), "session": session}  # fmt: skip
        self.pid = _server()(asked, [*stdio, *passed])
        self._child_created = True
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]

    def _internal_poll(self, **at_the_end: Any) -> int | None:
        if self.returncode is None and not at_the_end:
            self.returncode = _server()({"wait": self.pid}, [])
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while self._internal_poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.01)
        return self.returncode


def begin_warm(*modules: str, put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Has the processes that these modules begin (the server of a sweep, a run's other ranks) forked, too."""
    if sys.platform == "linux":  # elsewhere a fork after such imports is unsafe
        for name in modules:
            theirs = types.SimpleNamespace(**vars(subprocess) | {"Popen": Popen, "run": run})
            put(importlib.import_module(name), "subprocess", theirs)


_servers: dict[int, "Server"] = {}  # by the process that speaks with it: one that this forks has its own


def _server() -> "Server":
    if os.getpid() not in _servers:
        _servers[os.getpid()] = Server()
    return _servers[os.getpid()]


class Server:
    """The side of a process that has others begun."""

    def __init__(self, end: socket.socket | None = None) -> None:
        self.one, self.end = threading.Lock(), end or self._start()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            self.process = subprocess.Popen([sys.executable, __file__, str(number)], pass_fds=[number])
        return ours

    def __call__(self, asked: dict, descriptors: list[int]) -> Any:
        with self.one:
            text = json.dumps(asked).encode() + b"\n"
            self.end.sendall(text[socket.send_fds(self.end, [text], descriptors) :])
            return json.loads(_line(self.end, b""))


def _line(end: socket.socket, begun: bytes) -> bytes:
    while not begun.endswith(b"\n"):
        if not (more := end.recv(1 << 16)):
            raise EOFError("the other end is closed")
        begun += more
    return begun


# ---------------------------------------------------------------------- the server's side


def serve(first: socket.socket) -> None:
    from rnnlab.sweeps.forkserver import load

    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [place for place in sys.path[1:] if place not in before]
    load()
    ends = [first]
    while True:
        for end in select.select(ends, [], [])[0]:
            text, descriptors, _, _ = socket.recv_fds(end, 1 << 16, 16)
            if not text:
                if end is first:
                    os._exit(0)
                ends.remove(end)
                end.close()
                continue
            asked = json.loads(_line(end, text))
            if "wait" in asked:
                pid, status = os.waitpid(asked["wait"], os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if pid else None
            else:
                ours, theirs = socket.socketpair()  # by which it has others begun
                if (answer := os.fork()) == 0:
                    for each in (ours, *ends):
                        each.close()
                    begin(asked, descriptors, path, theirs)
                theirs.close()
                ends.append(ours)
            for number in descriptors:
                os.close(number)
            end.sendall(json.dumps(answer).encode() + b"\n")


def begin(asked: dict, descriptors: list[int], path: list[str], end: socket.socket) -> None:
    """The forked process; it doesn't return."""
    code = 1
    try:
        if asked["session"]:
            os.setsid()
        moved = socket.socket(fileno=place([*descriptors, end.detach()], [0, 1, 2, *asked["fds"]]))
        open_streams()
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        flag, what, *words = asked["command"]
        # as if nothing of rnnlab had been imported, and neither folder nor environment were there
        if flag == "-I":
            for name in [name for name in sys.modules if name.split(".")[0] in ("rnnlab", "hydra_plugins")]:
                del sys.modules[name]
            flag, what, *words = [word for word in asked["command"] if word not in ("-I", "-B")]
            sys.dont_write_bytecode = "-B" in asked["command"]
            sys.path[:] = path
        else:
            given = [place for place in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if place]
            sys.path[:] = [str(Path.cwd()) if flag == "-m" else "", *given, *path]
            _servers[os.getpid()] = Server(moved)
            begin_warm(*BEGINNERS)
        sys.argv = [flag, *words]
        if flag == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(what, vars(main))
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        import atexit

        atexit._run_exitfuncs()  # as at an interpreter's end: of processes that were started, and of loggers
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def open_streams() -> None:
    import logging

    before = sys.stderr
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    for known in logging._handlerList:  # type: ignore[attr-defined]
        if getattr(handler := known(), "stream", None) is before:
            handler.setStream(sys.stderr)


def place(descriptors: list[int], numbers: list[int]) -> int:
    """Moves each to its number, though another may lie there, and the last above all; returns where that is."""
    import fcntl

    above = max(*descriptors, *numbers) + 1
    moved = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above) for number in descriptors]
    for number in descriptors:
        os.close(number)
    last = moved.pop()
    for source, number in zip(moved, numbers, strict=True):
        os.dup2(source, number)
        os.close(source)
    return last


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
