"""`rnnlab NAME ...`: finds the command, and turns errors into messages and exit codes.

Exit codes: 0 done; 1 a run failed, or rnnlab has a fault (with its trace); 2 the request is not possible;
130 interrupted, 143 stopped by SIGTERM, 129 by SIGHUP, 141 nobody reads the output any more; `reproduce` and `diff`
have more of their own. RNNLAB_DEBUG=1 (or Hydra's HYDRA_FULL_ERROR=1) shows the trace of every error.
"""

import errno
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import rnnlab
from rnnlab import import_path as workplace
from rnnlab.errors import PlainError, RunFailed, UserError, nearest
from rnnlab.terminal.output import lasting, open_closed
from rnnlab.terminal.screen import say, screened

# described here, because --help imports no command
COMMANDS = {
    "train": "train a network: rnnlab train experiment=sine",
    "find-lr": "suggest a learning rate, and time batch sizes: a table and a picture",
    "evaluate": "a run's metrics beside its baselines, on its own data or new data",
    "forecast": "continue a series: a table and a picture",
    "generate": "let a character model write",
    "export": "a trained model as ONNX, torch code or safetensors, with a model card",
    "report": "one run as a page, or the leaderboard of an experiment",
    "compare": "test whether one choice is better than another, paired by seeds",
    "board": "TensorBoard for an experiment; --groups averages over the seeds",
    "reproduce": "train a run again from its folder, and compare the two",
    "diff": "what differs between two runs, and the first step at which their curves do",
    "archive": "pack an experiment's runs into one file, to attach to a paper",
    "unroll": "compute a small recurrence step by step, by hand and with the library",
    "doctor": "show this machine's versions and devices, and the speed of the native engine",
    "completion": "a script that lets the shell complete commands: rnnlab completion bash",
}

# errors of the file system about a path that the user has named
REFUSALS = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOTDIR,
            errno.EISDIR, errno.ELOOP)  # fmt: skip


# commands that read folders, maybe a stranger's: they import the user's own code only if a run names it
OF_FOLDERS = (
    "evaluate",
    "forecast",
    "generate",
    "export",
    "report",
    "compare",
    "board",
    "reproduce",
    "diff",
    "archive",
    "unroll",
)


def commands() -> dict[str, str]:
    """The commands of this version, with what each does."""
    folder = Path(__file__).parent
    return {
        name: what for name, what in COMMANDS.items() if (folder / module(name)).with_suffix(".py").is_file()
    }


def module(command: str) -> str:
    return command.replace("-", "_")


def help_text() -> str:
    lines = [f"  {name:<12}{what}" for name, what in commands().items()]
    return "\n".join(
        [
            "rnnlab trains recurrent networks on sequences.",
            "",
            "usage: rnnlab COMMAND ...",
            "",
            *lines,
            "",
            "rnnlab COMMAND --help   tells more about a command",
            "rnnlab --version",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command, with its output screened; returns the exit code."""
    # importing makes half a million objects that stay; a collection at every 700th would take a quarter of its time
    gc.set_threshold(50_000, 20, 100)
    open_closed()
    argv = list(sys.argv[1:] if argv is None else argv)
    name, rest = argv[0] if argv else "--help", argv[1:]
    with lasting("stdout", "stderr") if name == "train" else lasting("stderr"), screened():
        return dispatch(name, rest)


def dispatch(name: str, rest: Sequence[str]) -> int:
    if name in ("-h", "--help", "help"):
        return guarded(lambda: say(*help_text().splitlines()))
    if name == "--version":
        return guarded(lambda: say(f"rnnlab {rnnlab.__version__}"))
    if name not in commands():
        say(f"rnnlab {name}: no such command.{nearest(name, commands())}", error=True)
        return UserError.exit_code
    command = partial(_call, name, rest)
    if name in OF_FOLDERS or workplace.is_a_runs():
        with workplace.absent():
            return guarded(command)
    workplace.join()  # so that a user's own cells and data sets in the working folder can be imported
    return guarded(command)


def _call(name: str, rest: Sequence[str]) -> Any:
    return importlib.import_module(f"rnnlab.cli.{module(name)}").main(list(rest))


def guarded(command: Callable[[], Any]) -> int:
    """Runs a command; the one place that turns errors into messages and exit codes."""
    debug = "1" in (os.environ.get("RNNLAB_DEBUG"), os.environ.get("HYDRA_FULL_ERROR"))
    try:
        code = command()
        sys.stdout.flush()
        return int(code or 0)
    except (UserError, RunFailed) as error:
        _report(str(error), error, debug)
        return error.exit_code
    except KeyboardInterrupt as error:
        _report("interrupted", error, debug)
        return 130
    except BrokenPipeError:  # a reader such as head went away; Python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into SystemExit
            _report("interrupted", error.__context__, debug)
            return 130
        if isinstance(error.code, str):
            say(error.code, error=True)
            return 1
        return error.code or 0
    except Exception as error:
        return _unforeseen(error, debug)


def _unforeseen(error: Exception, debug: bool) -> int:
    """Reports an error that has no message for users; returns the exit code. A trace that is in a run's folder is not
    shown again.
    """
    if isinstance(trace := getattr(error, "trace_file", None), Path):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(str(error).split())
        what = f"{type(error).__name__}: {said}" if said else type(error).__name__
        _report(
            f"{what} ({Path(frame.filename).name}, line {frame.lineno}); its trace is in {trace}",
            error,
            debug,
        )
        return 1
    if isinstance(error, OSError):
        refused = error.filename is not None and error.errno in REFUSALS
        _report(f"{error.filename}: {error.strerror}" if refused else "", error, debug or not refused)
        return UserError.exit_code if refused else 1
    if str(error) == "embedded null byte":  # Python's message about a path that the user has named
        _report("a path holds a NUL character, which no file name can", error, debug)
        return UserError.exit_code
    _report("", error, True)
    return 1


def _report(message: str, error: BaseException, trace: bool) -> None:
    if trace:
        traceback.print_exception(type(error), error, error.__traceback__)
    if message:
        say(*(error.args if isinstance(error, PlainError) else [message]), error=True)
