"""`rnnlab train ...`: Hydra's own command line (--help, --cfg job, --multirun, --config-dir)."""

import logging
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf

from rnnlab import quick_import
from rnnlab.cli.arguments import nearest_option
from rnnlab.errors import RunFailed, UserError
from rnnlab.terminal.screen import say


def main(argv: list[str]) -> None:
    if found := re.search(r"(?:-sc|--shell-completion) (install|uninstall|query)=(\w+)", " ".join(argv)):
        from rnnlab.cli import completion

        if found[1] != "query":
            say(*completion.script(found[1], found[2]).splitlines())
            return
        if offered := completion.values(os.environ.get("COMP_LINE", "")):
            say(" ".join(offered))
            return

    verbose = "--verbose" in argv
    argv = with_sweep_options([word for word in argv if word != "--verbose"])
    import hydra

    from rnnlab.config import config_folder
    from rnnlab.config.hydra_config import COMPOSING, NAMED_BY_HYDRA, addable
    from rnnlab.config.hydra_keys import refuse_unused
    from rnnlab.config.texts import kept

    refuse_unused(argv)
    argv = kept(argv)
    # not a decorator: launchers pickle `task` by its name, which must give the function itself
    entry = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(task)
    from rnnlab.sweeps.stock_launchers import due_alone

    with command_line(addable(arranged(argv)), verbose), due_alone():
        try:
            entry()
        except Refused as refused:
            raise refused.error from refused.error.__cause__
        except COMPOSING as error:
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            if any(frame.f_code is task.__code__ for frame in frames):
                raise  # it comes from inside a run, not from the command line
            if not isinstance(error, NAMED_BY_HYDRA) and any(
                str(frame.f_globals.get("__name__")).startswith("rnnlab.sweeps.") for frame in frames
            ):
                raise  # a fault of rnnlab's
            from hydra._internal.utils import get_args_parser

            from rnnlab.config.explain import SWEEP, explain

            asked = get_args_parser().parse_args(arranged(argv))
            sweep = None if asked.multirun else SWEEP
            raise UserError(*explain(error, asked.overrides, asked.config_dir, sweep)) from error
        except AssertionError as error:  # Hydra's error for its own logging configs, which it does not check
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            if frames[-1].f_code.co_name != "configure_log":
                raise
            raise UserError("hydra.verbose: must be true, false, or names of Python's loggers") from error


