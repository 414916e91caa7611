"""torchmetrics without scipy.signal, which is there as ever for whoever asks for it."""

import subprocess
import sys

import pytest

CODE = """
import sys
from rnnlab import quick_import
quick_import.torchmetrics()
assert "torchmetrics" in sys.modules
assert not [name for name in sys.modules if name.startswith("scipy.signal")], "it was imported"
import lightning.pytorch
assert not [name for name in sys.modules if name.startswith("scipy.signal")], "Lightning has imported it"
import scipy.signal
print(scipy.signal.lfilter([1.0], [1.0, -0.5], [1.0, 0.0, 0.0]))
"""


def test_scipys_signals_are_imported_when_they_are_asked_for():
    pytest.importorskip("scipy")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[1.", "0.5", "0.25]"]
