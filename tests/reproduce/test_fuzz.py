"""The short form of scripts/hostile.py: hostile nodes in a run's files do nothing, and end with one line or work."""

import os
import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "hostile.py"


def test_hostile_folders_run_nothing_and_write_nothing_outside():
    """In a process of its own: its threads and its audit hooks stay with it."""
    done = subprocess.run([sys.executable, SCRIPT, "every=1000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " calls: " in done.stdout and "works" in done.stdout and "refused" in done.stdout


def test_a_ctrl_c_ends_it_with_one_line():
    """At a terminal all processes get it: those that make the calls must neither print a trace nor clear up."""
    script = subprocess.Popen([sys.executable, SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True)  # fmt: skip
    assert script.stdout is not None and " calls to make" in script.stdout.readline()
    os.killpg(script.pid, signal.SIGINT)
    said = script.communicate()[1]
    assert (script.returncode, said.strip().splitlines()[-1:]) == (
        130,
        ["interrupted"],
    ) and "Traceback" not in said
