"""What the import of heavy packages leaves as it was: scipy.signal, and the caller's random numbers."""

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


FIRST = """
import random
before = random.getstate()
import rnnlab
rnnlab.train("experiment=sine", "data.n_points=200", "trainer.max_steps=2", "trainer.max_epochs=-1",
             "trainer.accelerator=cpu", "callbacks=none", "logger=none", "model.engine=reference", quiet=True)
assert random.getstate() == before
"""


def test_the_first_training_of_a_process_leaves_the_callers_generator_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
