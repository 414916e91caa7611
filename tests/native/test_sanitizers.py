"""No byte too far and no undefined behaviour, under a fuzz of shapes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnlab.native import bindings as library


def found(compiler: str, name: str) -> str | None:
    said = subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True
    ).stdout.strip()
    return said if Path(said).is_absolute() else None


def test_a_fuzz_of_shapes_under_the_sanitizers():
    compiler = library.status().get("compiler")
    if not compiler or not sys.platform.startswith("linux"):
        pytest.skip("needs a compiler with sanitizers on Linux")
    # with the C++ runtime, which Python's modules bring too late for the sanitizer to see their exceptions
    runtime = [found(compiler, name) for name in ("libasan.so", "libstdc++.so.6")]
    if None in runtime:
        pytest.skip(f"{compiler} has no address sanitizer")
    preload = " ".join(path for path in runtime if path)
    environment = os.environ | {
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",
    }
    script = Path(__file__).with_name("fuzz.py")
    done = subprocess.run(
        [sys.executable, str(script), "0", "15"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "clean" in done.stdout
