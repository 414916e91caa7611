"""The time from the command to the first optimizer step, compared with the import of Lightning alone."""

import statistics
import subprocess
import sys
import tempfile
import time

# the process reads the time of its first step; the time of its start is subtracted
CODE = """
import sys, time
from rnnlab.tasks.task import Task
step = Task.on_before_optimizer_step
def first(self, optimizer):
    print("first step at", time.time(), flush=True)
    raise SystemExit
Task.on_before_optimizer_step = first
from rnnlab.cli import main
main(["train", "experiment=sine", "model.engine=torch", "paths.outputs=" + sys.argv[1]])
"""
IMPORT = "import time, lightning.pytorch; print('first step at', time.time(), flush=True)"


def main(options: dict[str, str]) -> None:
    times: dict[str, list[float]] = {CODE: [], IMPORT: []}
    for _ in range(int(options.get("rounds", 7))):
        for code, taken in times.items():
            with tempfile.TemporaryDirectory() as folder:
                begin = time.time()
                command = [sys.executable, "-c", code, folder]
                out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
                taken.append(float(out.rsplit("first step at", 1)[1].split()[0]) - begin)
    command, alone = (statistics.median(taken) for taken in times.values())
    print(f"  {command:.2f} s, and {alone:.2f} s for the import of lightning.pytorch alone: "
          f"{command / alone:.2f} times (medians of {len(times[CODE])} in turns; at most 1.15 wanted)")  # fmt: skip
