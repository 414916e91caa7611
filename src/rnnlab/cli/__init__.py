"""`rnnlab NAME ...`: finds the command, and owns what becomes of errors.

Exit codes: 0 done; 1 a run failed, or a fault of ours (with its trace); 2 the user asked for what cannot be;
130 interrupted, 143 stopped by SIGTERM, 129 by SIGHUP, 141 nobody reads the output any more; `reproduce` and `diff`
have some of their own. RNNLAB_DEBUG=1 (or Hydra's HYDRA_FULL_ERROR=1) shows the trace of every error.
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
from rnnlab.errors import RunFailed, Told, UserError, nearest
from rnnlab.terminal.output import lasting, open_closed
from rnnlab.terminal.screen import say, screened

# nothing is imported for --help, so what a command does is said here
COMMANDS = {
    "train": "train a network: rnnlab train experiment=sine",
    "find-lr": "a learning rate for a config, and how fast each batch size is: a table and a picture",
    "evaluate": "a run's metrics beside its baselines, on its own data or new",
    "forecast": "continue a series: a table and a picture",
    "generate": "let a character model write",
    "export": "a trained model as ONNX, torch code or safetensors, with a model card",
    "report": "one run as a page, or the leaderboard of an experiment",
    "compare": "whether one choice is better than another, paired by seeds",
    "board": "TensorBoard over an experiment; --groups collapses the seeds",
    "reproduce": "train a run again from its folder, and say how well the two agree",
    "diff": "what differs between two runs, and the step at which their curves part",
    "archive": "one file of an experiment's runs, to attach to a paper",
    "unroll": "a small recurrence, step by step, by hand and by the library",
    "doctor": "what this machine has, and how fast the native engine is on it",
    "completion": "the script that makes a shell complete: rnnlab completion bash",
}

# the file system's word on a path that the user has named
REFUSALS = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOTDIR,
            errno.EISDIR, errno.ELOOP)  # fmt: skip


# what reads folders that may be a stranger's; the user's own code is looked for where a run names it
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
            "rnnlab COMMAND --help   says more about one",
            "rnnlab --version",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command, what it prints screened; returns the exit code."""
    # importing makes half a million objects that stay; going through them at every 700th takes a quarter of its time
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
    workplace.join()  # a user's own cells and data sets, beside which the command is given
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
        if isinstance(error.__context__, KeyboardInterrupt):  # what Lightning makes of it
            _report("interrupted", error.__context__, debug)
            return 130
        if isinstance(error.code, str):
            say(error.code, error=True)
            return 1
        return error.code or 0
    except Exception as error:
        return _unforeseen(error, debug)


def _unforeseen(error: Exception, debug: bool) -> int:
    """Says an error that nobody has written for people; returns the exit code. A trace that a run's folder has is not
    shown as well.
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
    if str(error) == "embedded null byte":  # the system's word on a path that the user has named
        _report("a path holds a NUL, which no file's name can", error, debug)
        return UserError.exit_code
    _report("", error, True)
    return 1


def _report(message: str, error: BaseException, trace: bool) -> None:
    if trace:
        traceback.print_exception(type(error), error, error.__traceback__)
    if message:
        say(*(error.args if isinstance(error, Told) else [message]), error=True)