def task(cfg: DictConfig) -> float:
    """Trains one run; returns its objective, which a sweeper may minimise or maximise.

    Raises SystemExit if the run was stopped, with a shell's codes: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from rnnlab.config import check
    from rnnlab.config.hydra_config import NO_SCORE, opposed, running_config_dir
    from rnnlab.config.hydra_keys import unused_in_files
    from rnnlab.signals import exit_code

    job = HydraConfig.get()
    # as they were typed: an ${oc.env:...} among them may be a secret, or be unset
    overrides: Any = OmegaConf.to_container(job.overrides.task, resolve=False)
    try:
        if lines := unused_in_files(job):
            if job.mode == RunMode.RUN:
                remove_folder_of(job)
            raise UserError(*lines)
        config = check(cfg, overrides, running_config_dir())  # before torch is imported
        if config.get("sweep", {}).get("dry_run"):
            raise UserError("--dry-run needs rnnlab's own sweeper; leave hydra/sweeper out")
        outside = job.mode == RunMode.MULTIRUN and not str(job.sweeper._target_).endswith(
            (".BasicSweeper", ".RnnlabSweeper")
        )
        if outside and (lines := list(opposed(job.sweeper, config["mode"], config["monitor"]))):
            raise UserError(*lines)
        quick_import.torchmetrics()
        from rnnlab.display import train

        run = train(cfg, overrides, quiet=job.mode == RunMode.MULTIRUN)
        why = str(run.record.get("why") or "")
        if job.mode == RunMode.MULTIRUN:
            best = f"{config['monitor']} {run.objective:.5g}" if math.isfinite(run.objective) else ""
            say(f"{run.status}  {run.folder.name}  {best or why}".rstrip())
        if run.status == "stopped":
            if why.startswith("SIGUSR2"):  # now the sender, such as submitit, queues the job again
                signal.raise_signal(signal.SIGUSR2)
            raise SystemExit(exit_code(why))
        if outside and math.isnan(run.objective):
            raise UserError(f"hydra/sweeper={job.runtime.choices['hydra/sweeper']}: {NO_SCORE}")
        return run.objective
    except Exception as error:
        told = isinstance(error, (UserError, RunFailed, OSError)) or hasattr(error, "trace_file")
        if told and job.mode == RunMode.RUN and not job.callbacks:
            raise Refused(error) from error
        raise


def remove_folder_of(job: Any) -> None:
    """Removes the folder that Hydra made for a job before it was refused, if a config file names one."""
    folder, here = Path(job.runtime.output_dir), Path(job.runtime.cwd)
    with suppress(OSError):  # it holds something else
        if job.output_subdir:
            for name in ("config", "hydra", "overrides"):
                (folder / job.output_subdir / f"{name}.yaml").unlink(missing_ok=True)
            (folder / job.output_subdir).rmdir()
        for place in (folder, *folder.parents):
            if place == here:
                break
            place.rmdir()


def with_sweep_options(argv: list[str]) -> list[str]:
    """Translates `--dry-run` and `--detach` for Hydra. If the command is a sweep, its fork server starts to import."""
    if "--detach" in argv:
        many = {"-m", "--multirun", "--dry-run"} & set(argv)
        if not many and not any(word.startswith("hydra.mode=") for word in argv):
            raise UserError("--detach: is for a sweep on Slurm; add --multirun and sweep=slurm")
        argv = [*(word for word in argv if word != "--detach"), "sweep.slurm.detach=true"]
    if "--dry-run" in argv:
        rest = [word for word in argv if word != "--dry-run"]
        argv = [*rest, *(() if {"-m", "--multirun"} & set(rest) else ("-m",)), "sweep.dry_run=true"]
    others = ("-h", "--help", "--cfg", "-c", "--info", "-i", "--hydra-help", "--version")
    if {"-m", "--multirun"} & set(argv) and not any(
        word in others or word.startswith(("hydra/launcher=", "hydra/sweeper=")) for word in argv
    ):
        from rnnlab.sweeps.forkserver import start_early

        start_early()
    return argv


class Refused(BaseException):
    """Carries an error past Hydra, which would first print a line that only a sweep needs."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def arranged(argv: list[str]) -> list[str]:
    """Puts overrides before options, because argparse wants all overrides in one place.

    Raises UserError for an unknown option, or one without its value.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    known = [option for action in parser._actions for option in action.option_strings]
    for option in (word.split("=")[0] for word in argv if word.startswith("-")):
        if option not in known:
            hint = nearest_option(option, [*known, "--dry-run", "--detach", "--verbose"])
            keys = " A key of the config is set without dashes: KEY=VALUE."
            raise UserError(f"{option}: no such option.{hint if hint.startswith(' Did') else keys}")

    def refuse(message: str) -> NoReturn:
        raise UserError(f"rnnlab train: {message}")

    parser.error = refuse  # type: ignore[method-assign]
    overrides = parser.parse_intermixed_args(argv).overrides
    options = list(argv)
    for override in overrides:
        options.remove(override)
    return [*overrides, *options]


@contextmanager
def command_line(argv: list[str], verbose: bool) -> Iterator[None]:
    """Makes Hydra read `argv`, and raise its errors instead of printing them; `verbose` shows the whole config.

    Afterwards Hydra's own state and its changes of logging are undone.
    """
    from hydra.core.hydra_config import HydraConfig

    root = logging.getLogger()
    logging_before = root.level, root.handlers[:]
    hydra = HydraConfig.instance()
    hydra_before = hydra.cfg
    argv_before, before = (
        sys.argv,
        {name: os.environ.get(name) for name in ("HYDRA_FULL_ERROR", "RNNLAB_VERBOSE")},
    )
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = ["rnnlab train", *argv], "1"
    if verbose:
        os.environ["RNNLAB_VERBOSE"] = "1"
    try:
        yield
    finally:
        sys.argv, hydra.cfg = argv_before, hydra_before
        root.setLevel(logging_before[0])
        root.handlers[:] = logging_before[1]
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
