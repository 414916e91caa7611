"""Hydra's own launchers and sweepers on the same command: one run a job, the same folders."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rnnlab

POINTS = ("experiment=sine", "data.n_points=200", "trainer.accelerator=cpu", "trainer.max_epochs=2", "callbacks=none",
          "trainer.threads=1", "model.hidden_size=4", "seed=0,1")  # fmt: skip


def launched(folder, *overrides, script=False):
    entry = [str(Path(__file__).parents[2] / "scripts" / "train.py")] if script else ["-m", "rnnlab", "train"]
    words = [sys.executable, *entry, "-m", *POINTS, *overrides, f"paths.outputs={folder}"]
    return subprocess.run(words, capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    for seed in (0, 1):
        rnnlab.train(*POINTS[:-1], f"seed={seed}", f"paths.outputs={folder}")
    return contents(folder)


def contents(folder):
    return {r.folder.name: r.metrics_file.read_bytes() for r in rnnlab.runs(folder / "sine")}


def test_basic(alone, tmp_path):
    done = launched(tmp_path, "hydra/launcher=basic", "hydra/sweeper=basic")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == alone


def test_our_launcher_under_another_sweeper(alone, tmp_path):
    assert launched(tmp_path, "hydra/sweeper=basic", script=True).returncode == 0
    assert contents(tmp_path) == alone


def test_an_experiment_may_hold_the_sweep(alone, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "held.yaml").write_text(
        "# @package _global_\ndefaults: [sine]\n"
        "hydra: {sweeper: {params: {seed: 'range(0,3)', model.num_layers: '1,2'}}}\n"
        "sweep: {exclude: [{seed: [1, 2], model.num_layers: 2}, seed=2]}\n"
    )
    done = launched(tmp_path, "experiment=held", "seed=range(0,3)", "--config-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert set(alone) < set(contents(tmp_path)) and len(contents(tmp_path)) == 3


@pytest.mark.skipif(
    not importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher"), reason="needs rnnlab[bench]"
)
def test_joblib(alone, tmp_path):
    done = launched(tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == alone


SLURM = bool(shutil.which("sbatch") and os.environ.get("SLURM_CONF"))


@pytest.mark.skipif(not SLURM, reason="no Slurm here (sbatch, and SLURM_CONF of a running one)")
@pytest.mark.skipif(
    not importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher"),
    reason="needs hydra-submitit-launcher",
)
def test_submitit_on_slurm(alone, tmp_path):
    done = launched(
        tmp_path,
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.timeout_min=5",
        "hydra.launcher.mem_gb=null",
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == alone
