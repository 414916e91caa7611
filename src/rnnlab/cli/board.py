"""TensorBoard over an experiment, on this machine alone."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import RunFailed, UserError, nearest
from rnnlab.reproduce.scratch import ENDS, scratch
from rnnlab.terminal.screen import say


def main(argv: list[str]) -> int:
    parser = Arguments(
        prog="rnnlab board",
        description="Starts TensorBoard on loopback and prints its address; Ctrl-C ends it.",
    )
    parser.add_argument("experiment", nargs="?", default=None, help="a folder of runs (default: all outputs)")
    parser.add_argument("--groups", action="store_true",
                        help="one run a configuration: the mean over its seeds, with a band")  # fmt: skip
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    asked = parser.parse_args(argv)
    folder = Path(asked.experiment or os.environ.get("RNNLAB_OUTPUTS", "outputs"))
    if not folder.is_dir():
        beside = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        raise UserError(f"{folder}: no such folder.{nearest(folder.name, beside) if beside else ''}")
    if not 0 <= asked.port < 65536:
        raise UserError(f"--port {asked.port}: not a number from 1 to 65535, or 0 for one that is free")
    with ExitStack() as closing:
        shown, what = folder, str(folder)
        if asked.groups:
            shown = grouped(folder, closing.enter_context(scratch()))
            what = f"the configurations of {folder}"
        return serve(shown, asked.port, what)


def grouped(experiment: Path, into: Path) -> Path:
    """Fills `into` with a run for each configuration. Raises UserError where no run is finished."""
    from rnnlab.tensorboard.groups import write_groups

    experiments = [experiment] if any(experiment.glob("*/run.json")) else sorted(experiment.iterdir())
    several = len(experiments) > 1
    found = [f for e in experiments if e.is_dir() and any(e.glob("*/run.json"))
             for f in write_groups(e, into / e.name if several else into)]  # fmt: skip
    if not found:
        raise UserError(f"{experiment}: no finished runs there, so there is nothing to group")
    return into


def serve(folder: Path, port: int, what: str) -> int:
    """Runs TensorBoard until it is interrupted; at port 0 it takes one that is free.

    Raises RunFailed, with its last words, where it does not start.
    """
    command = [sys.executable, "-m", "rnnlab.tensorboard.server", "--logdir", str(folder), "--host", "127.0.0.1",
               "--port", str(port), "--reload_interval", "5",
               "--samples_per_plugin", "images=100,text=100"]  # fmt: skip

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = {n: signal.signal(n, stop) for n in ENDS if signal.getsignal(n) is not signal.SIG_IGN}
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            if not (address := served_at(child, said.fileno())):
                said.seek(0)
                lines = said.read().decode(errors="replace").strip().splitlines()
                raise RunFailed(f"TensorBoard did not start: {lines[-1] if lines else 'it said nothing'}")
            say(f"TensorBoard shows {what} at {address}  (Ctrl-C ends it)", flush=True)
            child.wait()
            return 0
        except KeyboardInterrupt:
            return 0
        finally:
            child.terminate()
            child.wait()
            for number, handler in before.items():
                signal.signal(number, handler)


def served_at(child: "subprocess.Popen[bytes]", said: int) -> str:
    """The address that TensorBoard says it serves; "" where it ends before. Who answers there may be another."""
    while child.poll() is None:
        if found := re.search(rb" at (http://\S+)", os.pread(said, 1 << 20, 0)):
            return found[1].decode()
        time.sleep(0.1)  # it imports for some seconds
    return ""
