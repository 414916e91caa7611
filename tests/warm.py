"""`python -m rnnlab WORDS` in a process of its own, forked from one that has done the imports: seconds less a call.

A command finds the folder, environment, path and files that it would find in a fresh interpreter; only what rnnlab and
the packages below it read of the environment while they are imported is the test process's.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path


def rnnlab(
    *words: object, cwd: Path | str = ".", env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        asked = {"words": list(map(str, words)), "cwd": str(Path(cwd).absolute()), "out": str(out), "err": str(err),
                 "env": dict(os.environ) if env is None else env}  # fmt: skip
        assert server.stdin and server.stdout
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(
            asked["words"], code, *(p.read_text(errors="replace") for p in (out, err))
        )


@cache
def _server() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def serve() -> None:
    from rnnlab.sweeps.forkserver import load

    path = [
        place for place in sys.path[1:] if place not in os.environ.get("PYTHONPATH", "").split(os.pathsep)
    ]
    load()
    for line in sys.stdin:
        asked = json.loads(line)
        if (pid := os.fork()) == 0:
            begin(asked, path)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def begin(asked: dict, path: list[str]) -> None:
    """The forked process; it doesn't return."""
    code = 1
    try:
        for number, name in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        given = [place for place in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if place]
        sys.path[:] = [str(Path.cwd()), *given, *path]
        sys.argv = ["-m", *asked["words"]]
        from rnnlab.cli import main

        code = main()
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


if __name__ == "__main__":
    serve()
