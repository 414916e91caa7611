"""`rnnlab board`: TensorBoard for an experiment, served to this machine alone."""

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

# not by -m, which puts the working folder first on the path: TensorBoard would import modules of that folder
ENTRY = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from rnnlab.tensorboard.server import main; sys.exit(main())"
)


def main(argv: list[str]) -> int:
    parser = Arguments(
        prog="rnnlab board",
        description="Starts TensorBoard for this machine alone and prints its address; Ctrl-C ends it.",
    )
    parser.add_argument("experiment", nargs="?", default=None, help="a folder of runs (default: all outputs)")
    parser.add_argument("--groups", action="store_true",
                        help="one curve for each configuration: the mean over its seeds, with a band")  # fmt: skip
    parser.add_argument("--all", action="store_true",
                        help="all runs, not only the best 40 (of more, TensorBoard selects none at first)")  # fmt: skip
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
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
            shown = closing.enter_context(scratch())
            what = grouped(folder, shown, asked.all)
        return serve(shown, asked.port, what, asked.all or asked.groups)


def grouped(experiment: Path, into: Path, every: bool) -> str:
    """Fills `into` with a run for each of the best configurations, or for all of them; returns a description.

    Raises UserError if no run is finished.
    """
    from rnnlab.tensorboard.groups import write_groups
    from rnnlab.tensorboard.offered import MOST

    experiments = [e for e in [experiment, *sorted(experiment.iterdir())] if any(e.glob("*/run.json"))]
    room = None if every else MOST // max(1, len(experiments))
    written, configurations = 0, 0
    for one in experiments:
        found, of = write_groups(one, into / one.name if len(experiments) > 1 else into, room)
        written, configurations = written + found, configurations + of
    if not written:
        raise UserError(f"{experiment}: no finished runs there, so there is nothing to group")
    if written == configurations:
        return f"the configurations of {experiment}"
    return f"the best {written} of {configurations:,} configurations of {experiment}"


def offered(folder: Path) -> str:
    """A line about the runs that are left out; "" if all are shown."""
    from rnnlab.tensorboard.offered import offer
    from rnnlab.tensorboard.sessions import Sessions

    found = offer(Sessions(folder))
    return "" if found is None else f"{found}; HParams has all. Means over seeds: --groups; all runs: --all"


def serve(folder: Path, port: int, what: str, every: bool) -> int:
    """Runs TensorBoard until it is interrupted; port 0 means a free one.

    Raises RunFailed with TensorBoard's last line if it does not start.
    """
    title = f"{what}: TensorBoard"
    command = [sys.executable, "-c", ENTRY, *["--all"] * every, "--logdir", str(folder),
               "--host", "127.0.0.1", "--port", str(port), "--reload_interval", "5", "--window_title", title,
               "--samples_per_plugin", "images=100,text=100"]  # fmt: skip

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = {n: signal.signal(n, stop) for n in ENDS if signal.getsignal(n) is not signal.SIG_IGN}
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            word = "" if every else offered(folder)  # while TensorBoard starts
            if not (address := served_at(child, said.fileno())):
                said.seek(0)
                lines = said.read().decode(errors="replace").strip().splitlines()
                raise RunFailed(f"TensorBoard did not start: {lines[-1] if lines else 'it said nothing'}")
            shows = f"TensorBoard shows {what} at {address}  (Ctrl-C ends it)"
            say(shows, *[word] * bool(word), flush=True)
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
    """The address that TensorBoard prints; "" if it ends before. Another process may answer at this address."""
    while child.poll() is None:
        if found := re.search(rb" at (http://\S+)", os.pread(said, 1 << 20, 0)):
            return found[1].decode()
        time.sleep(0.1)  # it imports for some seconds
    return ""
