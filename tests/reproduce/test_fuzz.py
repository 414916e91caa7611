"""The short form of scripts/hostile.py: hostile nodes in a run's files do nothing, and end with one line or work."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "hostile.py"


def test_hostile_folders_run_nothing_and_write_nothing_outside():
    """In a process of its own: its threads and its audit hooks stay with it."""
    done = subprocess.run([sys.executable, SCRIPT, "every=1000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " calls: " in done.stdout and "works" in done.stdout and "refused" in done.stdout
